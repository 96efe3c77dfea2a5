import { Refused, Template } from "./minerva-plugin/index.js";
import store from "./minerva-plugin/store.js";

export default class extends Template {
  static about = { version: "0.1.0", summary: "Remembers." };

  static render() {
    const visits = store.add("visits");
    if (visits === 1) store.set("last", "a föx", { seconds: 3600 });
    const last = store.has("last") ? store.text("last") : "nothing";
    if (visits === 2) store.delete("last");
    throw new Refused(`${visits}: ${last}`);
  }
}
