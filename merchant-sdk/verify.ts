/** Verifies the messages that Tukio posts to a backend (Standard Webhooks 1.0). */
import { Webhook, WebhookVerificationError } from "standardwebhooks";
import type { OrderEvent, TukioEvent } from "./model.ts";

/** Headers in any form: of `fetch`, of Node and its frameworks, or pairs. */
export type EventHeaders =
  | Headers
  | Readonly<Record<string, string | readonly string[] | undefined>>
  | readonly (readonly [string, string])[];

/** The message is not from Tukio, or it is too old: answer 401 and do nothing. */
export class VerificationError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "VerificationError";
  }
}

/**
 * Returns the event of a message that one of the secrets has signed in the last five minutes. Throws a `VerificationError` for any other
 * message, and a `TypeError` for a secret that is none.
 *
 * @param body The bytes or the text of the body as it arrived. Parsed JSON has lost what was signed.
 * @param secret The endpoint's secret, `whsec_…`. Several while one replaces another.
 */
export function verifyEvent(
  body: string | Uint8Array,
  headers: EventHeaders,
  secret: string | readonly string[],
): TukioEvent {
  const text = readBody(body);
  const signed = readHeaders(headers);
  const webhooks = (Array.isArray(secret) ? secret : [secret]).map(readSecret);
  if (webhooks.length === 0) throw new TypeError("There is no secret to verify the event with");
  let failure: unknown;
  for (const webhook of webhooks) {
    try {
      webhook.verify(text, signed, { jsonParse: false });
      return readEvent(text, signed["webhook-id"] ?? "");
    } catch (error) {
      if (!(error instanceof WebhookVerificationError)) throw error;
      failure = error;
    }
  }
  throw new VerificationError(failure instanceof Error ? failure.message : "The event is not signed", {
    cause: failure,
  });
}

/** Whether an event is about an order, so that `data` has the order. Types that are added later are read too. */
export const isOrderEvent = (event: TukioEvent): event is OrderEvent => event.type.startsWith("order.");

function readBody(body: unknown): string {
  if (typeof body === "string") return body;
  if (body instanceof Uint8Array) return new TextDecoder().decode(body);
  throw new TypeError(
    'The body must be the text or the bytes that arrived, not parsed JSON. In Express: express.raw({ type: "application/json" })',
  );
}

/** Never names the secret. */
function readSecret(secret: unknown): Webhook {
  try {
    if (typeof secret === "string") return new Webhook(secret);
  } catch {
    // The same error as for a value that is no string.
  }
  throw new TypeError("The secret must be the endpoint's secret: whsec_ and base64");
}

const signedNames = ["webhook-id", "webhook-timestamp", "webhook-signature"];

function readHeaders(headers: EventHeaders): Record<string, string> {
  const entries: Iterable<readonly [string, unknown]> =
    Symbol.iterator in headers ? (headers as Iterable<readonly [string, unknown]>) : Object.entries(headers);
  const found: Record<string, string> = {};
  for (const [name, value] of entries) {
    const key = name.toLowerCase();
    if (signedNames.includes(key)) found[key] = Array.isArray(value) ? value.join(" ") : String(value ?? "");
  }
  return found;
}

function readEvent(text: string, id: string): TukioEvent {
  let event: Partial<TukioEvent> | null = null;
  try {
    event = JSON.parse(text) as Partial<TukioEvent> | null;
  } catch (cause) {
    throw new VerificationError("The message is signed, but it is not JSON", { cause });
  }
  const isEvent = typeof event?.type === "string" && typeof event.data === "object" && event.data !== null;
  if (!isEvent) throw new VerificationError("The message is signed, but it is not an event of Tukio");
  return { id, ...event } as TukioEvent;
}
