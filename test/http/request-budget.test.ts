/** The budget that a request counts against, on its own and in a node. */
import { beforeAll, describe, expect, it } from "vitest";
import type { Caller } from "../../server/auth/access.ts";
import { createRequestBudget } from "../../server/http/request-budget.ts";
import { createMemoryCounter } from "../../server/rate-limit.ts";
import { createDatabase } from "../support/database.ts";
import { apiKey, asMerchant, call, pay, startNode } from "../support/node.ts";

const clientAddress = "203.0.113.1";

describe("a budget of two requests a minute", () => {
  /** A budget whose `take` resolves with whether the request passes. */
  const start = () => {
    let caller: Caller = { role: "anonymous" };
    const budget = createRequestBudget(createMemoryCounter(), {
      access: { callerOf: async () => caller },
      perMinute: 2,
    });
    const passes = (taken: Promise<unknown>): Promise<boolean> =>
      taken.then(
        () => true,
        () => false,
      );
    return {
      take: (as: Caller, address = clientAddress) => {
        caller = as;
        return passes(budget.take({ headers: {} }, address));
      },
      takeCheap: (as: Caller) => {
        caller = as;
        return passes(budget.take({ headers: {} }, clientAddress, true));
      },
    };
  };
  const anonymous: Caller = { role: "anonymous" };
  const payer: Caller = { role: "payer", id: "0199f2c4-0000-7000-8000-000000000001" };
  const other: Caller = { role: "payer", id: "0199f2c4-0000-7000-8000-000000000002" };
  const merchant: Caller = { role: "merchant", id: "0" };

  it("belongs to the address for unauthenticated clients", async () => {
    const { take } = start();
    expect([await take(anonymous), await take(anonymous), await take(anonymous)]).toEqual([true, true, false]);
    expect(await take(anonymous, "203.0.113.2")).toBe(true);
  });

  it("belongs to the order for payers, whatever their address and its other clients do", async () => {
    const { take } = start();
    for (let sent = 0; sent < 3; sent += 1) await take(anonymous);
    expect([await take(payer), await take(payer, "203.0.113.2"), await take(payer)]).toEqual([true, true, false]);
    expect(await take(other)).toBe(true);
  });

  it("leaves other payers of the address their budget when one payer is over its own", async () => {
    const { take } = start();
    for (let sent = 0; sent < 100; sent += 1) await take(payer);
    expect([await take(other), await take(other)]).toEqual([true, true]);
  });

  it("is larger for an API key, and separate from the others", async () => {
    const { take } = start();
    for (let sent = 0; sent < 3; sent += 1) await take(anonymous);
    for (let sent = 0; sent < 1_000; sent += 1) expect(await take(merchant)).toBe(true);
  });

  it("is ten times as large and separate for cheap requests, except with an API key", async () => {
    const { take, takeCheap } = start();
    for (let sent = 0; sent < 3; sent += 1) await take(anonymous);
    for (let sent = 0; sent < 20; sent += 1) expect(await takeCheap(anonymous)).toBe(true);
    expect([await takeCheap(anonymous), await takeCheap(merchant)]).toEqual([false, true]);
  });

  it("is ten times as large for all payers of an address together", async () => {
    const { take } = start();
    for (let payers = 0; payers < 20; payers += 1) expect(await take({ ...payer, id: String(payers) })).toBe(true);
    expect(await take(other)).toBe(false);
    expect(await take(other, "203.0.113.2")).toBe(true);
  });
});

describe("a node that allows an address two requests a minute", () => {
  let databaseUrl: string;
  beforeAll(async () => {
    const database = await createDatabase();
    databaseUrl = database.url;
    return database.drop;
  });

  it("serves a backend and payers while it refuses unauthenticated clients of their address", async () => {
    const node = await startNode({ databaseUrl, env: { LIMIT_IP: "2" } });
    const callUnauthenticated = async (): Promise<number> => (await call(`${node.url}/v1/orders`)).status;
    expect([await callUnauthenticated(), await callUnauthenticated(), await callUnauthenticated()]).toEqual([
      401, 401, 429,
    ]);
    for (let payments = 0; payments < 10; payments += 1) {
      const { order, watchToken } = await pay(node);
      const { status } = await call(`${node.url}/v1/orders/${order.orderId}?token=${watchToken}`);
      expect(status).toBe(200);
    }
    expect((await asMerchant(node, "/v1/orders?limit=1")).status).toBe(200);
    expect((await call(`${node.url}/v1/orders`, { headers: { authorization: `Bearer ${apiKey}x` } })).status).toBe(429);
    expect((await call(`${node.url}/livez`)).status).toBe(200);
  });
});
