/**
 * What MTN's messages mean: the replies to request and query, and the webhook, which looks like the query's reply.
 * Pure. Whether money moved is said by `status` alone; `reason` only says why it did not.
 */
import { z } from "zod";
import { HubError } from "../../errors.ts";
import { parseJson } from "../../json.ts";
import type { Outcome, Reason } from "../../order/order.ts";
import type { Answer } from "../http-client.ts";
import { readMoney } from "../money.ts";
import { type Claim, Declined, type Initiated, type Webhook } from "../provider.ts";
import { isRefused, requireAnswer } from "../refusal.ts";

/**
 * What a payment is called at MTN, which wants a UUID of version 4: the payment's own id, its version's digit exchanged.
 * That stays unique, for all ids of ours are of version 7, and either can be read off the other.
 */
export const referenceOf = (paymentId: string): string => `${paymentId.slice(0, 14)}4${paymentId.slice(15)}`;

type Ending = Pick<Outcome, "status"> & { reason: Reason };

const failed = (reason: Reason): Ending => ({ status: "failed", reason });
const noResponse: Ending = { status: "expired", reason: "no_response" };

/**
 * Why a request failed, by the words in its reason, the first that fits. MTN's "Common Error" page has
 * `APPROVAL_REJECTED`, `PAYMENT_NOT_APPROVED`, `TRANSACTION_CANCELED`, `EXPIRED`, `COULD_NOT_PERFORM_TRANSACTION` (nobody
 * answered in about 5 min), `NOT_ENOUGH_FUNDS`, `PAYER_LIMIT_REACHED`, `PAYER_NOT_FOUND` and others; recorded in production
 * are `LOW_BALANCE_OR_PAYEE_LIMIT_REACHED_OR_NOT_ALLOWED`, said of an empty wallet in several countries,
 * `SENDER_ACCOUNT_NOT_ACTIVE` and `PAYEE_LIMIT_REACHED`. Any other, such as `INTERNAL_PROCESSING_ERROR`, is `provider_error`.
 */
const endings: readonly (readonly [words: RegExp, ending: Ending])[] = [
  [/LOW_BALANCE|NOT_ENOUGH|INSUFFICIENT/, failed("insufficient_funds")],
  [/REJECTED|NOT_APPROVED|CANCELL?ED/, failed("cancelled")],
  [/EXPIRED|TIMED?_?OUT|COULD_NOT_PERFORM_TRANSACTION/, noResponse],
  [/LIMIT/, failed("limit")],
  // Of a party to the payment: others, such as NOT_ALLOWED_TARGET_ENVIRONMENT, are of an account that was set up wrongly.
  [
    /(PAYER|PAYEE|SENDER|RECEIVER|SUBSCRIBER|ACCOUNT|WALLET).*(NOT_|BLOCKED|BARRED|SUSPENDED)|^NOT_ALLOWED$/,
    failed("declined"),
  ],
];

const endingOf = (reason: string): Ending | undefined => endings.find(([words]) => words.test(reason))?.[1];

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

/** Upper-case words, once as text and once within an object; which one when is not known. */
const code = z
  .union([z.string(), z.object({ code: z.string() }).transform((reason) => reason.code)])
  .transform((reason) => reason.trim().toUpperCase())
  .optional()
  .catch(undefined);

const text = z.union([z.string(), z.number().transform(String)]);

/** Visible ASCII: anything else could not be MTN's, nor be stored safely. Digits, which are a number in one sample. */
const receipt = text.pipe(z.string().regex(/^[\x21-\x7e]{1,128}$/));

const result = z.object({
  status: z.enum(["CREATED", "PENDING", "SUCCESSFUL", "FAILED"]),
  amount: z.unknown().optional(),
  currency: z.unknown().optional(),
  externalId: text.optional().catch(undefined),
  financialTransactionId: receipt.optional().catch(undefined),
  reason: code,
});
type Result = z.infer<typeof result>;

/** Whether the access token is not good (any more): whatever was asked has surely not happened. */
export const isTokenRefused = ({ status }: Answer): boolean => status === 401;

/** Accepted, surely refused (`Declined`), or unknown: any other error. */
export function readAcceptance(answer: Answer, reference: string): Initiated {
  const { status, body } = answer;
  // 409: the reference is taken, and nobody but us could have taken it. So the payer is being asked.
  if (status === 202 || status === 409) return { reference };
  const said = code.parse(body) ?? "";
  // A refusal by status often has an empty body (observed).
  if (isRefused(answer, true) || refusals.has(said)) {
    const ending = endingOf(said);
    const reason = ending?.status === "failed" ? ending.reason : "provider_error";
    throw new Declined(reason, `MTN refused the request: ${said || "no code"} (HTTP ${status})`);
  }
  throw new Error(`MTN's answer to the request tells nothing (HTTP ${status})`);
}

/**
 * 404 means "not yet" right after the request, so it never says that there is no such payment. Throws `Throttled`, or
 * `HubError` `provider_unavailable` when MTN did not answer the question.
 */
export function readStatus(answer: Answer, reference: string): Outcome | undefined {
  if (answer.status === 404) return undefined;
  const said = result.safeParse(requireAnswer("MTN", answer)).data;
  if (answer.status !== 200 || !said) return undefined;
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
    return result.parse(parseJson(body.toString()));
  } catch (cause) {
    throw new HubError("webhook_unreadable", undefined, { cause });
  }
}

type End = Omit<Outcome, "source" | "reference">;

/** How the request ended; undefined while it is open. */
function endOf(said: Result): End | undefined {
  if (said.status === "SUCCESSFUL") return { status: "succeeded", ...paid(said) };
  if (said.status === "FAILED") return endingOf(said.reason ?? "") ?? failed("provider_error");
  return undefined;
}

/** What a success states. There is a currency for each market, so none is assumed. */
const paid = ({ amount, currency, financialTransactionId }: Result): Omit<End, "status"> => ({
  ...(financialTransactionId !== undefined && { receipt: financialTransactionId }),
  ...readMoney(amount, currency),
});
