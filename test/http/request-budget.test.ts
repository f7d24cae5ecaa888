/** Whose budget a request uses up: at a bare budget, and at a node. */
import { beforeAll, describe, expect, it } from "vitest";
import type { Caller } from "../../server/auth/access.ts";
import { createRequestBudget } from "../../server/http/request-budget.ts";
import { createMemoryCounter } from "../../server/rate-limit.ts";
import { createDatabase } from "../support/database.ts";
import { apiKey, asMerchant, call, pay, startNode } from "../support/node.ts";

const strangers = "203.0.113.1";

describe("a budget of two a minute", () => {
  /** Takes so many as this caller does, and says which were let in. */
  const start = () => {
    let caller: Caller = { role: "anonymous" };
    const budget = createRequestBudget(createMemoryCounter(), {
      access: { callerOf: async () => caller },
      perMinute: 2,
    });
    const isIn = (taken: Promise<unknown>): Promise<boolean> =>
      taken.then(
        () => true,
        () => false,
      );
    return {
      take: (as: Caller, address = strangers) => {
        caller = as;
        return isIn(budget.take({ headers: {} }, address));
      },
      takeCheap: (as: Caller) => {
        caller = as;
        return isIn(budget.take({ headers: {} }, strangers, true));
      },
    };
  };
  const stranger: Caller = { role: "anonymous" };
  const payer: Caller = { role: "payer", id: "0199f2c4-0000-7000-8000-000000000001" };
  const other: Caller = { role: "payer", id: "0199f2c4-0000-7000-8000-000000000002" };
  const merchant: Caller = { role: "merchant", id: "0" };

  it("is an address's for strangers", async () => {
    const { take } = start();
    expect([await take(stranger), await take(stranger), await take(stranger)]).toEqual([true, true, false]);
    expect(await take(stranger, "203.0.113.2")).toBe(true);
  });

  it("is an order's for payers, whatever strangers do at their address, and wherever the payers are", async () => {
    const { take } = start();
    for (let asked = 0; asked < 3; asked += 1) await take(stranger);
    expect([await take(payer), await take(payer, "203.0.113.2"), await take(payer)]).toEqual([true, true, false]);
    expect(await take(other)).toBe(true);
  });

  it("that one payer has used up leaves other payers of the address theirs", async () => {
    const { take } = start();
    for (let asked = 0; asked < 100; asked += 1) await take(payer);
    expect([await take(other), await take(other)]).toEqual([true, true]);
  });

  it("is far more for an API key, and apart from everybody else's", async () => {
    const { take } = start();
    for (let asked = 0; asked < 3; asked += 1) await take(stranger);
    for (let asked = 0; asked < 1_000; asked += 1) expect(await take(merchant)).toBe(true);
  });

  it("is ten times as much for what costs next to nothing, and apart, but for a merchant's", async () => {
    const { take, takeCheap } = start();
    for (let asked = 0; asked < 3; asked += 1) await take(stranger);
    for (let asked = 0; asked < 20; asked += 1) expect(await takeCheap(stranger)).toBe(true);
    expect([await takeCheap(stranger), await takeCheap(merchant)]).toEqual([false, true]);
  });

  it("is ten times as much for all payers of an address, however many tokens they have", async () => {
    const { take } = start();
    for (let payers = 0; payers < 20; payers += 1) expect(await take({ ...payer, id: String(payers) })).toBe(true);
    expect(await take(other)).toBe(false);
    expect(await take(other, "203.0.113.2")).toBe(true);
  });
});

describe("at a node that allows an address two requests a minute", () => {
  let databaseUrl: string;
  beforeAll(async () => {
    const database = await createDatabase();
    databaseUrl = database.url;
    return database.drop;
  });

  it("a backend starts payments and payers watch, while strangers behind the same address are refused", async () => {
    const node = await startNode({ databaseUrl, env: { LIMIT_IP: "2" } });
    const asStranger = async (): Promise<number> => (await call(`${node.url}/v1/orders`)).status;
    expect([await asStranger(), await asStranger(), await asStranger()]).toEqual([401, 401, 429]);
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
