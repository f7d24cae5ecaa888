/** The log. No line holds a secret, a token or a full phone number: URLs are logged without them. */
import type { FastifyRequest } from "fastify";
import { type Logger, pino } from "pino";
import { currentTrace } from "./trace.ts";

/** Writes requests and errors. Of an error's causes only the messages are logged. */
export const serializers = {
  req: ({ id, method, url }: FastifyRequest): object => ({ id, method, url: redactUrl(url) }),
  err: (error: unknown): object => ({
    message: messageOf(error),
    stack: error instanceof Error ? error.stack : undefined,
  }),
};

/**
 * Writes one JSON line per entry to standard output. Lines are buffered for up to 100 ms, because a write for each line is a tenth
 * of a webhook's cost. The process writes the buffer when it exits; a SIGKILL loses it.
 */
export const createLogger = (level: string): Logger =>
  pino(
    { level, base: null, serializers, mixin },
    pino.destination({ dest: 1, sync: false, minLength: 8_192, periodicFlush: 100 }),
  );

/**
 * Functions that log the failures of a background task: one line when it begins to fail, and one when it works again.
 * `task` tells the tasks apart.
 */
export const reportTask = (
  log: Record<"info" | "error", (details: object, message: string) => void>,
  task: string,
): { onError: (error: unknown) => void; onRecovered: () => void } => ({
  onError: (err) => log.error({ event: "task.failed", task, err }, "background task failed"),
  onRecovered: () => log.info({ event: "task.recovered", task }, "background task works again"),
});

/** Adds the id of the current trace, if any, to every line. */
export const mixin = (): object => {
  const trace = currentTrace();
  return trace ? { traceId: trace.traceId } : {};
};

/** The messages of an error and its causes, in one line. */
export function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause === undefined ? error.message : `${error.message}: ${messageOf(error.cause)}`;
}

/** Listeners that log a new epoch of the database, and that a node cannot read the server's place in its log. */
export const reportEpochs = (log: Pick<Logger, "warn">) => ({
  onStarted: (epoch: number, reason: string): void =>
    log.warn(
      { event: "database.epoch.started", epoch, reason },
      "the database may have lost commits: a new epoch begins",
    ),
  onUnreadable: (err: unknown): void =>
    log.warn({ event: "database.place.unreadable", err }, "the role may not read the server's place in its log"),
});

/** A URL is cut to this before it is searched, because a search of a long URL takes longer than the answer. */
const urlLengthMax = 512;

/**
 * Masks the secrets of webhook URLs, return URLs and the pages of payment links, plans and receipts, anything else that could be a secret or a
 * phone number, and every value of the query. Decodes the path first, so that an unusual spelling cannot hide a secret from the masks.
 */
export function redactUrl(url: string): string {
  const [path = "", query] = url.slice(0, urlLengthMax).split("?", 2);
  const shown = maskSecrets(
    decode(path)
      .replace(/\/{2,}/g, "/")
      .replace(/(\/(?:webhooks\/[^/]+|return|pay|plan|receipts)\/).+/is, "$1***"),
  );
  const names = query?.split("&").map((pair) => `${nameOf(pair)}=`);
  return names ? `${shown}?${names.join("&")}` : shown;
}

/** The name of one query parameter. Masks a name that may be a value without a name. */
function nameOf(pair: string): string {
  const [name = ""] = pair.split("=", 1);
  const plain = decode(name);
  return /^[\w.[\]-]{0,32}$/.test(plain) && maskSecrets(plain) === plain ? name : "***";
}

/** Masks tokens and secrets in hex. */
export const maskTokens = (text: string): string =>
  text
    .replace(/eyJ[\w-]*(?:\.[\w-]*)*/g, "***")
    .replace(/tukio_(?:key|session)_[\w-]*/g, "***")
    .replace(/[0-9a-f]{32,}/gi, "***");

/** Masks tokens, secrets in hex, and phone numbers, with or without separators. */
const maskSecrets = (text: string): string => maskTokens(text).replace(/\d(?:[\s()+._-]*\d){5,}/g, "***");

/** Decodes byte by byte, up to three times. It cannot fail, unlike `decodeURIComponent`. */
function decode(path: string): string {
  let text = path;
  for (let times = 0; times < 3 && text.includes("%"); times += 1) {
    text = text.replace(/%([0-9a-f]{2})/gi, (_, byte: string) => String.fromCharCode(Number.parseInt(byte, 16)));
  }
  return text;
}
