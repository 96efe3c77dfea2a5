/** What a plugin remembers from one request to the next. See `store.js`. */
declare const store: {
  /** The bytes of a key, or undefined. */
  get(key: string): Uint8Array | undefined;
  /** The text of a key, or undefined. */
  text(key: string): string | undefined;
  /** Whether a key is there. */
  has(key: string): boolean;
  /** Sets a key to bytes or a text, for some seconds or for good. Throws `Refused` where there is no room; nothing is changed. */
  set(key: string, value: Uint8Array | string, options?: { seconds?: number }): typeof store;
  /** Adds to the number that a key has, 0 at first, and returns the sum. Throws `Refused` where it has no number. */
  add(key: string, by?: number, options?: { seconds?: number }): number;
  /** Forgets a key. */
  delete(key: string): void;
};
export default store;
