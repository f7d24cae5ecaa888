/**
 * Watches one order until it is told to stop: `watchOrder`. The states of its connection, and what leads from one to
 * another, are written down in `connection.ts`; how a link is kept, in `link.ts`.
 *
 * Guarantees: a state that is shown is never replaced by an older one of the same order, whatever repeats or overtakes
 * on its way; a different `id` is a different order, whose versions start again. States may be skipped, because each
 * is whole. A settled order stays watched, since a late success or another try may come. The watch ends only by
 * `close()`, its signal, or a refusal that will not pass. It does not guarantee that its listeners hear of a state that
 * a newer one replaced while they were being told.
 */
import { step } from "./connection.ts";
import type { WatchError } from "./error.ts";
import { createLadder } from "./ladder.ts";
import { openLink } from "./link.ts";
import { createMemory } from "./memory.ts";
import { onReturn } from "./page.ts";
import { absolute, type StateStorage } from "./platform.ts";
import { readEvent, type StatusEvent } from "./protocol.ts";
import { iterate, untilSettled } from "./reading.ts";
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
  /** The Tukio server's address; in a page also one relative to it. */
  url: string;
  /** The merchant's name for the order. */
  orderId: string;
  /** A watch token for this order, as the merchant's server got it. */
  token: string;
  /** Tried in turn, best first. Default: `[socketIo(), longPoll()]`. */
  transports?: readonly Transport[] | undefined;
  /**
   * Fetches a fresh token from the merchant's server when this one has run out. Without it, or when it answers
   * undefined, the watch then ends; when it fails, it is asked again after a while.
   */
  refreshToken?: (() => string | undefined | Promise<string | undefined>) | undefined;
  /** Closes the watch when aborted. */
  signal?: AbortSignal | undefined;
  /** Where the last state outlives a reload. Default: `sessionStorage`, where there is one. Null: nowhere. */
  storage?: StateStorage | null | undefined;
  /**
   * The last version seen elsewhere, by the server that rendered the page, say: only newer states are told, and waited
   * for. Default: the stored one's, or 0.
   */
  after?: number | undefined;
}

/** One order, watched, for who only wants to show it. */
export interface Watch {
  /** What is known now: the same object until something changes. */
  snapshot(): Snapshot;
  /** Calls back on every change, not for what is known already. Returns the way to stop. */
  subscribe(listener: SnapshotListener): () => void;
  /** Looks at once whether something was missed. Pages do so by themselves; call it when a native app is in front again. */
  check(): void;
  /** Ends the watch for good. May be called twice. */
  close(): void;
}

/** One order, watched. Iterating yields the newest state and then newer ones, until the watch is closed. */
export interface OrderWatch extends Watch, AsyncIterable<StatusEvent> {
  /**
   * Resolves with the first settled state that the server tells, at once when it has. Rejects with a `WatchError` when
   * the watch ends before that.
   */
  settled(): Promise<StatusEvent>;
}

/** Starts watching an order. Never throws for what the network or the server does: that is in the snapshot. */
export function watchOrder(options: WatchOptions): OrderWatch {
  const { watch, store, recalled } = openWatch(options);
  return {
    ...watch,
    settled: () => untilSettled(store, recalled),
    [Symbol.asyncIterator]: () => iterate(store, recalled),
  };
}

/** The same without the ways to await it, which the element and the hook do not need. */
export const showOrder = (options: WatchOptions): Watch => openWatch(options).watch;

function openWatch(options: WatchOptions): { watch: Watch; store: SnapshotStore; recalled: StatusEvent | undefined } {
  const { orderId, signal } = options;
  const url = absolute(options.url);
  let { token } = options;
  const memory = createMemory(url, orderId, options.storage);
  const recalled = memory.recall();
  // An order's last word is not taken from memory: since then there may have been another try. It is asked for again.
  let after = options.after ?? (recalled?.settled ? 0 : (recalled?.version ?? 0));
  const store = createSnapshotStore({ ...firstSnapshot, event: recalled });
  const [best = socketIo(), ...others] = options.transports ?? [socketIo(), longPoll()];
  const ladder = createLadder([best, ...others]);

  const accept = (value: unknown): void => {
    const event = readEvent(value);
    const known = store.get().event;
    if (!event) return;
    // A remembered state that the server confirms is replaced too: from then on it counts.
    const isNews = known?.id !== event.id || event.version > known.version;
    const isConfirmation = known === recalled && event.version === known?.version;
    if (!isNews && !isConfirmation) return;
    after = event.version;
    memory.keep(event);
    store.set({ event });
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
    onInput(input) {
      const connection = step(store.get().connection, input);
      store.set({ connection, transport: connection === "open" ? ladder.current().name : undefined });
    },
    onRefused: (error) => end(error),
  });
  const stopListening = onReturn(link.check);

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

  const watch = { snapshot: store.get, subscribe: store.subscribe, check: link.check, close };
  return { watch, store, recalled };
}
