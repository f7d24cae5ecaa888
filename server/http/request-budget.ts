/**
 * Whose budget a request uses up. A backend's calls count for its API key and a payer's for their order, for many payers
 * share the address of their carrier; whoever shows neither counts for the address that they come from.
 */

import type { Access, Bearing, Role } from "../auth/access.ts";
import { addressKey, type Counter, createLimit } from "../rate-limit.ts";

/** A key is the merchant's own: this bounds a loop gone wild, not a busy day. */
const perKeyAndMinute = 60_000;

/** So many times as much is allowed an address of what costs next to nothing, and of payers with their tokens. */
const wideFactor = 10;

export interface RequestBudget {
  /** Counts a request, and returns who makes it. `isCheap`: it costs next to nothing. Throws `rate_limited`. */
  take(request: Bearing, address: string, isCheap?: boolean): Promise<Role>;
}

/** `perMinute`: requests of an address, and of an order. */
export function createRequestBudget(
  counter: Counter,
  { access, perMinute }: { access: Pick<Access, "callerOf">; perMinute: number },
): RequestBudget {
  const windowMs = 60_000;
  const limit = (what: string, max: number) => createLimit(counter, { what, max, windowMs });
  const addresses = limit("address", perMinute);
  const cheap = limit("address's files", wideFactor * perMinute);
  const crowds = limit("address's payers", wideFactor * perMinute);
  const orders = limit("watch token", perMinute);
  const keys = limit("API key", Math.max(perMinute, perKeyAndMinute));

  return {
    async take(request, address, isCheap = false) {
      const caller = await access.callerOf(request);
      if (caller.role === "merchant") await keys.take(caller.id);
      else if (isCheap) await cheap.take(addressKey(address));
      else if (caller.role === "payer") {
        // In this order: what one payer has too much of is not taken from all payers of the address.
        await orders.take(caller.id);
        await crowds.take(addressKey(address));
      } else await addresses.take(addressKey(address));
      return caller.role;
    },
  };
}
