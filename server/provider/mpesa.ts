/**
 * M-Pesa as all its providers share it: the limits of a payment and the meaning of result codes. Providers that resell it
 * pass the codes through.
 */
import { z } from "zod";
import type { Reason } from "../order/order.ts";
import type { Limits } from "./provider.ts";

/** Safaricom portal, M-Pesa Express: from KES 1 to 250,000, in whole shillings, from a Kenyan mobile phone. */
export const mpesaLimits = {
  minMinor: 100n,
  maxMinor: 25_000_000n,
  stepMinor: 100n,
  phone: /^\+254(7|1)\d{8}$/,
} as const satisfies Limits;

/** Visible ASCII, as all identifiers around M-Pesa are: anything else could not be one, nor be stored safely. */
export const identifier = z.string().regex(/^[\x21-\x7e]{1,128}$/);

/** A number in webhooks, a string in queries, and sometimes letters (Safaricom portal, M-Pesa Express and its Query). */
export const resultCode = z.union([z.string().min(1), z.number()]).transform(String);

/** How a payment ended without money. */
export interface MpesaFailure {
  status: "failed" | "expired";
  reason: Reason;
}

const failed = (reason: Reason): MpesaFailure => ({ status: "failed", reason });
const noResponse: MpesaFailure = { status: "expired", reason: "no_response" };

/**
 * The result codes that are known to say so. Safaricom portal, M-Pesa Express, "Result Codes"; 26, 1001 and 9999 are
 * missing there and reported by integrators, 1031 ("Request cancelled by user") and 1036 ("SMSC ACK timeout": no answer
 * of the phone in time) are recorded. 11, 2006 and 2040 are of Safaricom's other result tables: an account that is not
 * active, or not registered.
 */
export const mpesaFailures: ReadonlyMap<string, MpesaFailure> = new Map([
  ["1", failed("insufficient_funds")],
  ["2", failed("limit")],
  ["3", failed("limit")],
  ["4", failed("limit")],
  ["8", failed("limit")],
  ["11", failed("declined")],
  ["17", failed("limit")],
  ["26", failed("provider_error")],
  ["1001", failed("busy")],
  ["1019", noResponse],
  ["1025", failed("provider_error")],
  ["1031", failed("cancelled")],
  ["1032", failed("cancelled")],
  ["1036", noResponse],
  ["1037", noResponse],
  ["2001", failed("wrong_pin")],
  ["2006", failed("declined")],
  ["2028", failed("provider_error")],
  ["2040", failed("declined")],
  ["8006", failed("wrong_pin")],
  ["9999", failed("provider_error")],
  ["SFC_IC0003", failed("provider_error")],
]);

/** The payer is still being asked. Not in the portal's table; observed in the first seconds after a push. */
export const stillOpen = "4999";

/** Reported while a payment was not decided yet; what it means is not documented. */
const undecided = "2029";

/**
 * What the code of a webhook decides; undefined for those that decide nothing. M-Pesa sends one only when it is over, so
 * a code that nobody knows is a failure there. In a query it would not be.
 */
export function decide(code: string): "succeeded" | MpesaFailure | undefined {
  if (code === "0") return "succeeded";
  if (code === stillOpen || code === undecided) return undefined;
  return mpesaFailures.get(code) ?? failed("provider_error");
}
