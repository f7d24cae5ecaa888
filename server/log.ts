/** What may be said in logs: no secret, token or full phone. URLs lose the parts that open something. */
import type { FastifyRequest } from "fastify";
import { type Logger, pino } from "pino";
import { currentTrace } from "./trace.ts";

/** How requests and errors are written. An error's causes are named; what they carry besides stays out. */
export const serializers = {
  req: ({ id, method, url }: FastifyRequest): object => ({ id, method, url: redactUrl(url) }),
  err: (error: unknown): object => ({
    message: messageOf(error),
    stack: error instanceof Error ? error.stack : undefined,
  }),
};

/**
 * One JSON line per entry on standard output, written together a few times a second and when the process ends: each write
 * by itself was a tenth of what a webhook costs. A SIGKILL takes the last tenth of a second with it.
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

/** Every line says which trace it belongs to, if any. */
export const mixin = (): object => {
  const trace = currentTrace();
  return trace ? { traceId: trace.traceId } : {};
};

/** What an error and its causes say, in one line. */
export function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause === undefined ? error.message : `${error.message}: ${messageOf(error.cause)}`;
}

/** What is longer is cut before anything is looked for in it: that took longer than to answer. */
const urlLengthMax = 512;

/**
 * Hides the URL secrets of webhooks and return addresses, whatever else could be a secret or a phone, and every value
 * of the query. The path is shown decoded: a stranger's, or a provider's, odd spelling of it hides nothing from us.
 */
export function redactUrl(url: string): string {
  const [path = "", query] = url.slice(0, urlLengthMax).split("?", 2);
  const shown = maskSecrets(
    decode(path)
      .replace(/\/{2,}/g, "/")
      .replace(/(\/(?:webhooks\/[^/]+|return)\/).+/is, "$1***"),
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

/** Masks tokens, secrets in hex, and phone numbers, with or without separators. */
const maskSecrets = (text: string): string =>
  text
    .replace(/eyJ[\w-]*(?:\.[\w-]*)*/g, "***")
    .replace(/[0-9a-f]{32,}/gi, "***")
    .replace(/\d(?:[\s()+._-]*\d){5,}/g, "***");

/** Decodes byte by byte, which cannot fail, and what was encoded three times too. */
function decode(path: string): string {
  let text = path;
  for (let times = 0; times < 3 && text.includes("%"); times += 1) {
    text = text.replace(/%([0-9a-f]{2})/gi, (_, byte: string) => String.fromCharCode(Number.parseInt(byte, 16)));
  }
  return text;
}
