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
import { UsageError } from "./arguments.ts";
import type { Command, Context } from "./command.ts";
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
post is not repeated. The connection to the server is opened again when it breaks, and no event is
lost in between. Ctrl-C ends the command.

Types of events: ${eventTypes.join(", ")}.
An endpoint receives all but the first two, and so does --forward-to.

Examples:
  tukio listen --forward-to localhost:4000/hooks/tukio
  WEBHOOK_SECRET=$(tukio listen --print-secret) node server.js`,

  async run(context: Context): Promise<number> {
    const { args, output, apiKey } = context;
    const secret = args.value("secret") ?? secretOf(apiKey);
    const webhook = readSecret(secret);
    if (args.has("print-secret")) {
      output.line(secret);
      output.json({ secret });
      return 0;
    }
    await forward(context, { secret, webhook, target: readTarget(args.value("forward-to")) });
    return 0;
  },
};

/**
 * The secret that belongs to an API key, so that it stays the same from run to run, and nothing has to be stored. It does not reveal
 * the key.
 */
const secretOf = (apiKey: string): string =>
  `whsec_${createHmac("sha256", apiKey).update("tukio listen").digest("base64")}`;

function readSecret(secret: string): Webhook {
  try {
    return new Webhook(secret);
  } catch {
    throw new UsageError("--secret must be whsec_ and base64");
  }
}

function readTarget(text: string | undefined): string {
  if (text === undefined) throw new UsageError("--forward-to is missing, such as --forward-to localhost:4000/hooks");
  const target = /^https?:\/\//i.test(text) ? text : `http://${text}`;
  if (!URL.canParse(target)) throw new UsageError("--forward-to is not a URL, such as localhost:4000/hooks");
  return new URL(target).href;
}

function readTypes(text: string | undefined): readonly string[] {
  if (text === undefined) return usualTypes;
  if (text === "all") return eventTypes;
  const types = text.split(",").map((type) => type.trim());
  const unknown = types.find((type) => !(eventTypes as readonly string[]).includes(type));
  if (unknown !== undefined)
    throw new UsageError(`--events has the unknown type ${unknown}. Types: ${eventTypes.join(", ")}`);
  return types;
}

function readSince(text: string | undefined): { since?: string } {
  if (text === undefined) return {};
  const time = new Date(text);
  if (Number.isNaN(time.getTime())) throw new UsageError("--since is not a time, such as 2026-11-20T21:00:00Z");
  return { since: time.toISOString() };
}

interface Forwarding {
  secret: string;
  webhook: Webhook;
  target: string;
}

async function forward(
  { args, output, tukio, url, signal }: Context,
  { secret, webhook, target }: Forwarding,
): Promise<void> {
  const types = readTypes(args.value("events"));
  const since = readSince(args.value("since"));
  output.line(`Forwarding events of ${url} to ${target}`);
  output.line(`Secret: ${output.paint("bold", secret)}`);
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

function printConnection(output: Output, connection: Connection, hasOpened: boolean): void {
  if (connection.state === "open") {
    output.line(hasOpened ? "Connected again." : "Ready. Ctrl-C ends it.");
    if (hasOpened) output.json({ event: "connected" });
    return;
  }
  const { error, delayMs } = connection;
  if (!output.isJson) output.warn(`${plain(error.detail)}; trying again in ${(delayMs / 1_000).toFixed(1)} s`);
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
  { webhook, target, signal }: Omit<Forwarding, "secret"> & { signal: AbortSignal },
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
