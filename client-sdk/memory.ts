/**
 * The last state of an order, kept over a reload of the page, so that the first paint shows it. No token is kept. It is
 * a convenience: where there is no storage, or it is full or forbidden, a watch simply begins with nothing.
 */
import { platform, type StateStorage } from "./platform.ts";
import { readEvent, type StatusEvent } from "./protocol.ts";

export interface Memory {
  recall(): StatusEvent | undefined;
  keep(event: StatusEvent): void;
}

/** Remembers one order of one server. Null: remembers nothing. Default: `sessionStorage`, where there is one. */
export function createMemory(url: string, orderId: string, storage?: StateStorage | null): Memory {
  const key = `tukio:${url}:${orderId}`;
  /** Even looking at `sessionStorage` throws in a sandboxed frame. */
  const attempt = <T>(act: (storage: StateStorage) => T): T | undefined => {
    try {
      const place = storage === undefined ? platform.sessionStorage : storage;
      return place ? act(place) : undefined;
    } catch {
      return undefined;
    }
  };
  return {
    recall: () => attempt((place) => readEvent(JSON.parse(place.getItem(key) ?? "null"))),
    keep: (event) => attempt((place) => place.setItem(key, JSON.stringify(event))),
  };
}
