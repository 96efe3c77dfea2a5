// A sampler behind the interface.

import Plugin from "../../plugin.js";
import { describe, orRefuse } from "../index.js";

class Session {
  constructor(plugin) {
    this.plugin = plugin;
  }

  static open(args, prompt) {
    return new Session(orRefuse(() => new Plugin(JSON.parse(args), prompt)));
  }

  advance(committed) {
    this.plugin.advance(committed);
  }

  pick({ ids, logits }) {
    const choice = this.plugin.pick(ids, logits) ?? null;
    if (choice === null) return { tag: "host" };
    if (typeof choice === "number") return { tag: "token", val: choice };
    return { tag: "only", val: choice };
  }

  fork() {
    return new Session(orRefuse(() => this.plugin.fork()));
  }

  rollback(count) {
    orRefuse(() => this.plugin.rollback(count));
  }

  close() {
    const meta = this.plugin.close() ?? null;
    return meta === null ? null : JSON.stringify(meta);
  }
}

export const sampler = {
  Session,
  describe() {
    const { tier = "cut", cut = 64, readsRow = false, canFork = false, canRollback = false } = Plugin.needs;
    const { backtrackMax = 0 } = Plugin.needs;
    return { about: describe(Plugin.about), tier, cut, readsRow, canFork, canRollback, backtrackMax };
  },
};
