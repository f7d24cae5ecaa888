/**
 * Reads MTN's messages: the replies to a request and to a query, and the webhook, which has the shape of a query's reply. Pure.
 * `status` alone decides whether the payment was paid; `reason` explains a failure.
 */
import { z } from "zod";
import { HubError } from "../../errors.ts";
import { parseJson } from "../../json.ts";
import type { Outcome, Reason } from "../../order/order.ts";
import type { Answer } from "../http-client.ts";
import { readMoney } from "../money.ts";
import { type Claim, Declined, type Initiated, type Webhook } from "../provider.ts";
import { providerText } from "../provider-text.ts";
import { isRefused, requireAnswer } from "../refusal.ts";

/**
 * Returns the reference of a payment at MTN: the payment's id with the version digit 4, because MTN requires a UUID of version 4.
 * The reference is unique, because every id of a payment has version 7.
 */
export const referenceOf = (paymentId: string): string => `${paymentId.slice(0, 14)}4${paymentId.slice(15)}`;

type Ending = Pick<Outcome, "status"> & { reason: Reason };

const failed = (reason: Reason): Ending => ({ status: "failed", reason });
const noResponse: Ending = { status: "expired", reason: "no_response" };

/**
 * The outcome of a failed request, by its reason; the first match counts. MTN's page "Common Error" lists `APPROVAL_REJECTED`,
 * `PAYMENT_NOT_APPROVED`, `TRANSACTION_CANCELED`, `EXPIRED`, `COULD_NOT_PERFORM_TRANSACTION` (the payer did not answer for about 5 min),
 * `NOT_ENOUGH_FUNDS`, `PAYER_LIMIT_REACHED`, `PAYER_NOT_FOUND` and others. Production traffic has
 * `LOW_BALANCE_OR_PAYEE_LIMIT_REACHED_OR_NOT_ALLOWED` (an empty wallet, in several countries), `SENDER_ACCOUNT_NOT_ACTIVE`
 * and `PAYEE_LIMIT_REACHED`. Any other reason, such as `INTERNAL_PROCESSING_ERROR`, means `provider_error`.
 */
const endings: readonly (readonly [words: RegExp, ending: Ending])[] = [
  [/LOW_BALANCE|NOT_ENOUGH|INSUFFICIENT/, failed("insufficient_funds")],
  [/REJECTED|NOT_APPROVED|CANCELL?ED/, failed("cancelled")],
  [/EXPIRED|TIMED?_?OUT|COULD_NOT_PERFORM_TRANSACTION/, noResponse],
  [/LIMIT/, failed("limit")],
  // Reasons that concern the payer or the payee. NOT_ALLOWED_TARGET_ENVIRONMENT and the like mean a wrong configuration.
  [
    /(PAYER|PAYEE|SENDER|RECEIVER|SUBSCRIBER|ACCOUNT|WALLET).*(NOT_|BLOCKED|BARRED|SUSPENDED)|^NOT_ALLOWED$/,
    failed("declined"),
  ],
];

const endingOf = (reason: string): Ending | undefined => endings.find(([words]) => words.test(reason))?.[1];

/** Codes that refuse the request, whatever the HTTP status is (MTN's page "Common Error" gives them with 500). */
const refusals: ReadonlySet<string> = new Set([
  "NOT_ALLOWED",
  "NOT_ALLOWED_TARGET_ENVIRONMENT",
  "INVALID_CALLBACK_URL_HOST",
  "INVALID_CURRENCY",
  "PAYEE_NOT_ALLOWED_TO_RECEIVE",
  "PAYEE_NOT_FOUND",
  "PAYER_NOT_FOUND",
]);

/** A code, as a string or in an object. MTN's documentation has both forms. */
const code = z
  .union([z.string(), z.object({ code: z.string() }).transform((reason) => reason.code)])
  .transform((reason) => reason.trim().toUpperCase())
  .optional()
  .catch(undefined);

const text = z.union([z.string(), z.number().transform(String)]);

/** MTN's receipt has digits; one of its samples has a number. Accepts any visible ASCII, because other text is not safe to store. */
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

/** Whether MTN refused the access token, so that the request had no effect. */
export const isTokenRefused = ({ status }: Answer): boolean => status === 401;

/** Returns the reference of an accepted request. Throws `Declined` for a certain refusal; any other error means that the effect is unknown. */
export function readAcceptance(answer: Answer, reference: string): Initiated {
  const { status, body } = answer;
  // 409 means that the reference exists. Only our own request can have created it, so the payer has a prompt.
  if (status === 202 || status === 409) return { reference };
  const given = code.parse(body) ?? "";
  // A refusal by status often has an empty body (observed).
  if (isRefused(answer, true) || refusals.has(given)) {
    const ending = endingOf(given);
    const reason = ending?.status === "failed" ? ending.reason : "provider_error";
    throw new Declined(
      reason,
      `MTN refused the request: ${given || "no code"} (HTTP ${status}) ${providerText(body, answer.sent)}`.trim(),
    );
  }
  throw new Error(`MTN neither accepted nor refused the request (HTTP ${status})`);
}

/**
 * Reads the answer to a query; undefined without evidence. 404 is not evidence, because MTN also answers it right after the
 * request. Throws `Throttled`, or `HubError` `provider_unavailable` if MTN did not answer the query.
 */
export function readStatus(answer: Answer, reference: string): Outcome | undefined {
  if (answer.status === 404) return undefined;
  const stated = result.safeParse(requireAnswer("MTN", answer)).data;
  if (answer.status !== 200 || !stated) return undefined;
  // Adds the reference, because it is not stored if the reply to the request was lost.
  return { ...(endOf(stated) ?? { status: "processing" }), reference, source: "query" };
}

/**
 * The secret in the URL is the only proof. A webhook about another payment proves nothing and only causes a query. Throws
 * `HubError` `webhook_rejected` without the secret, and `webhook_unreadable` for a body that is not a result.
 */
export function translate({ paymentId, body }: Webhook): Claim {
  if (paymentId === undefined) throw new HubError("webhook_rejected");
  const stated = readResult(body);
  if ((stated.externalId ?? paymentId) !== paymentId) return { paymentId, proof: "none" };
  const reference = referenceOf(paymentId);
  const end = endOf(stated);
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

/** The end of the request; undefined while it is open. */
function endOf(stated: Result): End | undefined {
  if (stated.status === "SUCCESSFUL") return { status: "succeeded", ...paid(stated) };
  if (stated.status === "FAILED") return endingOf(stated.reason ?? "") ?? failed("provider_error");
  return undefined;
}

/** The receipt and the money of a success. Assumes no currency, because each country has its own. */
const paid = ({ amount, currency, financialTransactionId }: Result): Omit<End, "status"> => ({
  ...(financialTransactionId !== undefined && { receipt: financialTransactionId }),
  ...readMoney(amount, currency),
});
