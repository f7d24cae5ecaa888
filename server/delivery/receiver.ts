/**
 * A receiver gets messages: an endpoint's URL, or a function of this process. The engine treats both alike.
 *
 * An attempt ends within 15 s. It is a success only if the answer's status is 2xx; the status counts as soon as it arrives, whatever
 * the body does. Redirects are not followed. At most 64 KiB of an answer are read.
 */
import { Agent, type Dispatcher, request } from "undici";
import { type AddressRule, createConnector } from "./address.ts";
import type { Claimed } from "./claim.ts";
import type { Message } from "./message.ts";

/** The result of one attempt. */
export interface Reply {
  isDelivered: boolean;
  /** The receiver wants no further messages (410). */
  isGone: boolean;
  durationMs: number;
  /** The HTTP status. Absent without an answer. */
  status?: number;
  /** The first 1 KiB of the answer. */
  answer?: string;
  /** Why there is no answer, or why it is none of success. */
  error?: string;
  /** The receiver asks for no attempt before this time, in seconds. */
  retryAfterS?: number;
  /** The id of what was sent, if later reports are about it: of an SMS. */
  sentId?: string;
  /** A failure that another attempt would not change: none follows until the subject is asked for again. */
  isFinal?: boolean;
}

/** The answer of a receiver that sent nothing: no attempt is counted or kept. */
export interface NoAttempt {
  /** Milliseconds until the delivery is due again, sooner if the subject changes. Null: there is nothing to send. */
  deferMs: number | null;
}

/** A reply for a version about which the receiver has nothing to send. The version counts as acknowledged. */
export const nothingToSend: NoAttempt = { deferMs: null };

/**
 * Sends one message. An abort of `signal` by a `TimeoutError` is a failure; after any other abort, which ends the process, the
 * receiver throws, because the result is unknown. It never throws otherwise.
 */
export type Receiver = (message: Message, signal: AbortSignal, claimed: Claimed) => Promise<Reply | NoAttempt>;

/** A receiver that always sends. */
export type SendingReceiver = (message: Message, signal: AbortSignal) => Promise<Reply>;

/** The time of an attempt, with DNS, connection, TLS and answer. */
export const attemptMs = 15_000;

const answerBytesMax = 65_536;

/** Of an answer, as the history shows it. */
const shownBytesMax = 1_024;

/** The longest `Retry-After` that is read, in seconds: more is an error of the receiver. */
const retryAfterSMax = 86_400;

/** Sends messages over HTTP. One sender per process keeps connections alive; any number of messages may be in flight. */
export interface Sender {
  /** The receiver of an endpoint. `headers` signs a message for the time of an attempt. */
  receiver(url: string, headers: (message: Message) => Record<string, string>): SendingReceiver;
  close(): Promise<void>;
}

export interface SenderOptions extends AddressRule {
  connector?: ReturnType<typeof createConnector>;
}

export function createSender({
  allowsLoopback,
  connector = createConnector({ allowsLoopback }),
}: SenderOptions): Sender {
  const agent = new Agent({
    connect: connector,
    pipelining: 1,
    allowH2: false,
    maxHeaderSize: 16_384,
    // One endpoint may be one of many hosts that are never used again.
    keepAliveTimeout: 10_000,
  });
  return {
    receiver: (url, headers) => (message, signal) => post({ url, headers: headers(message), message, agent, signal }),
    close: () => agent.destroy(),
  };
}

interface Post {
  url: string;
  headers: Record<string, string>;
  message: Message;
  agent: Dispatcher;
  signal: AbortSignal;
}

async function post({ url, headers, message, agent, signal }: Post): Promise<Reply> {
  const startedMs = performance.now();
  const took = (): number => performance.now() - startedMs;
  try {
    const answer = await request(url, {
      method: "POST",
      headers: { ...headers, "content-type": "application/json", "user-agent": "Tukio" },
      body: message.body,
      dispatcher: agent,
      signal,
    });
    const shown = await readAnswer(answer.body);
    const retryAfterS = readRetryAfter(answer.headers["retry-after"]);
    return {
      ...verdictOf(answer.statusCode),
      durationMs: took(),
      answer: shown,
      ...(retryAfterS !== undefined && { retryAfterS }),
    };
  } catch (error) {
    if (signal.aborted && !isTimeout(signal.reason)) throw error;
    return {
      isDelivered: false,
      isGone: false,
      durationMs: took(),
      error: signal.aborted ? timedOut : errorText(error),
    };
  }
}

const isTimeout = (reason: unknown): boolean => reason instanceof Error && reason.name === "TimeoutError";

const timedOut = `no answer within ${attemptMs / 1_000} s`;

const verdictOf = (status: number): Pick<Reply, "status" | "isDelivered" | "isGone" | "error"> => ({
  status,
  isDelivered: status >= 200 && status <= 299,
  isGone: status === 410,
  ...(status >= 300 && status <= 399 && { error: "redirects are not followed" }),
});

/** Reads an answer until it ends, has `answerBytesMax`, or the attempt's time is over. Returns its beginning. */
async function readAnswer(body: Dispatcher.ResponseData["body"]): Promise<string> {
  const shown: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of body as AsyncIterable<Buffer>) {
      if (bytes < shownBytesMax) shown.push(chunk.subarray(0, shownBytesMax - bytes));
      bytes += chunk.length;
      if (bytes >= answerBytesMax) break;
    }
  } catch {
    // The status has arrived, so that a body which breaks off changes nothing.
  } finally {
    body.destroy();
  }
  return Buffer.concat(shown).toString("utf8").replaceAll("\u0000", "\uFFFD").toWellFormed();
}

/** Seconds, from a number or a date. Undefined for anything else. */
function readRetryAfter(header: string | string[] | undefined): number | undefined {
  const text = Array.isArray(header) ? header[0] : header;
  if (text === undefined) return undefined;
  const seconds = /^\d{1,9}$/.test(text.trim()) ? Number(text) : (Date.parse(text) - Date.now()) / 1_000;
  return Number.isFinite(seconds) ? Math.min(Math.max(0, Math.ceil(seconds)), retryAfterSMax) : undefined;
}

/** The message and code of a failed attempt. They name hosts and addresses, never the URL's path or query, which may be secret. */
function errorText(error: unknown): string {
  const { message = String(error), code } = error as { message?: string; code?: string };
  return code && !message.includes(code) ? `${code}: ${message}` : message || String(code);
}
