/**
 * Reads Lipana's messages: the webhook, and the replies to push, status and list. Pure.
 *
 * Lipana's documentation was not available. The shapes are from its SDK (npm @lipana/sdk 1.0.3) and from public
 * integrations, which disagree. So each field is accepted inside or beside `data`, in camelCase or snake_case. Proof stays
 * strict: a message that contradicts itself has no outcome.
 */
import { createHmac, timingSafeEqual } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import { z } from "zod";
import { HubError } from "../../errors.ts";
import { parseJson } from "../../json.ts";
import type { Outcome, Reason } from "../../order/order.ts";
import type { Answer } from "../http-client.ts";
import { parseMinor, readMoney } from "../money.ts";
import { identifier, readResultCode, resultCode, stillOpen } from "../mpesa.ts";
import { type Claim, Declined, type Initiated, type Webhook } from "../provider.ts";
import { providerText } from "../provider-text.ts";
import { hasErrorText, isRefused, requireAnswer } from "../refusal.ts";

type State = Pick<Outcome, "status" | "reason">;

const paid: State = { status: "succeeded" };
const open: State = { status: "processing" };
const failed = (reason: Reason): State => ({ status: "failed", reason });

/** A transaction's `status` (typed in the SDK), and the end of a webhook's `event` (public integrations). */
const stateOfWord: ReadonlyMap<string, State> = new Map([
  ["success", paid],
  ["pending", open],
  ["failed", failed("declined")],
  ["cancelled", failed("cancelled")],
]);

const anything = z.unknown().optional();
const word = z.string().toLowerCase().optional().catch(undefined);
const id = identifier.optional().catch(undefined);
const code = resultCode.optional().catch(undefined);

/** 12, because M-Pesa shows no more (Safaricom portal, "M-Pesa Express", AccountReference). */
const accountReferenceLength = 12;

/** The last characters of the payment's id, which are random: unique to the attempt, and not a secret. */
export const accountReferenceOf = (paymentId: string): string =>
  paymentId.replaceAll("-", "").slice(-accountReferenceLength);

/** One shape of the webhook calls the account reference `reference`; this pattern recognises ours. */
const isAccountReference = (text: string | undefined): text is string => /^[0-9a-f]{12}$/i.test(text ?? "");

/** A transaction in webhook, status and list. An unreadable field must not hide the others. */
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

/** The object in `data`, or the body itself without one. */
function contentOf(body: unknown): unknown {
  const data = envelope.safeParse(body).data?.data;
  return typeof data === "object" && data !== null ? data : body;
}

/** Returns for an accepted push, throws `Declined` for a certain refusal. Any other error means unknown. */
export function readAcceptance(answer: Answer): Initiated {
  const { status, body } = answer;
  const isUnsuccessful = envelope.safeParse(body).data?.success === false;
  const reference = transaction.safeParse(contentOf(body)).data?.reference;
  if (status >= 200 && status < 300 && !isUnsuccessful && reference !== undefined) return { reference };
  // An error that names a transaction is unknown: the payer may have a prompt.
  if (reference === undefined && isRefused(answer, isUnsuccessful || hasErrorText(body))) {
    throw new Declined(
      "provider_error",
      `Lipana refused the push (HTTP ${status}) ${providerText(body, answer.sent)}`.trim(),
    );
  }
  throw new Error(`Lipana neither accepted nor refused the push (HTTP ${status})`);
}

/**
 * The signature is the proof. A replayed webhook is harmless, because evidence only raises a payment's status. A webhook without a
 * known status, one that contradicts itself, and one that names only our account reference prove nothing: it is not known
 * whether Lipana keeps account references unique. Throws `HubError` `webhook_rejected` without a valid signature, and
 * `webhook_unreadable` for a body that names no transaction.
 */
export function translate({ headers, body }: Webhook, secrets: readonly string[]): Claim {
  if (!isSigned(headers, body, secrets)) throw new HubError("webhook_rejected");
  const { event, reference, accountReference, ...stated } = readWebhook(body);
  const names = {
    ...(reference !== undefined && { reference }),
    ...(accountReference !== undefined && { ownReference: accountReference.toLowerCase() }),
  };
  const state = combine([stateOfCode(stated.code), stateOfWord.get(stated.status ?? ""), stateOfWord.get(event ?? "")]);
  if (!state || reference === undefined) return { ...names, proof: "none" };
  if (state === open) return { ...names, proof: "signature" };
  return { ...names, proof: "signature", outcome: { ...outcomeOf(stated, state), reference, source: "webhook" } };
}

/**
 * The signature is the hex HMAC-SHA256 of the raw bytes (the SDK's verify function; the header's name is from its README and
 * from integrations). It covers no timestamp.
 */
function isSigned(headers: IncomingHttpHeaders, body: Buffer, secrets: readonly string[]): boolean {
  const given = headers["x-lipana-signature"];
  if (typeof given !== "string" || !/^[0-9a-f]{64}$/i.test(given)) return false;
  const signature = Buffer.from(given, "hex");
  return secrets.some((secret) => timingSafeEqual(signature, createHmac("sha256", secret).update(body).digest()));
}

