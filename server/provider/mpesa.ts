/**
 * M-Pesa facts that several providers share: the limits of a payment and the meaning of result codes. Providers that resell
 * M-Pesa pass its codes through.
 */
import { z } from "zod";
import type { Reason } from "../order/order.ts";
import type { Limits } from "./provider.ts";

/** KES 1 to 250,000 in whole shillings, from a Kenyan mobile phone (Safaricom portal, "M-Pesa Express"). */
export const mpesaLimits = {
  minMinor: 100n,
  maxMinor: 25_000_000n,
  stepMinor: 100n,
  phone: /^\+254(7|1)\d{8}$/,
} as const satisfies Limits;

/** Visible ASCII, like every M-Pesa identifier seen so far. Other text is not an identifier, and not safe to store. */
export const identifier = z.string().regex(/^[\x21-\x7e]{1,128}$/);

/** A number in webhooks, a string in queries, sometimes with letters (Safaricom portal, "M-Pesa Express" and "… Query"). */
export const resultCode = z.union([z.string().min(1), z.number()]).transform(String);

/** The end of a payment without money. */
export interface MpesaFailure {
  status: "failed" | "expired";
  reason: Reason;
}

const failed = (reason: Reason): MpesaFailure => ({ status: "failed", reason });
const noResponse: MpesaFailure = { status: "expired", reason: "no_response" };

/**
 * The result codes of payments without money (Safaricom portal, "M-Pesa Express", "Result Codes"). The table there lacks
 * some: integrators report 26, 1001 and 9999; 1031 ("Request cancelled by user") and 1036 ("SMSC ACK timeout", no answer
 * from the phone in time) occur in recorded traffic. 11, 2006 and 2040 are from Safaricom's other result tables, and mean
 * an inactive or unregistered account.
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

/** The prompt is still open. Not in the portal's table; integrators observe it in the first seconds after a push. */
export const stillOpen = "4999";

/** Integrators report it for payments that were not decided yet. Its meaning is not documented. */
const undecided = "2029";

/**
 * The outcome that a webhook's code means; undefined for a code without one. M-Pesa sends a webhook only when the payment
 * is over, so an unknown code is a failure in a webhook. In a query it is not.
 */
export function readResultCode(code: string): "succeeded" | MpesaFailure | undefined {
  if (code === "0") return "succeeded";
  if (code === stillOpen || code === undecided) return undefined;
  return mpesaFailures.get(code) ?? failed("provider_error");
}
