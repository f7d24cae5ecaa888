/**
 * What bKash's replies mean. Pure, and goes by codes and states, never by texts or the HTTP status alone: errors come
 * with HTTP 200, and in three forms (`statusCode`, `errorCode`, or the gateway's bare `message`).
 *
 * Facts: developer.bka.sh, "Error Codes" and "Checkout (URL Based)"; the plugin bKash-developer/bKash-for-woocommerce.
 */
import { z } from "zod";
import { HubError } from "../../errors.ts";
import type { Outcome, Payment, Reason } from "../../order/order.ts";
import type { Answer } from "../http-client.ts";
import { readMoney } from "../money.ts";
import { Declined, type Initiated } from "../provider.ts";
import { isRefused, requireAnswer } from "../refusal.ts";

type Result = Pick<Outcome, "status"> & { reason: Reason };

const failed = (reason: Reason): Result => ({ status: "failed", reason });
const noResponse: Result = { status: "expired", reason: "no_response" };
const each = (codes: readonly number[], result: Result): [string, Result][] =>
  codes.map((code) => [String(code), result]);

/** What a code says became of the payment (developer.bka.sh, "Error Codes"). */
const results: ReadonlyMap<string, Result> = new Map([
  // The app key, or what we sent: amount, currency, intent, body, invoice, reference, callback, mode, a missing field.
  ...each([2001, 2006, 2007, 2008, 2025, 2031, 2048, 2049, 2055, 2063, 2064, 2065, 2067], failed("provider_error")),
  // No customer's wallet, a wrong code, a duplicate within minutes, or an account that may not pay or be paid.
  ...each([2009, 2010, 2016, 2029, 2037, 2038, 2039, 2040, 2041, 2044, 2045, 2057, 2058], failed("declined")),
  ...each([2013, 2017, 2059], failed("limit")),
  ...each([2011, 2014, 2015, 2043], failed("wrong_pin")),
  ...each([2018, 2019], noResponse),
  ...each([2023], failed("insufficient_funds")),
  // To be believed only once a query has found no money.
  ...each([2003], failed("provider_error")),
  ...each([2069], failed("cancelled")),
]);

/**
 * Codes that leave open whether the money moves or has moved: exceptions (2003, 2020, 2024), what is not finished yet
 * (2054, 2060), whatever was completed, executed or cancelled before (2056, 2062, 2068, 2069, 2116, 2117, 2119),
 * maintenance (503), and 9999, which is missing in the registry and observed by integrators.
 */
const doubtful: ReadonlySet<string> = new Set(
  [2003, 2020, 2024, 2054, 2056, 2060, 2062, 2068, 2069, 2116, 2117, 2119, 503, 9999].map(String),
);

/** Visible ASCII, as all of bKash's identifiers are: anything else could not be theirs, nor be stored safely. */
const identifier = z.string().regex(/^[\x21-\x7e]{1,128}$/);

/** Strings in the documentation; numbers are taken too. */
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

/** An error has an `errorCode` instead, whatever is in it. */
const success = z.object({ statusCode: z.literal(successful), errorCode: z.null().optional() });

const acceptance = z.object({ paymentID: identifier, bkashURL: z.url({ protocol: /^https?$/ }).max(2_048) });

/** There or not, of whatever type. */
const anything = z.unknown().optional();

/**
 * How a payment stands, as Execute and the query tell it. Execute calls our invoice `merchantInvoiceNumber`, recorded
 * query replies call it `merchantInvoice`, and replies to Execute without an invoice, currency or paymentID occur. So
 * none of them is needed, and those that are there are compared.
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

/** "Timeout of 30 Seconds Exceeded While Executing Payment, Please Query the Payment": whatever code comes with it. */
const timedOut = z.object({ statusMessage: z.string().regex(/query the payment|timeout of \d+ seconds/i) });

