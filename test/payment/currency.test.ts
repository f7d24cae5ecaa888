/** The refusal of a currency that the provider does not take. */
import { beforeAll, describe, expect, it } from "vitest";
import { createDatabase } from "../support/database.ts";
import { asMerchant, paymentBody, startNode } from "../support/node.ts";

let databaseUrl: string;
beforeAll(async () => {
  const database = await createDatabase();
  databaseUrl = database.url;
  return database.drop;
});

describe("refusal of a currency", () => {
  it.each([
    ["zenopay", "currency: Mobile money (ZenoPay) takes TZS"],
    ["daraja", "currency: M-Pesa takes KES"],
  ])("names the provider %s", async (provider, detail) => {
    const node = await startNode({ databaseUrl });
    const { status, body } = await asMerchant(node, "/v1/payments", paymentBody({ provider, currency: "EUR" }));
    expect([status, body.code, body.detail]).toEqual([400, "currency_invalid", detail]);
  });
});
