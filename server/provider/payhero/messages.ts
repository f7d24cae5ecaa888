/**
 * Reads PayHero's messages: the webhook in its three shapes, and the replies to a request for money and to a query. Pure.
 * Decides by M-Pesa's result codes, which PayHero passes through, and by texts only where there is no code.
 *
 * Sources: docs.payhero.co.ke (2024), docs.payhero.africa (2026), and integrators' observations. No failed webhook with a
 * code is documented, so an ambiguous webhook proves nothing and only causes a query.
 */
import { z } from "zod";
import { HubError } from "../../errors.ts";
import { parseJson } from "../../json.ts";
import type { Outcome } from "../../order/order.ts";
import type { Answer } from "../http-client.ts";
import { isStated, readMoney } from "../money.ts";
import { identifier, type MpesaFailure, readResultCode, resultCode } from "../mpesa.ts";
import { type Claim, Declined, type Initiated, type Webhook } from "../provider.ts";
import { isRefused, requireAnswer } from "../refusal.ts";

/** Optional, of any type, because the type is not documented. */
const anything = z.unknown().optional();

/** Ten letters and digits or a UUID (both observed), or like `UFD004453187.iI` (docs.payhero.africa, "Callbacks"). */
const reference = z.union([z.string(), z.number()]).transform(String).pipe(identifier);

/**
 * PayHero accepted the request; the payment is not paid yet. The documentation has `success` and the status `QUEUED`
 * (docs.payhero.co.ke, "Initiate MPESA STK Push Request"). A reply that lacks one of them, or has another status, is
 * accepted too, because its reference is needed for queries.
 */
const acceptance = z.union([
  z.object({
    success: z.literal([true, "true"]),
    status: z
      .string()
      .regex(/^(?!failed$)/i)
      .nullish(),
    reference,
  }),
  z.object({ success: z.null().optional(), status: z.string().regex(/^queued$/i), reference }),
]);

/** A boolean, or its text. */
const flag = z.union([z.boolean(), z.stringbool({ truthy: ["true"], falsy: ["false"] })]);

/** The shape is not documented; integrators report these fields for the reason. */
const refusal = z.object({
  success: flag.nullish(),
  error_code: anything,
  error_message: anything,
  message: anything,
  error: anything,
  detail: anything,
  reference: anything,
});
type Refusal = z.infer<typeof refusal>;

/** docs.payhero.co.ke, "Transaction Status". It has no amount, and no reason of a failure. */
const queryReply = z.object({
  success: flag.nullish(),
  status: z.string().transform((word) => word.toUpperCase()),
  reference: reference.nullish().catch(null),
  third_party_reference: anything,
  provider_reference: anything,
});

/** The fields of both platforms' webhooks, without balances, phone and M-Pesa's ids, which are not used. */
const details = z.object({
  ResultCode: resultCode.nullish(),
  ResultDesc: anything,
  Status: anything,
  ExternalReference: anything,
  MpesaReceiptNumber: anything,
  Amount: anything,
  // The newer platform (docs.payhero.africa).
  success: anything,
  status: anything,
  message: anything,
  transaction_type: anything,
  external_reference: anything,
  reference: anything,
  provider_reference: anything,
  amount: anything,
  currency: anything,
});
type Details = z.infer<typeof details>;

/** The fields are in `response` (docs.payhero.co.ke), or at the top (observed, and docs.payhero.africa). */
const webhookBody = details.extend({ response: details.nullish() });

/**
 * Returns for an accepted request, throws `Declined` for a certain refusal. Any other error means unknown. A refusal never
 * blames the payer, because PayHero also answers 400 if the merchant's wallet is empty (integrators).
 */
export function readAcceptance(answer: Answer): Initiated {
  const { status, body } = answer;
  const accepted = isOk(status) ? acceptance.safeParse(body).data : undefined;
  if (accepted) return { reference: accepted.reference };
  const error = refusal.safeParse(body).data;
  if (isDeclined(answer, error)) {
    throw new Declined("provider_error", `PayHero refused the payment (HTTP ${status})${error ? quote(error) : ""}`);
  }
  throw new Error(`PayHero neither accepted nor refused the payment (HTTP ${status})`);
}

const isOk = (status: number): boolean => status >= 200 && status < 300;

/** An error with PayHero's reference is not a certain refusal: the payer may have a prompt. */
function isDeclined(answer: Answer, error: Refusal | undefined): boolean {
  if (error?.reference) return false;
  if (isOk(answer.status)) return error?.success === false;
  return isRefused(answer, error !== undefined && (error.success === false || hasReason(error)));
}

const reasonsOf = ({ error_code, error_message, message, error, detail }: Refusal): string[] =>
  [error_code, error_message, message, error, detail].filter((text) => typeof text === "string").filter(Boolean);

const hasReason = (error: Refusal): boolean => reasonsOf(error).length > 0;

/** Quotes the reason for the operator, for example an empty wallet. Long words and numbers are cut out: secrets, phones. */
function quote(error: Refusal): string {
  const text = reasonsOf(error)
    .join(": ")
    .replace(/\S{20,}|\d{7,}/g, "…");
  return text === "" ? "" : `: ${text.slice(0, 160)}`;
}

/**
 * The secret in the URL is the only proof. A webhook that names another payment or contradicts itself proves nothing. Throws
 * `HubError` `webhook_rejected` without the secret, and `webhook_unreadable` for a body without a result or a status.
 */
