import constraints, { type TokenSet } from "minerva:plugin/constraints@0.1.0";
import step from "minerva:plugin/step@0.1.0";

import { Sampler, type About, type Needs, type Token } from "./minerva-plugin/index.js";

export default class Calm extends Sampler {
  static about: About = {
    version: "1.0.0",
    summary: "Says no digits, repeats itself less, and is calmer where it is unsure.",
    args: { type: "object", additionalProperties: false },
  };
  static needs: Needs = { cut: 64, readsRow: true, canFork: true, canRollback: true };

  words: TokenSet;
  steps = 0;

  constructor() {
    super();
    this.words = constraints.TokenSet.matching(".*\\d.*");
    this.words.invert();
  }

  advance(committed: Token[]) {
    this.steps += committed.length;
    step.allow(this.words);
  }

  pick() {
    const latest = step.history(8);
    step.bias(latest, latest.map(() => -1));
    const row = step.summarize();
    step.temperature(row.entropy > 2 ? 0.5 : 1);
    return null;
  }

  fork() {
    const other = new Calm();
    other.steps = this.steps;
    return other;
  }

  rollback(count: number) {
    this.steps -= count;
  }

  close() {
    return { steps: this.steps };
  }
}
