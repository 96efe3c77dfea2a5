import constraints from "minerva:plugin/constraints@0.1.0";
import step from "minerva:plugin/step@0.1.0";

import { Sampler } from "./minerva-plugin/index.js";

export default class Calm extends Sampler {
  static about = {
    version: "1.0.0",
    summary: "Says no digits, repeats itself less, and is calmer where it is unsure.",
    args: { type: "object", additionalProperties: false },
  };
  static needs = { cut: 64, readsRow: true, canFork: true, canRollback: true };

  constructor(args, prompt) {
    super();
    this.words = constraints.TokenSet.matching(".*\\d.*");
    this.words.invert();
    this.steps = 0;
  }

  advance(committed) {
    this.steps += committed.length;
    step.allow(this.words);
  }

  pick(ids, logits) {
    const latest = step.history(8);
    step.bias(latest, latest.map(() => -1));
    const row = step.summarize();
    step.temperature(row.entropy > 2 ? 0.5 : 1);
    return null;
  }

  fork() {
    const other = new Calm({}, []);
    other.steps = this.steps;
    return other;
  }

  rollback(count) {
    this.steps -= count;
  }

  close() {
    return { steps: this.steps };
  }
}
