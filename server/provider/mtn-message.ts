/**
 * What MTN's messages mean: the replies to request and query, and the webhook, which looks like the query's reply.
 * Pure. Whether money moved is said by `status` alone; `reason` only says why it did not.
 */
import { z } from "zod";
import { HubError } from "../errors.ts";
import type { Outcome, Reason } from "../order/order.ts";
import type { Answer } from "./client.ts";
import { minorDigits, parseMinor } from "./money.ts";
import { type Claim, Declined, type Initiated, type Webhook } from "./provider.ts";

/**
 * What a payment is called at MTN, which wants a UUID of version 4: the payment's own id, its version's digit exchanged.
 * That stays unique, for all ids of ours are of version 7, and either can be read off the other.
 */
export const referenceOf = (paymentId: string): string => `${paymentId.slice(0, 14)}4${paymentId.slice(15)}`;

type Ending = Pick<Outcome, "status"> & { reason: Reason };

const failed = (reason: Reason): Ending => ({ status: "failed", reason });
const noResponse: Ending = { status: "expired", reason: "no_response" };

/**
 * Why a request failed (MTN's "Common Error" page). Any other reason, such as INTERNAL_PROCESSING_ERROR or one that only
 * an account set up wrongly has, is `provider_error`.
 */
const endings: ReadonlyMap<string, Ending> = new Map([
  ["APPROVAL_REJECTED", failed("cancelled")],
  ["PAYMENT_NOT_APPROVED", failed("cancelled")],
  ["TRANSACTION_CANCELED", failed("cancelled")],
  ["EXPIRED", noResponse],
  ["COULD_NOT_PERFORM_TRANSACTION", noResponse],
  ["NOT_ENOUGH_FUNDS", failed("insufficient_funds")],
  ["PAYER_LIMIT_REACHED", failed("limit")],
  ["PAYER_NOT_FOUND", failed("declined")],
  ["PAYEE_NOT_FOUND", failed("declined")],
  ["PAYEE_NOT_ALLOWED_TO_RECEIVE", failed("declined")],
  ["NOT_ALLOWED", failed("declined")],
]);

/** Codes that refuse the request itself, whatever the HTTP status: MTN documents them under 500. */
const refusals: ReadonlySet<string> = new Set([
  "NOT_ALLOWED",
  "NOT_ALLOWED_TARGET_ENVIRONMENT",
  "INVALID_CALLBACK_URL_HOST",
  "INVALID_CURRENCY",
  "PAYEE_NOT_ALLOWED_TO_RECEIVE",
  "PAYEE_NOT_FOUND",
  "PAYER_NOT_FOUND",
]);

/** Refused by status, often with an empty body (observed). Left out on purpose, as MTN may ask the payer: 408, 429 and 5xx. */
const refusedBy: ReadonlySet<number> = new Set([400, 401, 403, 404, 405, 411, 413, 415]);

/** Upper-case words, once as text and once within an object; which one when is not known. */
const code = z
  .union([z.string(), z.object({ code: z.string() }).transform((reason) => reason.code)])
  .optional()
  .catch(undefined);

const text = z.union([z.string(), z.number().transform(String)]);

/** Visible ASCII: anything else could not be MTN's, nor be stored safely. Digits, which are a number in one sample. */
const receipt = text.pipe(z.string().regex(/^[\x21-\x7e]{1,128}$/));

const result = z.object({
  status: z.enum(["CREATED", "PENDING", "SUCCESSFUL", "FAILED"]),
  amount: z.unknown().optional(),
  currency: z
    .string()
    .regex(/^[A-Z]{3}$/)
    .optional()
    .catch(undefined),
  externalId: text.optional().catch(undefined),
  financialTransactionId: receipt.optional().catch(undefined),
  reason: code,
});
type Result = z.infer<typeof result>;

/** Whether the access token is not good (any more): whatever was asked has surely not happened. */
export const isTokenRefused = ({ status }: Answer): boolean => status === 401;

/** Accepted, surely refused (`Declined`), or unknown: any other error. */
export function readAcceptance({ status, body }: Answer, reference: string): Initiated {
  // 409: the reference is taken, and nobody but us could have taken it. So the payer is being asked.
  if (status === 202 || status === 409) return { reference };
  const said = code.parse(body) ?? "";
  if (refusedBy.has(status) || refusals.has(said)) {
    const ending = endings.get(said);
    const reason = ending?.status === "failed" ? ending.reason : "provider_error";
    throw new Declined(reason, `MTN refused the request: ${said || "no code"} (HTTP ${status})`);
  }
  throw new Error(`MTN's answer to the request tells nothing (HTTP ${status})`);
}

/** 404 means "not yet" right after the request, so it never says that there is no such payment. */
export function readStatus({ status, body }: Answer, reference: string): Outcome | undefined {
  if (status === 404) return undefined;
  if (body === undefined || status >= 500) {
    throw new HubError("provider_unavailable", `the query failed (HTTP ${status})`);
  }
  const said = result.safeParse(body).data;
  if (status !== 200 || !said) return undefined;
  // The reference is not stored yet when the reply to the request was lost.
  return { ...(endOf(said) ?? { status: "processing" }), reference, source: "query" };
}

/**
 * The URL's secret is the only proof there is; a webhook about another payment, sent there, only makes us ask. Throws
 * `HubError`: `webhook_rejected` without the secret, `webhook_unreadable` for anything but the result of a request.
 */
export function translate({ paymentId, body }: Webhook): Claim {
  if (paymentId === undefined) throw new HubError("webhook_rejected");
  const said = readResult(body);
  if ((said.externalId ?? paymentId) !== paymentId) return { paymentId, proof: "none" };
  const reference = referenceOf(paymentId);
  const end = endOf(said);
  return { paymentId, reference, proof: "secret", ...(end && { outcome: { ...end, reference, source: "webhook" } }) };
}

function readResult(body: Buffer): Result {
  try {
    return result.parse(JSON.parse(body.toString()));
  } catch (cause) {
    throw new HubError("webhook_unreadable", undefined, { cause });
  }
}

type End = Omit<Outcome, "source" | "reference">;

/** How the request ended; undefined while it is open. */
function endOf(said: Result): End | undefined {
  if (said.status === "SUCCESSFUL") return { status: "succeeded", ...paid(said) };
  if (said.status === "FAILED") return endings.get(said.reason ?? "") ?? failed("provider_error");
  return undefined;
}

/**
 * What a success states. An amount that cannot be read is left out: the success is then bare, not wrong. The currency
 * alone is enough to tell that it is another one than agreed.
 */
function paid({ amount, currency, financialTransactionId }: Result): Pick<End, "receipt" | "amountMinor" | "currency"> {
  const amountMinor = currency === undefined ? undefined : parseMinor(amount, minorDigits(currency));
  return {
    ...(financialTransactionId !== undefined && { receipt: financialTransactionId }),
    ...(amountMinor !== undefined && { amountMinor }),
    ...(currency !== undefined && { currency }),
  };
}
