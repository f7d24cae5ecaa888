/**
 * The optional features of the platform: a browser, Node or React Native. They are read at the time of use, and typed
 * here, so that the core needs neither a DOM nor the DOM's types.
 */

/** The event methods that `page.ts` uses. */
export interface Events {
  addEventListener(type: string, listener: (event: object) => void): void;
  removeEventListener(type: string, listener: (event: object) => void): void;
}

/** A synchronous storage for the last state, such as `sessionStorage`. */
export interface StateStorage {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
}

/** The part of `WebSocket` that the SDK uses. */
export interface Socket extends Pick<Events, "addEventListener"> {
  close(): void;
}

interface Platform extends Partial<Events> {
  document?: Events & { visibilityState?: string };
  location?: { href: string };
  sessionStorage?: StateStorage;
  WebSocket?: new (url: string) => Socket;
}

/** The global object. Every feature may be missing. */
export const platform: Platform = globalThis as object;

/** Milliseconds of a monotonic clock. */
export const nowMs = (): number => performance.now();

/** Makes an address absolute, resolved against the page if there is one, and removes query, fragment and final slash. */
export function absolute(url: string): string {
  // A caller in JavaScript may have misspelt the option.
  if (typeof url !== "string") throw new TypeError("`url` is missing");
  const isAbsolute = /^[a-z]+:\/\//i.test(url);
  const whole = isAbsolute || !platform.location ? url : new URL(url, platform.location.href).href;
  return whole.replace(/[?#].*$/, "").replace(/\/+$/, "");
}
