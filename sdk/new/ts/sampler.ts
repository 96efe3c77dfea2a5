// A sampler: sees the best candidates of every step, and says which of them may be chosen.

import { Sampler, type About, type Needs, type Token } from "./minerva-plugin/index.js";

type Args = { p?: number };

export default class extends Sampler<Args> {
  static about: About = {
    version: "0.1.0",
    summary: "Keeps the tokens that are probable enough beside the best one.",
    args: {
      type: "object",
      additionalProperties: false,
      properties: {
        p: {
          type: "number",
          minimum: 0,
          maximum: 1,
          default: 0.1,
          description: "Keep tokens at least this probable, relative to the best one.",
        },
      },
    },
  };
  // The best 64 candidates. Nothing is remembered between tokens, so forks and rollbacks are easy.
  static needs: Needs = { cut: 64, canFork: true, canRollback: true };

  margin: number;

  constructor({ p = 0.1 }: Args) {
    super();
    this.margin = Math.log(p);
  }

  pick(ids: Token[], logits: number[]) {
    const least = logits[0] + this.margin;
    const end = logits.findIndex((logit) => logit < least);
    return end < 0 ? null : ids.slice(0, end);
  }

  rollback() {}
}
