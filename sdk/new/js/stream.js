// A stream processor: turns the text of an answer, as it comes, into events.

import { Stream, begunAtEnd } from "./minerva-plugin/index.js";

export default class extends Stream {
  static about = {
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

  constructor({ find = "colour", replacement = "color" }) {
    super();
    this.find = find;
    this.replacement = replacement;
    // What may be the beginning of what is looked for: it is kept back until that is clear.
    this.kept = "";
  }

  *push(text, tokens) {
    const pieces = (this.kept + text).split(this.find);
    const rest = pieces.pop();
    for (const said of pieces) yield said + this.replacement;
    const sure = rest.length - begunAtEnd(rest, this.find);
    this.kept = rest.slice(sure);
    yield rest.slice(0, sure);
  }

  close(reason) {
    return [this.kept];
  }
}
