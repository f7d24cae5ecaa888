/**
 * Whose budget a request uses up. A backend's calls count for its API key and a payer's for their order, for many payers
 * share the address of their carrier; whoever shows neither counts for the address that they come from.
 */
import type { Standing } from "./flow.ts";
import { addressKey, type Counter, createLimit } from "./limit.ts";
import type { Access, Bearing } from "./order/access.ts";

/** A key is the merchant's own: this bounds a loop gone wild, not a busy day. */
const perKeyAndMinute = 60_000;

export interface RequestBudget {
  /** Counts a request, and returns who makes it. Throws `rate_limited`. */
  take(request: Bearing, address: string): Promise<Standing>;
  /** Counts a request for a file, of which a page needs several, whoever asks. Throws `rate_limited`. */
  takeFile(address: string): Promise<void>;
}

/** So many files may be asked for as other things. */
const filesFactor = 10;

/** `perMinute`: requests of an address, and of an order. */
export function createRequestBudget(
  counter: Counter,
  { access, perMinute }: { access: Pick<Access, "callerOf">; perMinute: number },
): RequestBudget {
  const windowMs = 60_000;
  const addresses = createLimit(counter, { what: "address", max: perMinute, windowMs });
  const orders = createLimit(counter, { what: "watch token", max: perMinute, windowMs });
  const files = createLimit(counter, { what: "address's files", max: filesFactor * perMinute, windowMs });
  const keys = createLimit(counter, { what: "API key", max: Math.max(perMinute, perKeyAndMinute), windowMs });

  return {
    async take(request, address) {
      const caller = await access.callerOf(request);
      if (caller.standing === "merchant") await keys.take(caller.id);
      else if (caller.standing === "payer") await orders.take(caller.id);
      else await addresses.take(addressKey(address));
      return caller.standing;
    },
    takeFile: (address) => files.take(addressKey(address)),
  };
}
