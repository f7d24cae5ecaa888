/** The deadline of payments in the sandbox, by provider and test number, for the API and for the shop. */
import { beforeAll, describe, expect, it } from "vitest";
import type { StatusEvent } from "../../client-sdk/protocol.ts";
import { createDatabase } from "../support/database.ts";
import { pay, startNode } from "../support/node.ts";
import { buyByApi } from "../support/visit.ts";

let databaseUrl: string;
beforeAll(async () => {
  const database = await createDatabase();
  databaseUrl = database.url;
  return database.drop;
});

const secondsToPay = ({ payment }: StatusEvent): number =>
  (Date.parse(payment.expiresAt) - Date.parse(payment.startedAt)) / 1_000;

const payers = {
  daraja: { currency: "KES", phone: "+2547123456" },
  payhero: { currency: "KES", phone: "+2547123456" },
  lipana: { currency: "KES", phone: "+2547123456" },
  zenopay: { currency: "TZS", phone: "+2557123456", amountMinor: 300_000 },
  bkash: { currency: "BDT", phone: "+88017123456" },
  mtn: { currency: "UGX", phone: "+2567712345" },
} as const;

const endings = ["00", "01", "02", "03", "04", "05", "06", "07", "08", "09", "10", "11", "12", "20", "99"];

describe("deadline in the sandbox", () => {
  it("gives a person the time to answer, unless a test number ends by its deadline", async () => {
    const node = await startNode({ databaseUrl });
    for (const [provider, { phone, ...payer }] of Object.entries(payers)) {
      // ZenoPay does not report that the payer did not answer.
      const byDeadline = ["09", "11", "12", ...(provider === "zenopay" ? ["05"] : [])];
      const given = endings.map(async (ending) => {
        const { order } = await pay(node, { provider, ...payer, phone: phone + ending });
        return [ending, secondsToPay(order)];
      });
      const personS = provider === "bkash" ? 300 : 60;
      const wanted = endings.map((ending) => [ending, byDeadline.includes(ending) ? 10 : personS]);
      expect([provider, ...(await Promise.all(given))]).toEqual([provider, ...wanted]);
    }
  });

  it("is long enough for bKash's page if the payment has no phone", async () => {
    const node = await startNode({ databaseUrl });
    const { order } = await pay(node, { provider: "bkash", currency: "BDT", phone: undefined });
    expect(secondsToPay(order)).toBe(300);
  });

  it("is the same for the demo shop", async () => {
    const node = await startNode({ databaseUrl });
    const seconds = async (wish: { provider: string; phone?: string }) =>
      secondsToPay((await buyByApi(node, wish)).order);
    expect(await seconds({ provider: "daraja", phone: "0712 345 6-99" })).toBe(60);
    expect(await seconds({ provider: "daraja", phone: "0712345601" })).toBe(60);
    expect(await seconds({ provider: "daraja", phone: "0712345612" })).toBe(10);
    expect(await seconds({ provider: "bkash" })).toBe(300);
  });

  it("is the configured one for every number, if one is configured", async () => {
    const node = await startNode({ databaseUrl, env: { DARAJA_DEADLINE_S: "25" } });
    for (const ending of ["00", "01", "09", "12"]) {
      const { order } = await pay(node, { phone: `+2547123456${ending}` });
      expect(secondsToPay(order)).toBe(25);
    }
  });
});
