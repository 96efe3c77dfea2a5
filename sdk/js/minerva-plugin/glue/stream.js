// A stream processor behind the interface.

import Plugin from "../../plugin.js";
import { describe, orRefuse } from "../index.js";

function event(said) {
  if (typeof said === "string") return { tag: "text", val: said };
  if ("reasoning" in said) return { tag: "reasoning", val: said.reasoning };
  if ("meta" in said) return { tag: "meta", val: JSON.stringify(said.meta) };
  if ("stop" in said) return { tag: "stop", val: said.stop };
  const { index, id = null, name = null, arguments: text } = said.tool;
  return { tag: "tool", val: { index, id, name, arguments: text } };
}

class Session {
  constructor(plugin) {
    this.plugin = plugin;
  }

  static open(args) {
    return new Session(orRefuse(() => new Plugin(JSON.parse(args))));
  }

  push({ text, tokens }) {
    return Array.from(this.plugin.push(text, tokens), event);
  }

  close(reason) {
    return Array.from(this.plugin.close(reason), event);
  }
}

export const streaming = { Session, describe: () => describe(Plugin.about) };
