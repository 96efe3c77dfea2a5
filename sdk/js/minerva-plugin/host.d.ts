/** The host's functions. What they do, the comments of `wit/plugin.wit` say. An error of theirs is thrown as a string. */

declare module "minerva:plugin/host@0.1.0" {
  const host: {
    log(at: "error" | "warn" | "info" | "debug", message: string): void;
  };
  export default host;
}

declare module "minerva:plugin/model@0.1.0" {
  const model: {
    vocabSize(): number;
    specialId(role: "bos" | "eos" | "eot" | "think-start" | "think-end"): number | null;
    isEog(id: number): boolean;
    encode(text: string, parseSpecial: boolean): number[];
    decode(ids: number[]): Uint8Array;
    /** Where each token's bytes end, and all the bytes. */
    pieces(): [number[], Uint8Array];
  };
  export default model;
}

declare module "minerva:plugin/constraints@0.1.0" {
  export class TokenSet {
    constructor(ids: number[]);
    static fromWords(words: number[]): TokenSet;
    static matching(regex: string): TokenSet;
    intersect(other: TokenSet): void;
    unite(other: TokenSet): void;
    invert(): void;
    has(id: number): boolean;
    size(): number;
  }
  export class Grammar {
    static compile(notation: "json-schema" | "regex" | "lark" | "gbnf", source: string): Grammar;
    allowed(): TokenSet;
    forced(): number[];
    accept(tokens: number[]): number;
    mayEnd(): boolean;
    isComplete(): boolean;
    rollback(count: number): void;
    fork(): Grammar;
  }
  const constraints: { TokenSet: typeof TokenSet; Grammar: typeof Grammar };
  export default constraints;
}

declare module "minerva:plugin/step@0.1.0" {
  import type { Grammar, TokenSet } from "minerva:plugin/constraints@0.1.0";
  const step: {
    position(): number;
    history(count: number): number[];
    random(): number;
    allow(set: TokenSet): void;
    obey(by: Grammar): void;
    bias(ids: number[], add: number[]): void;
    temperature(value: number): void;
    allowEog(allowed: boolean): void;
    force(ids: number[]): void;
    held(): number;
    hold(count: number): void;
    backtrack(count: number): void;
    stop(reason: "stop" | "length" | "filter" | "plugin"): void;
    summarize(): { argmax: number; max: number; logsumexp: number; entropy: number };
    top(count: number): { ids: number[]; logits: number[] };
    at(ids: number[]): number[];
    full(): number[];
  };
  export default step;
}

declare module "minerva:plugin/store@0.1.0" {
  const store: {
    get(key: string): Uint8Array | null;
    set(key: string, value: Uint8Array, ttlMs: number): void;
    add(key: string, by: number, ttlMs: number): number;
    remove(key: string): void;
  };
  export default store;
}
