/**
 * `tukio listen`: follows all events, signs each as an endpoint's message, and posts it to a URL on this machine. The events arrive over
 * a connection that this command opens, so no public address is needed.
 *
 * Events are posted one after the other, in their order, and each at least once for every event of the server. An event whose post fails is
 * not posted again; `--since` posts past events.
 */
import { createHmac } from "node:crypto";
import { Webhook } from "standardwebhooks";
import { reasonOf } from "../error.ts";
import type { Connection } from "../follow.ts";
import type { OrderEvent } from "../model.ts";
import type { Arguments } from "./arguments.ts";
import type { Command, Context } from "./command.ts";
import { suggestion } from "./nearest.ts";
import { type Output, plain } from "./output.ts";

const eventTypes = [
  "order.pending",
  "order.processing",
  "order.succeeded",
  "order.failed",
  "order.expired",
  "order.review",
  "order.updated",
] as const satisfies readonly OrderEvent["type"][];

/** As an endpoint without `events`. */
const usualTypes = eventTypes.slice(2);

export const listen: Command = {
  name: "listen",
  summary: "Forwards events to a URL on this machine",
  words: [],
  options: {
    "forward-to": { value: "URL", help: "where to post the events, such as localhost:4000/hooks" },
    events: {
      value: "TYPES",
      help: "the types to forward, separated by commas, or all; default: those of an endpoint",
    },
    secret: { value: "SECRET", help: "the secret to sign with; default: one that belongs to your API key" },
    since: { value: "TIME", help: "begins with the past events from this time on, such as 2026-11-20T21:00:00Z" },
    "print-secret": { help: "prints the secret and ends" },
  },
  details: `Prints one line for each event, with the answer of the URL. Each event is posted once; a failed
post is not repeated. When the connection to the server breaks, the command reconnects and continues
after the last event. Ctrl-C ends the command.

The URL of another machine must begin with https://, and the command warns about it, because the
events contain data of your customers.

Types of events: ${eventTypes.join(", ")}.
An endpoint receives all but the first two, and so does --forward-to.

Examples:
  tukio listen --forward-to localhost:4000/hooks/tukio
  S=$(tukio listen --print-secret) && WEBHOOK_SECRET=$S node server.js`,

  prepare(args) {
    const given = args.value("secret");
    if (given !== undefined && !isSecret(given)) args.refuse("--secret must be whsec_ and base64");
    const isPrint = args.has("print-secret");
    const target = isPrint ? "" : readTarget(args);
    const types = readTypes(args);
    const since = readSince(args);
    return async (context) => {
      const { output, apiKey } = context;
      const secret = given ?? secretOf(apiKey);
      if (isPrint) {
        output.line(secret);
        output.json({ secret });
      } else await forward(context, { secret, webhook: new Webhook(secret), target, types, since });
      return 0;
    };
  },
};

/**
 * The secret that belongs to an API key, so that it stays the same from run to run, and nothing has to be stored. It does not reveal
 * the key.
 */
const secretOf = (apiKey: string): string =>
  `whsec_${createHmac("sha256", apiKey).update("tukio listen").digest("base64")}`;

function isSecret(secret: string): boolean {
  try {
    return Boolean(new Webhook(secret));
  } catch {
    return false;
  }
}

const isLoopback = (hostname: string): boolean => /^(127(\.\d+){3}|\[::1\]|(.+\.)?localhost)$/.test(hostname);

/** Requires https for another machine, because the events contain data of the merchant's customers. */
function readTarget(args: Arguments): string {
  const text = args.value("forward-to");
  const fault = (what: string): string => {
    args.refuse(`--forward-to ${what}`);
    return "";
  };
  if (text === undefined && args.isGiven("forward-to")) return "";
  if (text === undefined) return fault("is missing, such as --forward-to localhost:4000/hooks");
  const url = /^https?:\/\//i.test(text) ? text : `http://${text}`;
  if (!URL.canParse(url)) return fault("is not a URL, such as localhost:4000/hooks");
  const found = new URL(url);
  if (!isLoopback(found.hostname) && found.protocol !== "https:")
    return fault(`must be https for another machine: https://${found.host}${found.pathname}`);
  return found.href;
}

function readTypes(args: Arguments): readonly string[] {
  const text = args.value("events");
  if (text === undefined) return usualTypes;
  if (text === "all") return eventTypes;
  const types = text.split(",").map((type) => type.trim());
  const unknown = types.filter((type) => !(eventTypes as readonly string[]).includes(type));
  for (const type of unknown)
    args.refuse(
      `--events has the unknown type ${type}${suggestion(type, eventTypes) || `. Types: ${eventTypes.join(", ")}`}`,
    );
  return types;
}

