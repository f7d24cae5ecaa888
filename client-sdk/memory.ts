/**
 * Stores the last state of an order, so that a reloaded page shows it in the first paint. It never stores a token. If
 * the storage is missing, full or forbidden, the watch starts without a state.
 */
import { platform, type StateStorage } from "./platform.ts";
import { readEvent, type StatusEvent } from "./protocol.ts";

export interface Memory {
  read(): StatusEvent | undefined;
  write(event: StatusEvent): void;
}

/** Stores the state of one order of one server. Null stores nothing. Default: `sessionStorage` if there is one. */
export function createMemory(url: string, orderId: string, storage?: StateStorage | null): Memory {
  const key = `tukio:${url}:${orderId}`;
  /** Reads `sessionStorage` inside the `try`, because the property itself throws in a sandboxed frame. */
  const withStorage = <T>(use: (storage: StateStorage) => T): T | undefined => {
    try {
      const available = storage === undefined ? platform.sessionStorage : storage;
      return available ? use(available) : undefined;
    } catch {
      return undefined;
    }
  };
  return {
    read: () => withStorage((available) => readEvent(JSON.parse(available.getItem(key) ?? "null"))),
    write: (event) => withStorage((available) => available.setItem(key, JSON.stringify(event))),
  };
}
