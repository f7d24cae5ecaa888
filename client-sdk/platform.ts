/**
 * What the place we run in may have: a browser, Node or React Native. Read when needed, not when loaded, and typed
 * here, so that the core needs neither a DOM nor its types.
 */

/** The part of a page's events that tells when its person is back. */
export interface Events {
  addEventListener(type: string, listener: (event: object) => void): void;
  removeEventListener(type: string, listener: (event: object) => void): void;
}

/** Where a watch keeps the last state over a reload: `sessionStorage`, or anything like it that answers at once. */
export interface StateStorage {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
}

/** The part of a WebSocket that we use. */
export interface Socket extends Pick<Events, "addEventListener"> {
  close(): void;
}

interface Platform extends Partial<Events> {
  document?: Events & { visibilityState?: string };
  location?: { href: string };
  sessionStorage?: StateStorage;
  WebSocket?: new (url: string) => Socket;
}

/** The global object, with nothing taken for granted. */
export const platform: Platform = globalThis as object;

/** Milliseconds on a clock that nobody sets. */
export const nowMs = (): number => performance.now();

/** An absolute address without a slash at its end. A page may give one relative to itself. */
export function absolute(url: string): string {
  const isAbsolute = /^[a-z]+:\/\//i.test(url);
  const whole = isAbsolute || !platform.location ? url : new URL(url, platform.location.href).href;
  return whole.replace(/[?#].*$/, "").replace(/\/+$/, "");
}
