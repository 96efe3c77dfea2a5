import { Refused, Template, type About, type Prompt } from "./minerva-plugin/index.js";
import store from "./minerva-plugin/store.js";

export default class extends Template {
  static about: About = { version: "0.1.0", summary: "Remembers." };

  static render(): Prompt {
    const visits: number = store.add("visits");
    if (visits === 1) store.set("last", "a föx", { seconds: 3600 });
    const last: string = store.text("last") ?? "nothing";
    if (visits === 2) store.delete("last");
    throw new Refused(`${visits}: ${last}`);
  }
}
