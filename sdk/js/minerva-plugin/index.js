/**
 * Plugins for Minerva, in JavaScript and TypeScript.
 *
 * A plugin is the default export of `plugin.js`: a class derived from `Sampler`, `Template` or `Stream`. This is a
 * whole one:
 *
 *     import { Sampler } from "./minerva-plugin/index.js";
 *
 *     export default class extends Sampler {
 *       static about = {
 *         version: "0.1.0",
 *         summary: "Keeps the best few candidates.",
 *         args: {
 *           type: "object",
 *           additionalProperties: false,
 *           properties: { k: { type: "integer", minimum: 1, maximum: 64, default: 8 } },
 *         },
 *       };
 *       static needs = { canFork: true, canRollback: true };
 *
 *       constructor({ k = 8 }, prompt) {
 *         super();
 *         this.k = k;
 *       }
 *
 *       pick(ids, logits) {
 *         return ids.slice(0, this.k);
 *       }
 *
 *       rollback(count) {}
 *     }
 *
 * The host's functions are modules, as the comments of `wit/plugin.wit` say: `import step from
 * "minerva:plugin/step@0.1.0"`, and likewise `model`, `constraints` and `host`, with names in camelCase. Randomness is
 * `step.random()`: `Math.random` gives the same numbers in every request. To refuse a request, throw `Refused` with what
 * is wrong and what would be right; any other error is a bug, and fails the one request. What is to be remembered from
 * one request to the next: see `store.js`.
 */

/** The request cannot be served: its words go to the client. */
export class Refused extends Error {}

/** Chooses tokens, or narrows and bends the choice. An object is its part in one answer. */
export class Sampler {
  /** What it says of itself: `version`, `summary`, and `args`, the JSON schema of its arguments. */
  static about;

  /**
   * What it has to see, and what it can do: `tier` ("cut": the best candidates; "plan": `pick` is never called;
   * "full-row": every logit, if granted), `cut` (how many candidates `pick` gets, 64), `readsRow`, `canFork`,
   * `canRollback`, `backtrackMax` (how many tokens at a time `step.hold` and `step.backtrack` are for; needs `canRollback`).
   */
  static needs = {};

  /** `constructor(args, prompt)` opens it, with the request's arguments and the tokens of the prompt. */

  /** Tells of tokens that now are part of the answer; commands are given here or in `pick`. */
  advance(committed) {}

  /** Chooses: a token; an array of candidates, one of which the host draws; or null for whatever comes next. */
  pick(ids, logits) {
    return null;
  }

  /** A second one that goes on as this one would: a deep copy. Sets and grammars cannot be copied so: make it yourself. */
  fork() {
    return deepCopy(this);
  }

  /** Takes back the last `count` committed tokens. */
  rollback(count) {
    throw new Refused("this sampler cannot take tokens back");
  }

  /** What is returned, unless it is null, goes into the response's metadata, as JSON. */
  close() {
    return null;
  }
}

/** What a template makes: `new Prompt().special("<|im_start|>user\n").text(words)`. */
export class Prompt {
  parts = [];
  stops = [];
  grammar = null;

  /** Adds the template's own words, in which the text of special tokens means those tokens. */
  special(text) {
    this.parts.push({ tag: "special", val: text });
    return this;
  }

  /** Adds what a stranger wrote: what looks like markup in it stays text. */
  text(text) {
    this.parts.push({ tag: "text", val: text });
    return this;
  }

  /** Adds tokens, used as they are. */
  tokens(ids) {
    this.parts.push({ tag: "tokens", val: ids });
    return this;
  }

  /** Adds a text that ends the answer. */
  stop(text) {
    this.stops.push(text);
    return this;
  }

  /** Makes the answer obey a grammar: "json-schema", "regex", "lark" or "gbnf", and its source. */
  obey(notation, source) {
    this.grammar = [notation, source];
    return this;
  }
}

/** Makes the prompt of a conversation. */
export class Template {
  /** What it says of itself: see `Sampler`. */
  static about;

  /** Makes a `Prompt`. `chat` has `messages`, `tools`, `variables` and `continueLast`, as the WIT says. */
  static render(chat, args) {
    throw new Error("a template has a static method render");
  }
}

/** The text of a message of a conversation. */
export function textOf(message) {
  return message.content.map((content) => content.val).join("");
}

/**
 * Turns the text of an answer, as it comes, into events. An object is its part in one answer.
 *
 * However an answer is cut into chunks, the events, with neighbours of a kind joined, have to be the same: keep back
 * what cannot be decided yet.
 */
export class Stream {
  /** What it says of itself: see `Sampler`. */
  static about;

  /** `constructor(args)` opens it, with the request's arguments. */

  /**
   * Takes more of the answer, and gives or yields what can already be said: a string is text of the answer; others are
   * `{ reasoning: text }`, `{ meta: value }`, `{ tool: { index, id, name, arguments } }` and `{ stop: "filter" }`.
   */
  push(text, tokens) {
    return [text];
  }

  /** The answer is complete: what was kept back comes out. */
  close(reason) {
    return [];
  }
}

/** How many UTF-16 units at the end of a text may be the beginning of what is looked for. */
export function begunAtEnd(text, lookedFor) {
  for (let length = Math.min(text.length, lookedFor.length - 1); length > 0; length--) {
    if (text.endsWith(lookedFor.slice(0, length))) return length;
  }
  return 0;
}

/** What a plugin says of itself, as the interface has it. */
export function describe({ version, summary, args }) {
  return { version, summary, argsSchema: args === undefined ? "" : JSON.stringify(args) };
}

/** Calls, and makes a refusal of `Refused`. */
export function orRefuse(call) {
  try {
    return call();
  } catch (error) {
    // An error of a result is thrown as what it is, here a string.
    throw error instanceof Refused ? error.message : error;
  }
}

function deepCopy(value) {
  if (typeof value !== "object" || value === null) return value;
  if (value instanceof Map) return new Map([...value].map(([key, item]) => [deepCopy(key), deepCopy(item)]));
  if (value instanceof Set) return new Set([...value].map(deepCopy));
  if (ArrayBuffer.isView(value)) return value.slice();
  if (Array.isArray(value)) return value.map(deepCopy);
  const copy = Object.create(Object.getPrototypeOf(value));
  for (const [key, item] of Object.entries(value)) copy[key] = deepCopy(item);
  return copy;
}