export function translate({ paymentId, body }: Webhook): Claim {
  if (paymentId === undefined) throw new HubError("webhook_rejected");
  const parts = readParts(body);
  const result = resultOf(parts);
  if (result === undefined || !namesOnly(paymentId, parts)) return { paymentId, proof: "none" };
  const own = identifier.safeParse(first(parts, "reference")).data;
  const known = own === undefined ? {} : { reference: own };
  const outcome: Outcome =
    result === "succeeded" ? { status: result, ...paid(parts), source: "webhook" } : { ...result, source: "webhook" };
  return { paymentId, ...known, proof: "secret", outcome: { ...outcome, ...known } };
}

/** The objects that may have the webhook's fields, the inner one first. */
function readParts(body: Buffer): Details[] {
  try {
    const { response, ...outer } = webhookBody.parse(parseJson(body.toString()));
    const parts = response ? [response, outer] : [outer];
    if (parts.flatMap(statements).length === 0) throw new Error("no result and no status");
    return parts;
  } catch (cause) {
    throw new HubError("webhook_unreadable", undefined, { cause });
  }
}

type Statement = "paid" | "unpaid" | "unclear";

/**
 * All statements about whether the payment was paid: result code, texts and booleans. A payout has the newer shape too, and
 * makes the webhook unclear.
 */
function statements({ ResultCode, Status, success, status, transaction_type }: Details): Statement[] {
  const code = ResultCode == null ? [] : [statementOfCode(ResultCode)];
  const type = isStated(transaction_type) && transaction_type !== "inbound_payment" ? (["unclear"] as const) : [];
  return [...code, ...[Status, success, status].filter(isStated).map(statementOf), ...type];
}

function statementOfCode(code: string): Statement {
  const result = readResultCode(code);
  if (result === undefined) return "unclear";
  return result === "succeeded" ? "paid" : "unpaid";
}

/**
 * `Success` and `Failed` in the older webhooks, `success` and `failed` in the newer ones. An integrator reports `CANCELLED`
 * in queries; in a webhook it is read alike.
 */
function statementOf(value: unknown): Statement {
  const word = typeof value === "string" ? value.toLowerCase() : value;
  if (word === true || word === "true" || word === "success") return "paid";
  return word === false || word === "false" || word === "failed" || isCancelled(value) ? "unpaid" : "unclear";
}

const isCancelled = (word: unknown): boolean => typeof word === "string" && /^cancell?ed$/i.test(word);

/** The result, if all statements agree. A boolean alone is not a result, because it may be about the message. */
function resultOf(parts: readonly Details[]): "succeeded" | MpesaFailure | undefined {
  const [statement, ...others] = new Set(parts.flatMap(statements));
  if (others.length > 0) return undefined;
  const code = first(parts, "ResultCode");
  if (typeof code === "string") return readResultCode(code);
  if (!parts.flatMap(({ Status, status }) => [Status, status]).some(isWord)) return undefined;
  return statement === "paid" ? "succeeded" : failureOf(parts);
}

const isWord = (value: unknown): boolean =>
  typeof value === "string" && (/^(success|failed)$/i.test(value) || isCancelled(value));

/** Without a code, only a text states the reason: "Request Cancelled by user." (docs.payhero.africa, "Callbacks"). */
function failureOf(parts: readonly Details[]): MpesaFailure {
  const texts = parts.flatMap(({ ResultDesc, message, Status, status }) => [ResultDesc, message, Status, status]);
  const isCancelledByPayer = texts.some((text) => typeof text === "string" && /cancel/i.test(text));
  return { status: "failed", reason: isCancelledByPayer ? "cancelled" : "declined" };
}

/** `external_reference` is our id of the payment, which PayHero repeats unchanged. */
const namesOnly = (paymentId: string, parts: readonly Details[]): boolean =>
  parts
    .flatMap(({ ExternalReference, external_reference }) => [ExternalReference, external_reference])
    .filter(isStated)
    .every((named) => named === paymentId);

/** Older webhooks state no currency; it is always KES. */
function paid(parts: readonly Details[]): Omit<Outcome, "status" | "source"> {
  // `provider_reference` of the newer platform is M-Pesa's receipt: UFU51A2XO2 in its sample fits that sample's date.
  const receipt = identifier.safeParse(first(parts, "MpesaReceiptNumber") ?? first(parts, "provider_reference")).data;
  const amount = first(parts, "Amount") ?? first(parts, "amount");
  return { ...(receipt !== undefined && { receipt }), ...readMoney(amount, first(parts, "currency"), "KES") };
}

/** The value in the first part that has one. */
const first = (parts: readonly Details[], name: keyof Details): unknown =>
  parts.map((part) => part[name]).find(isStated);

/**
 * Reads the answer to a query about the payment with this reference; undefined without evidence. The answer has no amount,
 * and `CANCELLED` is the only reason of a failure. Throws `Throttled`, or `HubError` `provider_unavailable` if PayHero did
 * not answer the query.
 */
export function readQuery(answer: Answer, reference: string): Outcome | undefined {
  const reply = queryReply.safeParse(requireAnswer("PayHero", answer)).data;
  if (!isOk(answer.status) || !reply || reply.success === false) return undefined;
  if ((reply.reference ?? reference) !== reference) return undefined;
  if (reply.status === "QUEUED") return { status: "processing", source: "query" };
  if (isCancelled(reply.status)) return { status: "failed", reason: "cancelled", source: "query" };
  if (reply.status === "FAILED") return { status: "failed", reason: "declined", source: "query" };
  if (reply.status !== "SUCCESS") return undefined;
  const receipt = receiptOf(reply);
  return { status: "succeeded", ...(receipt !== undefined && { receipt }), source: "query" };
}

/** M-Pesa's receipt. An integrator reports it in `provider_reference` when `third_party_reference` is empty. */
const receiptOf = ({ third_party_reference, provider_reference }: z.infer<typeof queryReply>): string | undefined =>
  [third_party_reference, provider_reference].map((value) => identifier.safeParse(value).data).find(Boolean);
