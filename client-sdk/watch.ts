/**
 * `watchOrder` watches one order until the caller closes the watch. `connection.ts` defines the states of the connection
 * and their transitions. `link.ts` keeps the link to the server.
 *
 * Guarantees: an older state of an order never replaces a newer one, even if states repeat or arrive out of order (G5).
 * A different `id` is a different order, whose versions start again. The watch continues after the order has settled,
 * because a late success or another attempt may follow. Only `close()`, the signal or a final refusal end the watch.
 *
 * Not guaranteed: a listener may miss a state, because each state is complete and a newer one may replace it before the
 * listener is called.
 */
import { iterate, untilSettled } from "./awaiting.ts";
import { skewOf } from "./clock.ts";
import { step } from "./connection.ts";
import type { WatchError } from "./error.ts";
import { createLadder } from "./ladder.ts";
import { openLink } from "./link.ts";
import { createMemory } from "./memory.ts";
import { onReturn } from "./page.ts";
import { absolute, type StateStorage } from "./platform.ts";
import { compareStates, type Position, positionOf, readEvent, type StatusEvent } from "./protocol.ts";
import {
  createSnapshotStore,
  firstSnapshot,
  type Snapshot,
  type SnapshotListener,
  type SnapshotStore,
} from "./snapshot.ts";
import { longPoll } from "./transport/longpoll.ts";
import { socketIo } from "./transport/socketio.ts";
import type { Transport } from "./transport/transport.ts";

export interface WatchOptions {
  /** The address of the Tukio server. In a page it may be relative to the page. */
  url: string;
  /** The merchant's id for the order. */
  orderId: string;
  /**
   * A watch token for this order: `watchToken` in the answer to `POST /v1/payments`. If it is empty, the watch starts with
   * `refreshToken`.
   */
  token: string;
  /** The transports to try, in this order. Default: `[socketIo(), longPoll()]`. */
  transports?: readonly Transport[] | undefined;
  /**
   * Fetches a fresh token from the merchant's server when the current token has expired or is empty. If it is missing or
   * returns undefined, the watch ends. If it throws, the watch calls it again after a wait.
   */
  refreshToken?: (() => string | undefined | Promise<string | undefined>) | undefined;
  /** Closes the watch when aborted. */
  signal?: AbortSignal | undefined;
  /** Keeps the last state across a reload. Default: `sessionStorage` if there is one. Null stores nothing. */
  storage?: StateStorage | null | undefined;
  /**
   * The version that the page already shows, for example because the merchant's server rendered it; `epoch.version` names
   * its epoch too. Until the first state has arrived, the watch requests newer ones only. Default: 0, also after a reload, because
   * the current state comes with the server's time.
   */
  after?: Position | undefined;
}

/** A watch that shows an order but cannot be awaited. */
export interface Watch {
  /** The current snapshot: the same object until something changes. */
  snapshot(): Snapshot;
  /** Calls `listener` on every change, but not for the current snapshot. Returns a function that unsubscribes. */
  subscribe(listener: SnapshotListener): () => void;
  /** Checks now for missed states. A page does this automatically; a native app calls it when it returns to the front. */
  check(): void;
  /** Ends the watch. Idempotent. */
  close(): void;
}

/** Watches one order. Iteration yields the newest state and then newer ones, until the watch is closed. */
export interface OrderWatch extends Watch, AsyncIterable<StatusEvent> {
  /**
   * Resolves with the first settled state from the server, at once if it has arrived. Rejects with a `WatchError` if the
   * watch ends first.
   */
  settled(): Promise<StatusEvent>;
}

/** Starts to watch an order. Throws a `TypeError` without a `url`. Never throws because of the network or the server: `snapshot()` reports their errors. */
export function watchOrder(options: WatchOptions): OrderWatch {
  const { watch, store, stored } = openWatch(options);
  return {
    ...watch,
    settled: () => untilSettled(store, stored),
    [Symbol.asyncIterator]: () => iterate(store, stored),
  };
}

/** Like `watchOrder`, without the functions to await it: the element and the hook do not need them. */
export const showOrder = (options: WatchOptions): Watch => openWatch(options).watch;

function openWatch(options: WatchOptions): { watch: Watch; store: SnapshotStore; stored: StatusEvent | undefined } {
  const { orderId, signal } = options;
  const url = absolute(options.url);
  let { token } = options;
  const memory = createMemory(url, orderId, options.storage);
  const stored = memory.read();
  // A stored state is requested again: another attempt may have followed it, and the answer has the server's time.
  let after = options.after ?? 0;
  const store = createSnapshotStore({ ...firstSnapshot, event: stored });
  const [best = socketIo(), ...others] = options.transports ?? [socketIo(), longPoll()];
  const ladder = createLadder([best, ...others]);

  const accept = (value: unknown): void => {
    const received = readEvent(value);
    if (!received) return;
    // The state is the same as on a channel without the time.
    const { sentAt, ...event } = received;
    const { event: known, skewMs } = store.get();
    const lead = known?.id === event.id ? compareStates(event, known) : 1;
    if (lead < 0) return;
    after = positionOf(event);
    // The server's copy replaces an equal stored state, so that `settled()` may resolve with it.
    if (lead > 0 || known === stored) {
      memory.write(event);
      store.set({ event, skewMs: skewOf(received, skewMs) });
    } else if (sentAt) store.set({ skewMs: skewOf(received) });
  };

  const link = openLink({
    ladder,
    target: () => ({ url, orderId, token, after }),
    async refresh() {
      const fresh = await options.refreshToken?.();
      token = fresh ?? token;
      return fresh !== undefined;
    },
    onEvent: accept,
    onInput(input, transport) {
      store.set({ connection: step(store.get().connection, input), transport });
    },
    onRefused: (error) => end(error),
  });
  const check = (): void => {
    // The clock may have changed, or the last message was delivered late: the current state comes again, with the server's time.
    if (store.get().event !== stored) after = 0;
    link.check();
  };
  const stopListening = onReturn(check);

  const end = (error?: WatchError): void => {
    const { connection } = store.get();
    if (connection === "closed") return;
    stopListening();
    signal?.removeEventListener("abort", close);
    link.close();
    store.set({ connection: step(connection, error ? "refused" : "ended"), transport: undefined, error });
  };
  const close = (): void => end();
  signal?.addEventListener("abort", close);
  if (signal?.aborted) close();

  const watch = { snapshot: store.get, subscribe: store.subscribe, check, close };
  return { watch, store, stored };
}
