/**
 * What Lipana's messages mean: the webhook, and the replies to push, status and list. Pure.
 *
 * Lipana's own documentation could not be had. The shapes are those of its SDK (npm @lipana/sdk 1.0.3) and of public
 * integrations, which disagree: so everything is found beside or within `data`, in camelCase or snake_case. What is
 * proof stays strict: a message that contradicts itself is none.
 */
import { createHmac, timingSafeEqual } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import { z } from "zod";
import { HubError } from "../../errors.ts";
import { parseJson } from "../../json.ts";
import type { Outcome, Reason } from "../../order/order.ts";
import type { Answer } from "../http-client.ts";
import { parseMinor, readMoney } from "../money.ts";
import { decide, identifier, resultCode, stillOpen } from "../mpesa.ts";
import { type Claim, Declined, type Initiated, type Webhook } from "../provider.ts";
import { hasErrorText, isRefused, requireAnswer } from "../refusal.ts";

type Verdict = Pick<Outcome, "status" | "reason">;

const paid: Verdict = { status: "succeeded" };
const open: Verdict = { status: "processing" };
const failed = (reason: Reason): Verdict => ({ status: "failed", reason });

/** A transaction's `status` (typed in the SDK), and the end of a webhook's `event` (public integrations). */
const words: ReadonlyMap<string, Verdict> = new Map([
  ["success", paid],
  ["pending", open],
  ["failed", failed("declined")],
  ["cancelled", failed("cancelled")],
]);

const anything = z.unknown().optional();
const word = z.string().toLowerCase().optional().catch(undefined);
const id = identifier.optional().catch(undefined);
const code = resultCode.optional().catch(undefined);

/** How many characters of the payment's id are the account reference that we give; M-Pesa shows no more. */
const accountReferenceLength = 12;

/** The end of the payment's id, which is its random part: of its own for every attempt, and no secret. */
export const accountReferenceOf = (paymentId: string): string =>
  paymentId.replaceAll("-", "").slice(-accountReferenceLength);

/** In one shape of the webhook the account reference is called `reference`: only ours looks like this. */
const isAccountReference = (text: string | undefined): text is string => /^[0-9a-f]{12}$/i.test(text ?? "");

/** A transaction as webhook, status and list tell of it. One odd field must not hide the others. */
const transaction = z
  .object({
    id,
    transactionId: id,
    transaction_id: id,
    accountReference: id,
    account_reference: id,
    reference: id,
    mpesaReceiptNumber: id,
    mpesa_receipt_number: id,
    resultCode: code,
    result_code: code,
    status: word,
    currency: anything,
    amount: anything,
  })
  .transform(({ id, status, currency, amount, ...either }) => ({
    id,
    reference: either.transactionId ?? either.transaction_id,
    accountReference: [either.accountReference, either.account_reference, either.reference].find(isAccountReference),
    receipt: either.mpesaReceiptNumber ?? either.mpesa_receipt_number,
    code: either.resultCode ?? either.result_code,
    status,
    currency,
    amount,
  }));
type Transaction = z.infer<typeof transaction>;
type Stated = Pick<Transaction, "receipt" | "amount" | "currency">;

const envelope = z.object({ success: anything, data: anything, event: word });

/** What is within `data`, or the body itself where it is flat. */
function contentOf(body: unknown): unknown {
  const data = envelope.safeParse(body).data?.data;
  return typeof data === "object" && data !== null ? data : body;
}

/** Accepted, surely refused (`Declined`), or unknown: any other error. */
export function readAcceptance(answer: Answer): Initiated {
  const { status, body } = answer;
  const told = envelope.safeParse(body).data;
  const saysNo = told?.success === false;
  const reference = transaction.safeParse(contentOf(body)).data?.reference;
  if (status >= 200 && status < 300 && !saysNo && reference !== undefined) return { reference };
  // An answer that names a transaction leaves open whether the payer is being asked.
  if (reference === undefined && isRefused(answer, saysNo || hasErrorText(body))) {
    throw new Declined("provider_error", `Lipana refused the push (HTTP ${status})`);
  }
  throw new Error(`Lipana's answer to the push tells nothing (HTTP ${status})`);
}

/**
 * The signature is the only proof there is: a replay of it is harmless, since a payment only climbs. Throws `HubError`:
 * `webhook_rejected` without it, `webhook_unreadable` for anything that names no transaction. What says nothing that
 * is known, contradicts itself, or names only our own account reference, which Lipana is not known to guard, is a hint.
 */
export function translate({ headers, body }: Webhook, secret: string): Claim {
  if (!isSigned(headers, body, secret)) throw new HubError("webhook_rejected");
  const { event, reference, accountReference, ...told } = readWebhook(body);
  const names = {
    ...(reference !== undefined && { reference }),
    ...(accountReference !== undefined && { ownReference: accountReference.toLowerCase() }),
  };
  const verdict = agree([verdictOf(told.code), words.get(told.status ?? ""), words.get(event ?? "")]);
  if (!verdict || reference === undefined) return { ...names, proof: "none" };
  if (verdict === open) return { ...names, proof: "signature" };
  return { ...names, proof: "signature", outcome: { ...outcomeOf(told, verdict), reference, source: "webhook" } };
}

/**
 * Hex of the HMAC-SHA256 over the raw bytes (the SDK's verifying function; the header's name is from its
 * README and integrations). No time is signed.
 */
