/**
 * What a plugin remembers from one request to the next: like a Map of strings to bytes. It is there in a plugin whose
 * `plugin.json` says `"store": true`; to import this file without is an error when it is built.
 *
 *     import store from "./minerva-plugin/store.js";
 *
 *     store.set("last", "a fox", { seconds: 60 });
 *     store.text("last"); // "a fox"
 *     store.add("visits"); // 1, 2, 3, …
 *
 * All requests share it, side by side. It is gone when the plugin is taken out, and when the server ends.
 */

import host from "minerva:plugin/store@0.1.0";

import { Refused } from "./index.js";

// There is no TextEncoder in the engine.
const bytesOf = (text) => Uint8Array.from(unescape(encodeURIComponent(text)), (byte) => byte.charCodeAt(0));
const textOf = (bytes) => decodeURIComponent(escape(Array.from(bytes, (byte) => String.fromCharCode(byte)).join("")));

// In milliseconds, where 0 is for good.
const lasting = (seconds) => (seconds === undefined ? 0 : Math.max(1, Math.round(seconds * 1000)));

// The host throws its words as they are.
function said(call) {
  try {
    return call();
  } catch (error) {
    throw typeof error === "string" ? new Refused(error) : error;
  }
}

export default {
  /** The bytes of a key, or undefined. */
  get(key) {
    return host.get(key) ?? undefined;
  },

  /** The text of a key, or undefined. */
  text(key) {
    const bytes = host.get(key) ?? null;
    return bytes === null ? undefined : textOf(bytes);
  },

  /** Whether a key is there. */
  has(key) {
    return (host.get(key) ?? null) !== null;
  },

  /** Sets a key to bytes or a text, for some seconds or for good. Throws `Refused` where there is no room; nothing is changed. */
  set(key, value, { seconds } = {}) {
    said(() => host.set(key, typeof value === "string" ? bytesOf(value) : value, lasting(seconds)));
    return this;
  },

  /** Adds to the number that a key has, 0 at first, and returns the sum. Throws `Refused` where it has no number. */
  add(key, by = 1, { seconds } = {}) {
    return said(() => host.add(key, by, lasting(seconds)));
  },

  /** Forgets a key. */
  delete(key) {
    host.remove(key);
  },
};
