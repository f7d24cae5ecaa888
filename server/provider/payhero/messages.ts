/**
 * What PayHero's messages mean: the webhook in its three shapes, and the replies to a request for money and to a query.
 * Pure. Goes by M-Pesa's result codes, which PayHero passes through, and by texts only where there is no code.
 *
 * Sources: docs.payhero.co.ke (2024), docs.payhero.africa (2026), and what integrators observed. No failed webhook is
 * documented with a code, so whatever does not plainly say one thing is only a hint that makes us ask.
 */
import { z } from "zod";
import { HubError } from "../../errors.ts";
import { parseJson } from "../../json.ts";
import type { Outcome } from "../../order/order.ts";
import type { Answer } from "../http-client.ts";
import { isStated, readMoney } from "../money.ts";
import { decide, identifier, type MpesaFailure, resultCode } from "../mpesa.ts";
import { type Claim, Declined, type Initiated, type Webhook } from "../provider.ts";
import { isRefused, requireAnswer } from "../refusal.ts";

/** What is there or not, of whatever type: nobody promised. */
const anything = z.unknown().optional();

/** Ten letters and digits or a UUID (both observed), or such as `UFD004453187.iI` (docs.payhero.africa, "Callbacks"). */
const reference = z.union([z.string(), z.number()]).transform(String).pipe(identifier);

/**
 * Only that the request was taken. Documented are both `success` and the status `QUEUED` (docs.payhero.co.ke, "Initiate
 * MPESA STK Push Request"); one of them missing, or another word, is no reason to lose the reference: without it nobody
 * can be asked.
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

/** A boolean, or as text. */
const flag = z.union([z.boolean(), z.stringbool({ truthy: ["true"], falsy: ["false"] })]);

/** No shape is documented; integrators report these names for the human reason. */
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

/** docs.payhero.co.ke, "Transaction Status". There is no amount, and no reason of a failure. */
const queryReply = z.object({
  success: flag.nullish(),
  status: z.string().transform((word) => word.toUpperCase()),
  reference: reference.nullish().catch(null),
  third_party_reference: anything,
  provider_reference: anything,
});

