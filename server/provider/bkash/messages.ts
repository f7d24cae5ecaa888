/**
 * Reads bKash's replies. Pure. Decides by codes and states, not by texts or the HTTP status alone: bKash answers errors with
 * HTTP 200, in three forms (`statusCode`, `errorCode`, or the gateway's `message` without a code).
 *
 * Sources: developer.bka.sh, "Error Codes" and "Checkout (URL Based)"; the plugin bKash-developer/bKash-for-woocommerce.
 */
import { z } from "zod";
import { HubError } from "../../errors.ts";
import type { Outcome, Payment, Reason } from "../../order/order.ts";
import type { Answer } from "../http-client.ts";
import { readMoney } from "../money.ts";
import { type Completion, Declined, type Initiated } from "../provider.ts";
import { providerText } from "../provider-text.ts";
import { isRefused, requireAnswer } from "../refusal.ts";

type Result = Pick<Outcome, "status"> & { reason: Reason };

const failed = (reason: Reason): Result => ({ status: "failed", reason });
const noResponse: Result = { status: "expired", reason: "no_response" };
const each = (codes: readonly number[], result: Result): [string, Result][] =>
  codes.map((code) => [String(code), result]);

/** The end of the payment that a code means (developer.bka.sh, "Error Codes"). */
const results: ReadonlyMap<string, Result> = new Map([
  // A wrong app key, or a wrong request: amount, currency, intent, body, invoice, reference, callback, mode, missing field.
  ...each([2001, 2006, 2007, 2008, 2025, 2031, 2048, 2049, 2055, 2063, 2064, 2065, 2067], failed("provider_error")),
  // Not a customer's wallet, a wrong code, a duplicate within minutes, or an account that must not pay or be paid.
  ...each([2009, 2010, 2016, 2029, 2037, 2038, 2039, 2040, 2041, 2044, 2045, 2057, 2058], failed("declined")),
  ...each([2013, 2017, 2059], failed("limit")),
  ...each([2011, 2014, 2015, 2043], failed("wrong_pin")),
  ...each([2018, 2019], noResponse),
  ...each([2023], failed("insufficient_funds")),
  // Inconclusive (see below): counts only after a query without a payment.
  ...each([2003], failed("provider_error")),
  ...each([2069], failed("cancelled")),
]);

/**
 * Codes after which the money may have moved or may still move: exceptions (2003, 2020, 2024), a payer who has not finished
 * (2054, 2060), a payment that was completed, executed or cancelled before (2056, 2062, 2068, 2069, 2116, 2117, 2119),
 * maintenance (503), and 9999, which "Error Codes" lacks and integrators observe.
 */
const inconclusive: ReadonlySet<string> = new Set(
  [2003, 2020, 2024, 2054, 2056, 2060, 2062, 2068, 2069, 2116, 2117, 2119, 503, 9999].map(String),
);

/** Visible ASCII, like every identifier of bKash's seen so far. Other text is not an identifier, and not safe to store. */
const identifier = z.string().regex(/^[\x21-\x7e]{1,128}$/);

/** A string in the documentation; a number is accepted too. */
const code = z
  .union([z.string(), z.number()])
  .transform(String)
  .pipe(z.string().regex(/^[\w.-]{1,32}$/));

const envelope = z.object({
  statusCode: code.optional().catch(undefined),
  errorCode: code.optional().catch(undefined),
});

/** The only code that is not an error. */
const successful = "0000";

/** Any `errorCode` makes the reply an error. */
const success = z.object({ statusCode: z.literal(successful), errorCode: z.null().optional() });

const acceptance = z.object({ paymentID: identifier, bkashURL: z.url({ protocol: /^https?$/ }).max(2_048) });

/** Optional, of any type. */
const anything = z.unknown().optional();

/**
 * The payment's state in the replies to Execute and the query. Execute calls the invoice `merchantInvoiceNumber`; recorded
 * query replies call it `merchantInvoice`; recorded replies to Execute may lack the invoice, the currency or the paymentID.
 * So none of these is required, and each one that is present is compared.
 */
const state = z.object({
  paymentID: anything,
  merchantInvoiceNumber: anything,
  merchantInvoice: anything,
  transactionStatus: z.string(),
  trxID: identifier.optional().catch(undefined),
  amount: anything,
  currency: anything,
});
type State = z.infer<typeof state>;