/** The code of any reply; undefined for the gateway's own messages and whatever else has none. */
function codeOf(body: unknown): string | undefined {
  const { statusCode, errorCode } = envelope.safeParse(body).data ?? {};
  return errorCode ?? statusCode;
}

/** The gateway says that the access token is not good (any more): whatever was asked never came to bKash itself. */
export const isTokenRefused = ({ status }: Answer): boolean => status === 401;

/** The gateway's own error, without a code of bKash's. */
const gatewayError = z.object({ message: z.string() });

/** Accepted, surely refused (`Declined`), or unknown: any other error. */
export function readAcceptance(answer: Answer): Initiated {
  const { status, body } = answer;
  const given = codeOf(body);
  const accepted = acceptance.safeParse(body).data;
  if (status === 200 && success.safeParse(body).success && accepted) {
    return { reference: accepted.paymentID, redirectUrl: accepted.bkashURL };
  }
  const saysNo = status < 500 && given !== undefined && given !== successful && !doubtful.has(given);
  if (saysNo || isRefused(answer, gatewayError.safeParse(body).success)) {
    const reason = results.get(given ?? "")?.reason ?? "provider_error";
    throw new Declined(reason, `bKash refused the payment: ${given ?? "no code"} (HTTP ${status})`);
  }
  throw new Error(`bKash's answer to the payment tells nothing (HTTP ${status})`);
}

/** What executing told. Where it is not sure, `outcome` is what to believe if a query then finds no money. */
export interface Execution {
  isSure: boolean;
  outcome?: Outcome;
}

/** Without an answer nothing is sure. */
export function readExecution(answer: Answer | undefined, payment: Payment): Execution {
  if (!answer || answer.status >= 500 || timedOut.safeParse(answer.body).success) return { isSure: false };
  const found = readState(answer, payment);
  if (found?.status === "succeeded") return { isSure: true, outcome: { ...found, source: "reply" } };
  const given = codeOf(answer.body) ?? "";
  const result = results.get(given);
  return {
    isSure: result !== undefined && !doubtful.has(given),
    ...(result && { outcome: { ...result, source: "reply" } }),
  };
}

/**
 * What a query tells. A code other than success is about the query, or too vague to end a payment: 2002 and 2033 (not
 * found) are given shortly after creation too. Throws `Throttled`, or `HubError` `provider_unavailable` when bKash did
 * not answer the question.
 */
export function readQuery(answer: Answer, payment: Payment): Outcome | undefined {
  if (codeOf(requireAnswer("bKash", answer)) === undefined) {
    throw new HubError("provider_unavailable", `bKash could not be asked (HTTP ${answer.status})`);
  }
  const found = readState(answer, payment);
  return found && { ...found, source: "query" };
}

/** Of other states than these nothing is documented, so they teach nothing. `Authorized` is not paid yet. */
const openStates: ReadonlySet<string> = new Set(["Initiated", "Authorized"]);

/** Undefined unless bKash says how this very payment stands. */
function readState({ status, body }: Answer, payment: Payment): Omit<Outcome, "source"> | undefined {
  const found = state.safeParse(body).data;
  if (status !== 200 || !success.safeParse(body).success || !found || !isAbout(found, payment)) return undefined;
  if (found.transactionStatus === "Completed") return { status: "succeeded", ...paid(found) };
  return openStates.has(found.transactionStatus) ? { status: "processing" } : undefined;
}

function isAbout(found: State, { id, reference }: Payment): boolean {
  const says = (given: unknown, ours: string | undefined): boolean => given === "" || (given ?? ours) === ours;
  return says(found.paymentID, reference) && says(found.merchantInvoiceNumber, id) && says(found.merchantInvoice, id);
}

/** What a success states. There is no other currency at bKash; one that is named all the same is compared. */
const paid = ({ trxID, amount, currency }: State): Omit<Outcome, "status" | "source"> => ({
  ...(trxID !== undefined && { receipt: trxID }),
  ...readMoney(amount, currency, "BDT"),
});
