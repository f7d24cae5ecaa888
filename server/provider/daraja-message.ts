/**
 * What Safaricom's messages mean: the webhook, and the replies to push and query. Pure, and goes by codes; texts only
 * where one code has several meanings.
 */
import { z } from "zod";
import { HubError } from "../errors.ts";
import type { Outcome, Reason } from "../order/order.ts";
import type { Answer } from "./client.ts";
import { parseMinor } from "./money.ts";
import { decide, identifier, mpesaFailures, resultCode, stillOpen } from "./mpesa.ts";
import { type Claim, Declined, type Initiated, type Webhook } from "./provider.ts";

/**
 * Errors that refuse a push before any prompt (Safaricom portal, M-Pesa Express, "Error Codes"). Left out on purpose,
 * as a prompt may be out all the same: 500.003.02 (system busy) and 500.003.1001 (internal error).
 */
const refusals: ReadonlySet<string> = new Set([
  "400.002.02",
  "404.001.01",
  "404.001.03",
  "405.001",
  "401.003.01",
  "400.003.01",
  "500.001.1001",
  "500.003.03",
]);

/** The token is unknown or run out. Safaricom portal: 404.001.03, with HTTP 404; the others are reported by integrators. */
const tokenRefusals: ReadonlySet<string> = new Set(["404.001.03", "401.003.01", "400.003.01"]);

const envelope = z.object({ errorCode: z.string(), errorMessage: z.string().catch("") });
type Envelope = z.infer<typeof envelope>;

const acceptance = z.object({ ResponseCode: resultCode.pipe(z.literal("0")), CheckoutRequestID: identifier });

const queryReply = z.object({
  ResponseCode: resultCode.pipe(z.literal("0")).optional(),
  CheckoutRequestID: z.string().optional(),
  ResultCode: resultCode,
});

/** Items vary in number and order, and Balance comes without a value: one odd item must not hide the others. */
const item = z.object({ Name: z.string(), Value: z.unknown().optional() }).catch({ Name: "", Value: undefined });

const webhookBody = z.object({
  Body: z.object({
    stkCallback: z.object({
      CheckoutRequestID: identifier,
      ResultCode: resultCode,
      CallbackMetadata: z
        .object({ Item: z.array(item) })
        .optional()
        .catch(undefined),
    }),
  }),
});
type StkCallback = z.infer<typeof webhookBody>["Body"]["stkCallback"];

/** Whether the answer says that the access token is not valid (any more): whatever was asked has surely not happened. */
export function isTokenRefused({ body }: Answer): boolean {
  const refusal = envelope.safeParse(body).data;
  return refusal !== undefined && tokenRefusals.has(refusal.errorCode);
}

/** Accepted, surely refused (`Declined`), or unknown: any other error. Goes by the codes, not by the HTTP status. */
export function readAcceptance({ status, body }: Answer): Initiated {
  const accepted = acceptance.safeParse(body).data;
  if (accepted) return { reference: accepted.CheckoutRequestID };
  const refusal = envelope.safeParse(body).data;
  if (refusal && isRefusal(refusal)) {
    throw new Declined(reasonOf(refusal), `Safaricom refused the push: ${refusal.errorCode} (HTTP ${status})`);
  }
  throw new Error(`Safaricom's answer to the push tells nothing (HTTP ${status})`);
}

/** "No apiproduct match" comes under codes that are not documented: the app has no right to M-Pesa Express. */
const isRefusal = ({ errorCode, errorMessage }: Envelope): boolean =>
  refusals.has(errorCode) || /no apiproduct match/i.test(errorMessage);

/** 500.001.1001 has several meanings, told apart by text only: here, whether another prompt is open on the phone. */
const reasonOf = ({ errorMessage }: Envelope): Reason =>
  /unable to lock subscriber/i.test(errorMessage) ? "busy" : "provider_error";

/**
 * The URL's secret is the only proof there is. Throws `HubError`: `webhook_rejected` without it, `webhook_unreadable`
 * for anything but an stkCallback.
 */
export function translate({ paymentId, body }: Webhook): Claim {
  if (paymentId === undefined) throw new HubError("webhook_rejected");
  const { CheckoutRequestID: reference, ...callback } = readCallback(body);
  const outcome = outcomeOf(callback);
  return { paymentId, reference, proof: "secret", ...(outcome && { outcome: { ...outcome, reference } }) };
}

function readCallback(body: Buffer): StkCallback {
  try {
    return webhookBody.parse(JSON.parse(body.toString())).Body.stkCallback;
  } catch (cause) {
    throw new HubError("webhook_unreadable", undefined, { cause });
  }
}

function outcomeOf({ ResultCode, CallbackMetadata }: Omit<StkCallback, "CheckoutRequestID">): Outcome | undefined {
  const decided = decide(ResultCode);
  if (decided === "succeeded") return { status: decided, ...paid(CallbackMetadata?.Item ?? []), source: "webhook" };
  return decided && { ...decided, source: "webhook" };
}

/** What a success states. An amount that cannot be read is left out: the success is then bare, not wrong. */
function paid(items: readonly z.infer<typeof item>[]): Pick<Outcome, "receipt" | "amountMinor" | "currency"> {
  const stated = (name: string): unknown =>
    items.find(({ Name, Value }) => Name === name && Value !== undefined)?.Value;
  const receipt = identifier.safeParse(stated("MpesaReceiptNumber")).data;
  const amountMinor = parseMinor(stated("Amount"), 2);
  return {
    ...(receipt !== undefined && { receipt }),
    ...(amountMinor !== undefined && { amountMinor, currency: "KES" }),
  };
}

/** An error envelope is never a final answer: the gateway gives them even for payments it reported as decided. */
export function readQuery({ status, body }: Answer, reference: string): Outcome | undefined {
  const error = envelope.safeParse(body).data;
  if (error) return isPending(error) ? { status: "processing", source: "query" } : undefined;
  if (body === undefined || status >= 500)
    throw new HubError("provider_unavailable", `the query failed (HTTP ${status})`);
  const reply = queryReply.safeParse(body).data;
  if (status !== 200 || !reply || (reply.CheckoutRequestID ?? reference) !== reference) return undefined;
  if (reply.ResultCode === "0") return { status: "succeeded", source: "query" };
  if (reply.ResultCode === stillOpen) return { status: "processing", source: "query" };
  const result = mpesaFailures.get(reply.ResultCode);
  return result && { ...result, source: "query" };
}

const isPending = ({ errorCode, errorMessage }: Envelope): boolean =>
  errorCode === "500.001.1001" && /being processed/i.test(errorMessage);
