// A template behind the interface.

import Plugin from "../../plugin.js";
import { describe, orRefuse } from "../index.js";

export const template = {
  describe: () => describe(Plugin.about),
  render(chat, args) {
    const { parts, stops, grammar } = orRefuse(() => Plugin.render(chat, JSON.parse(args)));
    return { parts, stops, grammar };
  },
};