/**
 * `payment.success` and `transaction.success` are one event in the two known shapes. One integrator reports webhooks that
 * name the transaction by `id` alone; beside another name, `id` is a different number of Lipana's.
 */
function readWebhook(body: Buffer): Transaction & { event: string | undefined } {
  const { stated, event } = parseWebhook(body);
  const reference = stated.reference ?? stated.id;
  if (reference === undefined && stated.accountReference === undefined) {
    throw new HubError("webhook_unreadable", "The webhook names no transaction");
  }
  return { ...stated, reference, event: event?.replace(/^.*\./s, "") };
}

function parseWebhook(body: Buffer): { stated: Transaction; event: string | undefined } {
  try {
    const json: unknown = parseJson(body.toString());
    return { stated: transaction.parse(contentOf(json)), event: envelope.parse(json).event };
  } catch (cause) {
    throw new HubError("webhook_unreadable", undefined, { cause });
  }
}

/** Undefined for an M-Pesa code without an outcome. */
function stateOfCode(given: string | undefined): State | undefined {
  if (given === undefined) return undefined;
  if (given === stillOpen) return open;
  const result = readResultCode(given);
  return result === "succeeded" ? paid : result;
}

/** The state that all of them agree on, with the most specific reason. Undefined if they disagree, or without any. */
function combine(stated: readonly (State | undefined)[]): State | undefined {
  const states = stated.filter((state) => state !== undefined);
  const kinds = new Set(states.map((state) => (state === paid || state === open ? state : "ended")));
  if (kinds.size > 1) return undefined;
  return states.find(({ reason }) => reason !== "declined") ?? states[0];
}

const outcomeOf = (stated: Stated, state: State): Omit<Outcome, "source"> =>
  state === paid ? { ...state, ...paidOf(stated) } : state;

/** The receipt and the money that a success states. KES is Lipana's only currency. */
const paidOf = ({ receipt, amount, currency }: Stated): Omit<Outcome, "status" | "source"> => ({
  ...(receipt !== undefined && { receipt }),
  ...readMoney(amount, currency, "KES"),
});

/**
 * Reads the status of the transaction with this reference; undefined without evidence. Throws `Throttled`, or `HubError`
 * `provider_unavailable` if Lipana did not answer the query.
 */
export function readStatus(answer: Answer, reference: string): Outcome | undefined {
  const stated = transaction.safeParse(contentOf(readSuccess(answer))).data;
  // It is not documented which of its two ids the URL takes. One of them must be the queried one.
  if (!stated || (stated.reference !== reference && stated.id !== reference)) return undefined;
  return outcomeOfQuery(stated);
}

/** Decides by `status`. M-Pesa's code, if present, only adds the reason, and must agree. */
function outcomeOfQuery(stated: Transaction): Outcome | undefined {
  const byStatus = stateOfWord.get(stated.status ?? "");
  const state = byStatus && combine([stateOfCode(stated.code), byStatus]);
  return state && { ...outcomeOf(stated, state), source: "query" };
}

/** The body of a successful answer; undefined for an unsuccessful one. Throws if Lipana did not answer the query. */
function readSuccess(answer: Answer): unknown {
  const body = requireAnswer("Lipana", answer);
  return answer.status === 200 && envelope.safeParse(body).data?.success !== false ? body : undefined;
}

/** Identifies a transaction whose reference is not known. */
export interface Wanted {
  accountReference: string;
  amountMinor: bigint;
}

export interface Page {
  /** The outcome of the transaction, with its reference. */
  found?: Outcome;
  /** There is no page after this one. */
  isLast: boolean;
}

const whole = z.union([z.number(), z.string().regex(/^\d+$/).transform(Number)]);

/** Only the transactions are required: the SDK has types for the rest, but no reply was seen. */
const listing = z.union([
  z.object({
    transactions: z.array(z.unknown()),
    pagination: z.object({ pages: whole }).optional().catch(undefined),
  }),
  z.array(z.unknown()).transform((transactions) => ({ transactions, pagination: undefined })),
]);

/** Searches one page of the list, counted from 1. A paid transaction is preferred to others. */
export function readPage(answer: Answer, page: number, wanted: Wanted): Page {
  const { transactions, pagination } = listing.safeParse(contentOf(readSuccess(answer))).data ?? { transactions: [] };
  const found = transactions.flatMap((item) => {
    const stated = transaction.safeParse(item).data;
    return stated?.reference !== undefined && isWanted(stated, wanted) ? outcomesOf(stated, stated.reference) : [];
  });
  const [first] = found;
  const best = found.find(({ status }) => status === "succeeded") ?? first;
  const isLast = transactions.length === 0 || page >= (pagination?.pages ?? Number.POSITIVE_INFINITY);
  return { ...(best && { found: best }), isLast };
}

const isWanted = (stated: Transaction, { accountReference, amountMinor }: Wanted): boolean =>
  stated.accountReference === accountReference && parseMinor(stated.amount, 2) === amountMinor;

function outcomesOf(stated: Transaction, reference: string): Outcome[] {
  const outcome = outcomeOfQuery(stated);
  return outcome ? [{ ...outcome, reference }] : [];
}
