// A stream processor: turns the text of an answer, as it comes, into events.

import { Stream, begunAtEnd, type About } from "./minerva-plugin/index.js";

type Args = { find?: string; replacement?: string };

export default class extends Stream<Args> {
  static about: About = {
    version: "0.1.0",
    summary: "Replaces a text by another, also where it comes in pieces.",
    args: {
      type: "object",
      additionalProperties: false,
      properties: {
        find: {
          type: "string",
          minLength: 1,
          maxLength: 256,
          default: "colour",
          description: "What is replaced.",
          examples: ["owl", "aab"],
        },
        replacement: {
          type: "string",
          maxLength: 256,
          default: "color",
          description: "What stands in its place.",
        },
      },
    },
  };

  find: string;
  replacement: string;
  // What may be the beginning of what is looked for: it is kept back until that is clear.
  kept = "";

  constructor({ find = "colour", replacement = "color" }: Args) {
    super();
    this.find = find;
    this.replacement = replacement;
  }

  *push(text: string) {
    const pieces = (this.kept + text).split(this.find);
    const rest = pieces.pop() ?? "";
    for (const said of pieces) yield said + this.replacement;
    const sure = rest.length - begunAtEnd(rest, this.find);
    this.kept = rest.slice(sure);
    yield rest.slice(0, sure);
  }

  close() {
    return [this.kept];
  }
}