function readSince(args: Arguments): { since?: string } {
  const text = args.value("since");
  if (text === undefined) return {};
  const time = new Date(text);
  if (!Number.isNaN(time.getTime())) return { since: time.toISOString() };
  args.refuse("--since is not a time, such as 2026-11-20T21:00:00Z");
  return {};
}

interface Target {
  webhook: Webhook;
  target: string;
}

interface Forwarding extends Target {
  secret: string;
  types: readonly string[];
  since: { since?: string };
}

async function forward(
  { output, tukio, url, signal }: Context,
  { secret, webhook, target, types, since }: Forwarding,
): Promise<void> {
  output.line(`Forwarding events of ${url} to ${target}`);
  output.line(`Secret: ${output.paint("bold", secret)}`);
  warnOfRemote(output, target);
  let hasOpened = false;
  const onConnection = (connection: Connection): void => {
    printConnection(output, connection, hasOpened);
    if (connection.state !== "open" || hasOpened) return;
    hasOpened = true;
    output.json({ event: "ready", url, forwardTo: target, secret });
  };
  for await (const { event } of tukio.events.follow({ ...since, signal, onConnection })) {
    if (!types.includes(event.type)) continue;
    const answer = await post(event, { webhook, target, signal });
    if (signal.aborted) break;
    printAnswer(output, event, answer);
  }
  output.line("Stopped.");
}

function warnOfRemote(output: Output, target: string): void {
  const { hostname } = new URL(target);
  if (isLoopback(hostname)) return;
  const detail = `${hostname} is not this machine. It receives all events, which contain data of your customers`;
  output.warn(`Warning: ${detail}`, { warning: { code: "forward_remote", detail } });
}

function printConnection(output: Output, connection: Connection, hasOpened: boolean): void {
  if (connection.state === "open") {
    output.line(hasOpened ? "Connected again." : "Ready. Ctrl-C ends it.");
    if (hasOpened) output.json({ event: "connected" });
    return;
  }
  const { error, delayMs } = connection;
  output.warn(`${plain(error.detail)}; trying again in ${(delayMs / 1_000).toFixed(1)} s`);
  output.json({ event: "disconnected", code: error.code, detail: error.detail, delayMs: Math.round(delayMs) });
}

/** As long as Tukio waits for an endpoint. */
const answerMsMax = 15_000;

interface Answer {
  httpStatus?: number;
  /** Why there is no answer. */
  error?: string;
  durationMs: number;
}

/** Posts the event as an endpoint receives it. */
async function post(
  { id, ...message }: OrderEvent,
  { webhook, target, signal }: Target & { signal: AbortSignal },
): Promise<Answer> {
  const body = JSON.stringify(message);
  const sentAt = new Date();
  const startedMs = performance.now();
  const durationMs = (): number => Math.round(performance.now() - startedMs);
  try {
    const response = await fetch(target, {
      method: "POST",
      body,
      headers: {
        "content-type": "application/json",
        "webhook-id": id,
        "webhook-timestamp": String(Math.floor(sentAt.getTime() / 1_000)),
        "webhook-signature": webhook.sign(id, sentAt, body),
      },
      // A redirect is a failure for an endpoint too.
      redirect: "manual",
      signal: AbortSignal.any([signal, AbortSignal.timeout(answerMsMax)]),
    });
    await response.body?.cancel();
    return { httpStatus: response.status, durationMs: durationMs() };
  } catch (error) {
    return { error: reasonOf(error), durationMs: durationMs() };
  }
}

function printAnswer(output: Output, { id, type, data }: OrderEvent, answer: Answer): void {
  const { httpStatus, error, durationMs } = answer;
  const { orderId, version } = data.order;
  const isSuccess = httpStatus !== undefined && httpStatus >= 200 && httpStatus < 300;
  const said = output.paint(
    isSuccess ? "green" : "red",
    httpStatus === undefined ? plain(error ?? "") : String(httpStatus),
  );
  const time = output.paint("dim", new Date().toTimeString().slice(0, 8));
  output.line(
    `${time}  ${type}  ${plain(orderId)} v${version}  →  ${said}  ${output.paint("dim", `${durationMs} ms`)}`,
  );
  output.json({ event: isSuccess ? "delivered" : "failed", id, type, orderId, version, ...answer });
}