/** "Timeout of 30 Seconds Exceeded While Executing Payment, Please Query the Payment", with any code (recorded). */
const timedOut = z.object({ statusMessage: z.string().regex(/query the payment|timeout of \d+ seconds/i) });

/** The code of a reply; undefined for the gateway's messages and other bodies without one. */
function codeOf(body: unknown): string | undefined {
  const { statusCode, errorCode } = envelope.safeParse(body).data ?? {};
  return errorCode ?? statusCode;
}

/** The gateway refused the access token, so the request did not reach bKash. */
export const isTokenRefused = ({ status }: Answer): boolean => status === 401;

/** An error of the gateway, without a code of bKash's. */
const gatewayError = z.object({ message: z.string() });

/** Returns for an accepted request, throws `Declined` for a certain refusal. Any other error means unknown. */
export function readAcceptance(answer: Answer): Initiated {
  const { status, body } = answer;
  const given = codeOf(body);
  const accepted = acceptance.safeParse(body).data;
  if (status === 200 && success.safeParse(body).success && accepted) {
    return { reference: accepted.paymentID, redirectUrl: accepted.bkashURL };
  }
  const isDeclined = status < 500 && given !== undefined && given !== successful && !inconclusive.has(given);
  if (isDeclined || isRefused(answer, gatewayError.safeParse(body).success)) {
    const reason = results.get(given ?? "")?.reason ?? "provider_error";
    throw new Declined(
      reason,
      `bKash refused the payment: ${given ?? "no code"} (HTTP ${status}) ${providerText(body, answer.sent)}`.trim(),
    );
  }
  throw new Error(`bKash neither accepted nor refused the payment (HTTP ${status})`);
}

/** Reads the result of Execute: inconclusive and lost without an answer. */
export function readExecution(answer: Answer | undefined, payment: Payment): Completion {
  if (!answer || answer.status >= 500 || timedOut.safeParse(answer.body).success) {
    return { isConclusive: false, isLost: true };
  }
  const found = readState(answer, payment);
  if (found?.status === "succeeded") return { isConclusive: true, outcome: { ...found, source: "reply" } };
  const given = codeOf(answer.body) ?? "";
  const result = results.get(given);
  return {
    isConclusive: result !== undefined && !inconclusive.has(given),
    ...(result && { outcome: { ...result, source: "reply" } }),
  };
}

/**
 * Reads the answer to a query; undefined without evidence. An error code does not end a payment: it is about the query, or
 * too vague, as 2002 and 2033 (not found) also occur shortly after creation. Throws `Throttled`, or `HubError`
 * `provider_unavailable` if bKash did not answer the query.
 */
export function readQuery(answer: Answer, payment: Payment): Outcome | undefined {
  if (codeOf(requireAnswer("bKash", answer)) === undefined) {
    throw new HubError("provider_unavailable", `bKash did not answer the query (HTTP ${answer.status})`);
  }
  const found = readState(answer, payment);
  return found && { ...found, source: "query" };
}

/** Only `Completed` and these states are documented. `Authorized` is not paid yet. */
const openStates: ReadonlySet<string> = new Set(["Initiated", "Authorized"]);

/** Undefined unless the reply states the state of this payment. */
function readState({ status, body }: Answer, payment: Payment): Omit<Outcome, "source"> | undefined {
  const found = state.safeParse(body).data;
  if (status !== 200 || !success.safeParse(body).success || !found || !isAbout(found, payment)) return undefined;
  if (found.transactionStatus === "Completed") return { status: "succeeded", ...paid(found) };
  return openStates.has(found.transactionStatus) ? { status: "processing" } : undefined;
}

function isAbout(found: State, { id, reference }: Payment): boolean {
  const matches = (stated: unknown, ours: string | undefined): boolean => stated === "" || (stated ?? ours) === ours;
  return (
    matches(found.paymentID, reference) &&
    matches(found.merchantInvoiceNumber, id) &&
    matches(found.merchantInvoice, id)
  );
}

/** The receipt and the money that a success states. bKash has no other currency; a stated one is compared. */
const paid = ({ trxID, amount, currency }: State): Omit<Outcome, "status" | "source"> => ({
  ...(trxID !== undefined && { receipt: trxID }),
  ...readMoney(amount, currency, "BDT"),
});
