/// <reference path="./host.d.ts" />

/** Plugins for Minerva, in JavaScript and TypeScript. The first comment of `index.js` is the manual. */

/** An index into the model's vocabulary. */
export type Token = number;

/** Why an answer ends. */
export type Finish = "stop" | "length" | "filter" | "plugin";

/** How a grammar is written. */
export type Notation = "json-schema" | "regex" | "lark" | "gbnf";

/** The request cannot be served: its words go to the client. */
export class Refused extends Error {}

/** What a plugin says of itself. */
export interface About {
  /** 1 to 64 characters, as in "1.4.0". */
  version: string;
  /** One sentence of at most 200 characters. */
  summary: string;
  /** The JSON schema of its arguments; without it anything goes. */
  args?: object;
}

/** What a sampler has to see, and what it can do. */
export interface Needs {
  /** "cut", the default: the best candidates. "plan": `pick` is never called. "full-row": every logit, if granted. */
  tier?: "plan" | "cut" | "full-row";
  /** How many candidates `pick` gets: 1 to 4,096, by default 64. */
  cut?: number;
  /** It calls `step.summarize`, `step.top` or `step.at`. */
  readsRow?: boolean;
  /** `fork` works. */
  canFork?: boolean;
  /** `rollback` works. */
  canRollback?: boolean;
  /** How many tokens at a time `step.hold` and `step.backtrack` are for; more than 0 needs `canRollback`. */
  backtrackMax?: number;
}

/** Chooses tokens, or narrows and bends the choice. An object is its part in one answer. `Args` is what `about.args` says. */
export class Sampler<Args = Record<string, unknown>> {
  static about: About;
  static needs: Needs;
  /** Opens it, with the request's arguments and the tokens of the prompt. */
  constructor(args?: Args, prompt?: Token[]);
  /** Tells of tokens that now are part of the answer; commands are given here or in `pick`. */
  advance(committed: Token[]): void;
  /** Chooses: a token; an array of candidates, one of which the host draws; or null for whatever comes next. */
  pick(ids: Token[], logits: number[]): Token | Token[] | null;
  /** A second one that goes on as this one would. A deep copy, unless you write it: sets and grammars cannot be copied so. */
  fork(): Sampler<Args>;
  /** Takes back the last `count` committed tokens. */
  rollback(count: number): void;
  /** What is returned, unless it is null, goes into the response's metadata, as JSON. */
  close(): unknown;
}

/** A part of what was said. */
export interface Content {
  tag: "text";
  val: string;
}

/** A call of a tool by the assistant. */
export interface ToolCall {
  id: string;
  name: string;
  /** JSON text. */
  arguments: string;
}

/** One message of a conversation. */
export interface Message {
  /** "system", "user", "assistant", "tool", or what else the client says. */
  role: string;
  content: Content[];
  name: string | null;
  toolCalls: ToolCall[];
  toolCallId: string | null;
  reasoning: string | null;
}

/** A conversation. */
export interface Chat {
  /** Oldest first. */
  messages: Message[];
  /** The tools on offer, each a JSON text in OpenAI's form. */
  tools: string[];
  /** Further variables of the request: the JSON text of an object. */
  variables: string;
  /** Leave the last message open, to be continued, if it is the assistant's. */
  continueLast: boolean;
}

/** What a template makes: `new Prompt().special("<|im_start|>user\n").text(words)`. */
export class Prompt {
  /** Adds the template's own words, in which the text of special tokens means those tokens. */
  special(text: string): this;
  /** Adds what a stranger wrote: what looks like markup in it stays text. */
  text(text: string): this;
  /** Adds tokens, used as they are. */
  tokens(ids: Token[]): this;
  /** Adds a text that ends the answer. */
  stop(text: string): this;
  /** Makes the answer obey a grammar. */
  obey(notation: Notation, source: string): this;
}

/** Makes the prompt of a conversation, in a static method `render(chat: Chat, args): Prompt`. */
export class Template {
  static about: About;
}

/** The text of a message of a conversation. */
export function textOf(message: Message): string;

/** What a stream processor says: a string is text of the answer. */
export type Event =
  | string
  | { reasoning: string }
  | { meta: unknown }
  | { tool: { index: number; id?: string | null; name?: string | null; arguments: string } }
  | { stop: Finish };

/**
 * Turns the text of an answer, as it comes, into events. An object is its part in one answer. `Args` is what `about.args`
 * says.
 *
 * However an answer is cut into chunks, the events, with neighbours of a kind joined, have to be the same: keep back
 * what cannot be decided yet.
 */
export class Stream<Args = Record<string, unknown>> {
  static about: About;
  /** Opens it, with the request's arguments. */
  constructor(args?: Args);
  /** Takes more of the answer, and gives or yields what can already be said. */
  push(text: string, tokens: Token[]): Iterable<Event>;
  /** The answer is complete: what was kept back comes out. */
  close(reason: Finish): Iterable<Event>;
}

/** How many UTF-16 units at the end of a text may be the beginning of what is looked for. */
export function begunAtEnd(text: string, lookedFor: string): number;
