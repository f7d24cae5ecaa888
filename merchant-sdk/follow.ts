/**
 * Follows the live stream of all events. The stream is opened again when it ends, when it is silent, and when the server cannot be reached,
 * and continues after the last event that was yielded: no event is lost, and rarely one is repeated. It ends when the signal is aborted,
 * and throws when the server refuses it, for example because of a wrong key.
 */
import { asTukioError, backoffMs, pause } from "./call.ts";
import { answerError, TukioError, timedOut, unreadable } from "./error.ts";
import { readMessages, type StreamMessage } from "./event-stream.ts";
import type { EventFilter, OrderEvent } from "./model.ts";

/** An event of the stream. */
export interface FollowedEvent {
  event: OrderEvent;
  /** The place after this event. Keep it, and follow from it later. */
  cursor: string;
}

/** The stream is open, or it was lost and is opened again after a wait. */
export type Connection = { state: "open" } | { state: "waiting"; error: TukioError; delayMs: number };

export interface FollowOptions extends Omit<EventFilter, "limit"> {
  /** Ends the iteration. */
  signal?: AbortSignal | undefined;
  /** Called when the stream has opened, and when it was lost. */
  onConnection?: ((connection: Connection) => void) | undefined;
}

/** Opens the stream. `place` is the query or the header that says where it begins. */
export type OpenStream = (
  place: { query: Omit<EventFilter, "limit">; lastEventId: string | undefined },
  init: { signal: AbortSignal },
) => Promise<{ data?: ReadableStream<Uint8Array> | null | undefined; error?: unknown; response: Response }>;

/** 40 s, because the server sends at least an id every 15 s. A stream that is silent for longer is dead. */
const silenceMsMax = 40_000;

/** 10 s, because a developer waits for a node that restarts. */
const delayMsMax = 10_000;

/** A stream that was open for 5 s resets the count of failures, because its end has nothing to do with those before it. */
const steadyMs = 5_000;

export async function* follow(
  open: OpenStream,
  url: string,
  { signal, onConnection, ...query }: FollowOptions,
): AsyncGenerator<FollowedEvent, void, undefined> {
  const retry = createRetry({ url, signal, onConnection });
  let place: string | undefined;
  while (!signal?.aborted) {
    let failure: unknown;
    try {
      for await (const { id, data } of runStream(open, { url, query, lastEventId: place, signal, ...retry })) {
        if (signal?.aborted) return;
        if (data !== undefined) yield { event: JSON.parse(data) as OrderEvent, cursor: id };
        // After the event was handled, so that a caller that throws sees it again.
        place = id;
      }
    } catch (error) {
      failure = error;
    }
    if (!signal?.aborted) await retry.wait(failure);
  }
}

interface Retry {
  onOpen(): void;
  /** Waits before the next stream. Throws a failure that will not pass. */
  wait(failure: unknown): Promise<void>;
}

function createRetry({
  url,
  signal,
  onConnection,
}: Pick<FollowOptions, "signal" | "onConnection"> & { url: string }): Retry {
  let failures = 0;
  let openedAtMs: number | undefined;
  return {
    onOpen() {
      openedAtMs = performance.now();
      onConnection?.({ state: "open" });
    },
    async wait(failure) {
      const error = failure === undefined ? ended(url) : asTukioError(failure, url);
      if (!(error instanceof TukioError) || !isPassing(error)) throw error;
      if (openedAtMs !== undefined && performance.now() - openedAtMs > steadyMs) failures = 0;
      openedAtMs = undefined;
      const delayMs = error.retryAfterMs ?? backoffMs(failures, delayMsMax);
      failures += 1;
      onConnection?.({ state: "waiting", error, delayMs });
      await pause(delayMs, signal).catch(() => undefined);
    },
  };
}

const ended = (url: string): TukioError =>
  new TukioError({
    code: "unreachable",
    title: "The stream ended",
    detail: `${url} ended the stream of events`,
    retryable: true,
  });

interface Run {
  url: string;
  query: Omit<EventFilter, "limit">;
  lastEventId: string | undefined;
  signal: AbortSignal | undefined;
  onOpen: () => void;
}

/** One stream, until it ends. Throws when it is silent for too long, but not while the caller handles an event. */
async function* runStream(
  open: OpenStream,
  { url, query, lastEventId, signal, onOpen }: Run,
): AsyncGenerator<StreamMessage & { id: string }, void, undefined> {
  const run = new AbortController();
  const abort = (): void => run.abort(signal?.reason);
  signal?.addEventListener("abort", abort);
  if (signal?.aborted) abort();
  /** Aborts the run if the promise does not settle in time. */
  const inTime = async <T>(promise: Promise<T>): Promise<T> => {
    const timer = setTimeout(() => run.abort(timedOut(url, silenceMsMax)), silenceMsMax);
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
    }
  };
  try {
    const { data, error, response } = await inTime(open({ query, lastEventId }, { signal: run.signal }));
    if (!response.ok) throw answerError(response, error);
    if (!data || !/^text\/event-stream/.test(response.headers.get("content-type") ?? "")) throw unreadable(url);
    onOpen();
    for await (const { id, data: text } of readMessages(readPieces(data, inTime))) {
      if (id !== undefined) yield { id, data: text };
    }
  } finally {
    signal?.removeEventListener("abort", abort);
    run.abort();
  }
}

async function* readPieces(
  stream: ReadableStream<Uint8Array>,
  inTime: <T>(promise: Promise<T>) => Promise<T>,
): AsyncGenerator<Uint8Array, void, undefined> {
  const reader = stream.getReader();
  for (;;) {
    const { done, value } = await inTime(reader.read());
    if (done) return;
    yield value;
  }
}

/** Whether the stream may open later. */
const isPassing = ({ status, retryable }: TukioError): boolean => retryable || (status !== undefined && status >= 500);
