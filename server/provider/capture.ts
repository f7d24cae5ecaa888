/**
 * Records the providers' traffic as fixtures, so that the messages of a first live payment can become tests: the webhooks that came with
 * proof or to a payment's own URL, and the answers to the node's calls with what was asked.
 *
 * Guarantees: it never delays or fails a call or a webhook. Each file has one message of a shape that no other file has; there are at
 * most 500 files of at most 64 KiB. A value is written only if it is known to name nobody (`redact`); a file that contains a credential all the
 * same is not written. Not guaranteed: that each message is recorded. Files are written in the background, and a message that comes
 * while 100 wait is left out.
 */
import { createHash } from "node:crypto";
import { mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { HubError } from "../errors.ts";
import { parseJson } from "../json.ts";
import { redactUrl } from "../log.ts";
import { redact, shapeOf } from "./capture-redact.ts";
import type { Answer, Call, Client } from "./http-client.ts";
import type { Authenticity, Claim, Provider, Webhook } from "./provider.ts";

export interface Capture {
  /** A client whose answers are recorded. */
  ofClient(provider: string, client: Client): Client;
  /** A provider whose webhooks are recorded when they are read. */
  ofProvider(provider: Provider): Provider;
  /** Resolves when everything that was taken is written. */
  close(): Promise<void>;
}

export interface CaptureOptions {
  /** Created if it is missing. */
  dir: string;
  /** What no file may contain, beside the credentials of the message itself. */
  secrets: readonly string[];
  log: Record<"info" | "warn", (details: object, message: string) => void>;
}

const filesMax = 500;
const bytesMax = 65_536;
const waitingMax = 100;

/** A message before it is redacted. */
interface Message {
  provider: string;
  /** `webhook`, or the last word of the call's path. */
  kind: string;
  content: () => Record<string, unknown>;
  credentials: readonly string[];
}

export function createCapture({ dir, secrets, log }: CaptureOptions): Capture {
  const names = new Set<string>();
  let waiting = 0;
  let last: Promise<void> = open(dir, names, log);

  const write = async ({ provider, kind, content, credentials }: Message): Promise<void> => {
    const found = content();
    const name = `${provider}-${kind}-${hashOf(shapeOf(found))}.json`;
    if (names.has(name) || names.size >= filesMax) return;
    const source = `captured on ${new Date().toISOString().slice(0, 10)}`;
    const text = `${JSON.stringify({ source, certainty: "observed", ...found }, undefined, 2)}\n`;
    const isUnsafe = [...secrets, ...credentials].some((secret) => secret.length >= 6 && text.includes(secret));
    if (isUnsafe || text.length > bytesMax) return;
    names.add(name);
    await writeFile(join(dir, name), text, { mode: 0o600 });
  };

  const take = (message: Message): void => {
    if (waiting >= waitingMax || names.size >= filesMax) return;
    waiting += 1;
    last = last
      .then(() => write(message))
      .catch((err: unknown) => log.warn({ event: "capture.failed", err }, "a message could not be captured"))
      .finally(() => {
        waiting -= 1;
      });
  };

  return {
    ofClient: (provider, client) => ({ ...client, call: (call) => recordCall(provider, client, call, take) }),
    ofProvider: (provider) => ({
      ...provider,
      translate: (webhook, authenticity) => recordWebhook(provider, webhook, authenticity, take),
    }),
    close: () => last,
  };
}

async function open(dir: string, names: Set<string>, log: CaptureOptions["log"]): Promise<void> {
  try {
    await mkdir(dir, { recursive: true, mode: 0o700 });
    for (const name of await readdir(dir)) names.add(name);
    log.info({ event: "capture.started", dir }, "the providers' messages are recorded");
  } catch (err) {
    log.warn({ event: "capture.directory.failed", err }, "the directory for captured messages cannot be used");
  }
}

type Take = (message: Message) => void;

async function recordCall(provider: string, client: Client, call: Call, take: Take): Promise<Answer> {
  const answer = await client.call(call);
  take({
    provider,
    kind: kindOf(call.url),
    credentials: Object.values(call.headers).flatMap(credentialsOf),
    content: () => ({
      request: {
        method: call.method,
        path: redactUrl(pathOf(call.url)),
        ...((call.body ?? call.form) && { body: redact(call.body ?? call.form) }),
      },
      status: answer.status,
      ...(answer.body === undefined ? { text: "" } : { body: redact(answer.body) }),
    }),
  });
  return answer;
}

function recordWebhook(
  provider: Provider,
  webhook: Webhook,
  authenticity: Authenticity | undefined,
  take: Take,
): Claim {
  const record = (result: string): void => {
    const { headers, body } = webhook;
    const credentials = Object.entries(headers).flatMap(([name, value]) =>
      /key|auth|secret|signature|token|pass/i.test(name) ? credentialsOf(String(value)) : [],
    );
    // The names show which header has the proof.
    const content = () => ({ headers: Object.keys(headers).toSorted(), result, ...bodyOf(body) });
    take({ provider: provider.name, kind: "webhook", credentials, content });
  };
  try {
    const claim = provider.translate(webhook, authenticity);
    const isProven = claim.proof !== "none" || provider.signsWebhooks === true;
    if (isProven || webhook.paymentId !== undefined) record(claim.outcome?.status ?? "nothing");
    return claim;
  } catch (error) {
    if (webhook.paymentId !== undefined && error instanceof HubError) record(error.code);
    throw error;
  }
}

function bodyOf(bytes: Buffer): { body: unknown } | { text: unknown } {
  const text = bytes.toString();
  try {
    return { body: redact(parseJson(text)) };
  } catch {
    return { text: redact(text) };
  }
}

/** A header's value, and the two parts of Basic credentials. */
function credentialsOf(value: string): string[] {
  const [scheme = "", encoded = ""] = value.split(" ", 2);
  const basic = /^basic$/i.test(scheme) ? Buffer.from(encoded, "base64").toString().split(":") : [];
  return [value, ...(encoded === "" ? [] : [encoded]), ...basic];
}

function pathOf(url: string): string {
  const { pathname, search } = new URL(url);
  return pathname + search;
}

const kindOf = (url: string): string =>
  new URL(url).pathname.split("/").findLast((word) => /^[a-z][a-z_-]{2,30}$/i.test(word) && !/^v\d/.test(word)) ??
  "call";

const hashOf = (text: string): string => createHash("sha256").update(text).digest("hex").slice(0, 12);