/** The names that are used in either platform's webhook. Balances, phone and M-Pesa's own ids are of no use here. */
const details = z.object({
  ResultCode: resultCode.nullish(),
  ResultDesc: anything,
  Status: anything,
  ExternalReference: anything,
  MpesaReceiptNumber: anything,
  Amount: anything,
  // The newer platform's.
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

/** Nested within `response` (docs.payhero.co.ke), or all at the top (observed, and docs.payhero.africa). */
const webhookBody = details.extend({ response: details.nullish() });

/**
 * Accepted, surely refused (`Declined`), or unknown: any other error. A refusal never says that the payer is at fault:
 * an empty wallet of the merchant's is a bad request too.
 */
export function readAcceptance(answer: Answer): Initiated {
  const { status, body } = answer;
  const accepted = isOk(status) ? acceptance.safeParse(body).data : undefined;
  if (accepted) return { reference: accepted.reference };
  const said = refusal.safeParse(body).data;
  if (saysNo(answer, said)) {
    throw new Declined("provider_error", `PayHero refused the payment (HTTP ${status})${said ? quote(said) : ""}`);
  }
  throw new Error(`PayHero's answer to the payment tells nothing (HTTP ${status})`);
}

const isOk = (status: number): boolean => status >= 200 && status < 300;

/** An answer that names a payment of PayHero's own leaves open whether the payer is being asked. */
function saysNo(answer: Answer, said: Refusal | undefined): boolean {
  if (said?.reference) return false;
  if (isOk(answer.status)) return said?.success === false;
  return isRefused(answer, said !== undefined && (said.success === false || hasReason(said)));
}

const reasonsOf = ({ error_code, error_message, message, error, detail }: Refusal): string[] =>
  [error_code, error_message, message, error, detail].filter((text) => typeof text === "string").filter(Boolean);

const hasReason = (said: Refusal): boolean => reasonsOf(said).length > 0;

/** For the operator, who needs to know of an empty wallet; without what may be an address with its secret, or a phone. */
function quote(said: Refusal): string {
  const text = reasonsOf(said)
    .join(": ")
    .replace(/\S{20,}|\d{7,}/g, "…");
  return text === "" ? "" : `: ${text.slice(0, 160)}`;
}

/**
 * The URL's secret is the only proof there is; one that names another payment, or says two things, is only a hint.
 * Throws `HubError`: `webhook_rejected` without the secret, `webhook_unreadable` for anything that says nothing at all.
 */
export function translate({ paymentId, body }: Webhook): Claim {
  if (paymentId === undefined) throw new HubError("webhook_rejected");
  const parts = readParts(body);
  const decided = resultOf(parts);
  if (decided === undefined || !namesOnly(paymentId, parts)) return { paymentId, proof: "none" };
  const own = identifier.safeParse(first(parts, "reference")).data;
  const known = own === undefined ? {} : { reference: own };
  const outcome: Outcome =
    decided === "succeeded"
      ? { status: decided, ...paid(parts), source: "webhook" }
      : { ...decided, source: "webhook" };
  return { paymentId, ...known, proof: "secret", outcome: { ...outcome, ...known } };
}

/** The parts of a webhook, the inner one first. */
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

type Said = "paid" | "unpaid" | "unclear";

/**
 * Whether there was money, by everything that says so: result codes, the texts, and the booleans beside them. Payouts
 * share the newer shape, and are no payment of anybody's.
 */
function statements({ ResultCode, Status, success, status, transaction_type }: Details): Said[] {
  const code = ResultCode == null ? [] : [codeSays(ResultCode)];
  const type = isStated(transaction_type) && transaction_type !== "inbound_payment" ? (["unclear"] as const) : [];
  return [...code, ...[Status, success, status].filter(isStated).map(says), ...type];
}

function codeSays(code: string): Said {
  const decided = decide(code);
  if (decided === undefined) return "unclear";
  return decided === "succeeded" ? "paid" : "unpaid";
}

/**
 * `Success` and `Failed` in the older webhooks, `success` and `failed` in the newer ones; an integrator reads `CANCELLED`
 * in queries, and here it would mean the same.
 */
function says(value: unknown): Said {
  const word = typeof value === "string" ? value.toLowerCase() : value;
  if (word === true || word === "true" || word === "success") return "paid";
  return word === false || word === "false" || word === "failed" || isCancelled(value) ? "unpaid" : "unclear";
}

const isCancelled = (word: unknown): boolean => typeof word === "string" && /^cancell?ed$/i.test(word);

/** How it ended, when everything that is said agrees; a bare boolean, which might be about the message, decides nothing. */
function resultOf(parts: readonly Details[]): "succeeded" | MpesaFailure | undefined {
  const [said, ...others] = new Set(parts.flatMap(statements));
  if (others.length > 0) return undefined;
  const code = first(parts, "ResultCode");
  if (typeof code === "string") return decide(code);
  if (!parts.flatMap(({ Status, status }) => [Status, status]).some(isWord)) return undefined;
  return said === "paid" ? "succeeded" : failureOf(parts);
}

const isWord = (value: unknown): boolean =>
  typeof value === "string" && (/^(success|failed)$/i.test(value) || isCancelled(value));

/** Without a code there is only text: "Request Cancelled by user." (docs.payhero.africa, "Callbacks"). */
function failureOf(parts: readonly Details[]): MpesaFailure {
  const texts = parts.flatMap(({ ResultDesc, message, Status, status }) => [ResultDesc, message, Status, status]);
  const saysCancelled = texts.some((text) => typeof text === "string" && /cancel/i.test(text));
  return { status: "failed", reason: saysCancelled ? "cancelled" : "declined" };
}

/** `external_reference` is our own id of the payment, and comes back as it was sent. */
const namesOnly = (paymentId: string, parts: readonly Details[]): boolean =>
  parts
    .flatMap(({ ExternalReference, external_reference }) => [ExternalReference, external_reference])
    .filter(isStated)
    .every((named) => named === paymentId);

/** Older webhooks name no currency: they are about shillings only. */
function paid(parts: readonly Details[]): Omit<Outcome, "status" | "source"> {
  // The newer `provider_reference` is M-Pesa's receipt: UFU51A2XO2 is one of the day of its sample, 30 June 2026.
  const receipt = identifier.safeParse(first(parts, "MpesaReceiptNumber") ?? first(parts, "provider_reference")).data;
  const amount = first(parts, "Amount") ?? first(parts, "amount");
  return { ...(receipt !== undefined && { receipt }), ...readMoney(amount, first(parts, "currency"), "KES") };
}

/** The first part's value that there is. */
const first = (parts: readonly Details[], name: keyof Details): unknown =>
  parts.map((part) => part[name]).find(isStated);

/**
 * Reads a query's answer about the payment with this reference. It has no amount, and no reason of a failure but that it was
 * cancelled. Throws `Throttled`, or `HubError` `provider_unavailable` when PayHero did not answer the question.
 */
export function readQuery(answer: Answer, asked: string): Outcome | undefined {
  const reply = queryReply.safeParse(requireAnswer("PayHero", answer)).data;
  const isAnswer = isOk(answer.status) && reply && reply.success !== false && (reply.reference ?? asked) === asked;
  if (!isAnswer) return undefined;
  if (reply.status === "QUEUED") return { status: "processing", source: "query" };
  if (isCancelled(reply.status)) return { status: "failed", reason: "cancelled", source: "query" };
  if (reply.status === "FAILED") return { status: "failed", reason: "declined", source: "query" };
  if (reply.status !== "SUCCESS") return undefined;
  const receipt = receiptOf(reply);
  return { status: "succeeded", ...(receipt !== undefined && { receipt }), source: "query" };
}

/** M-Pesa's receipt. An integrator finds it in `provider_reference` where `third_party_reference` is empty. */
const receiptOf = ({ third_party_reference, provider_reference }: z.infer<typeof queryReply>): string | undefined =>
  [third_party_reference, provider_reference].map((value) => identifier.safeParse(value).data).find(Boolean);