function isSigned(headers: IncomingHttpHeaders, body: Buffer, secret: string): boolean {
  const given = headers["x-lipana-signature"];
  if (typeof given !== "string" || !/^[0-9a-f]{64}$/i.test(given)) return false;
  return timingSafeEqual(Buffer.from(given, "hex"), createHmac("sha256", secret).update(body).digest());
}

/**
 * `payment.success` and `transaction.success` are the same event in the two shapes that are about. An integrator finds
 * the transaction named by `id` alone; beside another name, `id` is another number of Lipana's.
 */
function readWebhook(body: Buffer): Transaction & { event: string | undefined } {
  const { told, event } = parseWebhook(body);
  const reference = told.reference ?? told.id;
  if (reference === undefined && told.accountReference === undefined) {
    throw new HubError("webhook_unreadable", "The webhook names no transaction");
  }
  return { ...told, reference, event: event?.replace(/^.*\./s, "") };
}

function parseWebhook(body: Buffer): { told: Transaction; event: string | undefined } {
  try {
    const json: unknown = parseJson(body.toString());
    return { told: transaction.parse(contentOf(json)), event: envelope.parse(json).event };
  } catch (cause) {
    throw new HubError("webhook_unreadable", undefined, { cause });
  }
}

/** Undefined where M-Pesa's code says nothing. */
function verdictOf(given: string | undefined): Verdict | undefined {
  if (given === undefined) return undefined;
  if (given === stillOpen) return open;
  const decided = decide(given);
  return decided === "succeeded" ? paid : decided;
}

/** What all of them say, in the words of the one that says why. Undefined when nothing is said, or different things. */
function agree(said: readonly (Verdict | undefined)[]): Verdict | undefined {
  const verdicts = said.filter((verdict) => verdict !== undefined);
  const kinds = new Set(verdicts.map((verdict) => (verdict === paid || verdict === open ? verdict : "ended")));
  if (kinds.size > 1) return undefined;
  return verdicts.find(({ reason }) => reason !== "declined") ?? verdicts[0];
}

const outcomeOf = (told: Stated, verdict: Verdict): Omit<Outcome, "source"> =>
  verdict === paid ? { ...verdict, ...paidOf(told) } : verdict;

/** What a success states. KES is Lipana's only currency. */
const paidOf = ({ receipt, amount, currency }: Stated): Omit<Outcome, "status" | "source"> => ({
  ...(receipt !== undefined && { receipt }),
  ...readMoney(amount, currency, "KES"),
});

/**
 * The answer about the transaction with this reference. Throws `Throttled`, or `HubError` `provider_unavailable` when
 * Lipana did not answer the question.
 */
export function readStatus(answer: Answer, reference: string): Outcome | undefined {
  const told = transaction.safeParse(contentOf(requireYes(answer))).data;
  // Which of its two ids the address takes is not documented; one of them must be the one that we asked about.
  if (!told || (told.reference !== reference && told.id !== reference)) return undefined;
  return queried(told);
}

/** Undefined unless the status says so: M-Pesa's code, if it is there, only tells why. */
function queried(told: Transaction): Outcome | undefined {
  const said = words.get(told.status ?? "");
  const verdict = said && agree([verdictOf(told.code), said]);
  return verdict && { ...outcomeOf(told, verdict), source: "query" };
}

/** Throws unless this is an answer at all. Undefined: one that says no. */
function requireYes(answer: Answer): unknown {
  const body = requireAnswer("Lipana", answer);
  return answer.status === 200 && envelope.safeParse(body).data?.success !== false ? body : undefined;
}

/** What a transaction that nobody has told us of yet is to be recognised by. */
export interface Wanted {
  accountReference: string;
  amountMinor: bigint;
}

export interface Page {
  /** What became of the transaction, with its reference. */
  found?: Outcome;
  /** There is no page after this one. */
  isLast: boolean;
}

const whole = z.union([z.number(), z.string().regex(/^\d+$/).transform(Number)]);

/** Anything beside the transactions themselves may be missing (the SDK types it, no reply was seen). */
const listing = z.union([
  z.object({
    transactions: z.array(z.unknown()),
    pagination: z.object({ pages: whole }).optional().catch(undefined),
  }),
  z.array(z.unknown()).transform((transactions) => ({ transactions, pagination: undefined })),
]);

/** Looks for a transaction on one page of the list, counted from 1. Of several, one that was paid counts. */
export function readPage(answer: Answer, page: number, wanted: Wanted): Page {
  const { transactions, pagination } = listing.safeParse(contentOf(requireYes(answer))).data ?? { transactions: [] };
  const found = transactions.flatMap((item) => {
    const told = transaction.safeParse(item).data;
    return told?.reference !== undefined && isWanted(told, wanted) ? outcomesOf(told, told.reference) : [];
  });
  const [first] = found;
  const best = found.find(({ status }) => status === "succeeded") ?? first;
  const isLast = transactions.length === 0 || page >= (pagination?.pages ?? Number.POSITIVE_INFINITY);
  return { ...(best && { found: best }), isLast };
}

const isWanted = (told: Transaction, { accountReference, amountMinor }: Wanted): boolean =>
  told.accountReference === accountReference && parseMinor(told.amount, 2) === amountMinor;

function outcomesOf(told: Transaction, reference: string): Outcome[] {
  const outcome = queried(told);
  return outcome ? [{ ...outcome, reference }] : [];
}
