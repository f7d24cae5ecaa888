/** What M-Pesa in Kenya says, whichever company passes it on: result codes, and the phones that it can prompt. */
import type { Outcome, Reason } from "../order/order.ts";

/** How a payment ended without money. */
export type Result = Pick<Outcome, "status"> & { reason: Reason };

export const failed = (reason: Reason): Result => ({ status: "failed", reason });
const noResponse: Result = { status: "expired", reason: "no_response" };

/**
 * Result codes of webhook and query. Safaricom portal, M-Pesa Express, "Result Codes"; 26, 1001 and 9999 are
 * missing there and reported by integrators.
 */
export const results: ReadonlyMap<string, Result> = new Map([
  ["1", failed("insufficient_funds")],
  ["2", failed("limit")],
  ["3", failed("limit")],
  ["4", failed("limit")],
  ["8", failed("limit")],
  ["17", failed("limit")],
  ["26", failed("provider_error")],
  ["1001", failed("busy")],
  ["1019", noResponse],
  ["1025", failed("provider_error")],
  ["1032", failed("cancelled")],
  ["1037", noResponse],
  ["2001", failed("wrong_pin")],
  ["2028", failed("provider_error")],
  ["8006", failed("wrong_pin")],
  ["9999", failed("provider_error")],
  ["SFC_IC0003", failed("provider_error")],
]);

/** The payer is still being asked. Not in the portal's table; observed in the first seconds after a push. */
export const stillOpen = "4999";

/** Reported while a payment was not decided yet; what it means is not documented. */
export const undecided = "2029";

/** In E.164. Safaricom portal, M-Pesa Express, documents 2547…; numbers beginning 2541 are reported by integrators. */
export const mpesaPhone = /^\+254(7|1)\d{8}$/;
