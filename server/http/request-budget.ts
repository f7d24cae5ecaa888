/**
 * Chooses the budget that a request counts against. An API key has its own budget and so does each order, because many payers
 * share the address of their carrier. A request without either counts against its address.
 */

import type { FastifyRequest } from "fastify";
import type { Access, Bearing, Role } from "../auth/access.ts";
import { addressKey, type Counter, createLimit } from "../rate-limit.ts";
import type { Guard } from "./connection-guard.ts";

/** 60,000 because a key is the merchant's own: the limit stops a loop in its code, not a busy day. */
const perKeyAndMinute = 60_000;

/** One address may make ten times as many cheap requests, and as many requests with watch tokens. */
const wideFactor = 10;

export interface RequestBudget {
  /** Counts a request and returns the client's role. `isCheap`: the request costs next to nothing. Throws `rate_limited`. */
  take(request: Bearing, address: string, isCheap?: boolean): Promise<Role>;
}

/** `perMinute`: requests of one address, and of one order. */
export function createRequestBudget(
  counter: Counter,
  { access, perMinute }: { access: Pick<Access, "callerOf">; perMinute: number },
): RequestBudget {
  const windowMs = 60_000;
  const limit = (subject: string, max: number) => createLimit(counter, { subject, max, windowMs });
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
        // The order's budget first: a request that it refuses must not count against the other payers of the address.
        await orders.take(caller.id);
        await crowds.take(addressKey(address));
      } else await addresses.take(addressKey(address));
      return caller.role;
    },
  };
}

/** A function that counts a request and allows its connection what the client's role may do. It throws `rate_limited`. */
export const createAdmission =
  (budget: RequestBudget, guard: Pick<Guard, "trust">) =>
  async (request: FastifyRequest): Promise<void> => {
    // A request whose URL cannot be decoded has no route.
    const isCheap = request.routeOptions.config?.isCheap;
    guard.trust(request.raw.socket, await budget.take(request, request.ip, isCheap));
  };
