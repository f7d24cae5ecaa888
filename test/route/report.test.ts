/** `GET /v1/reports/summary`: money by the time at which it moved. */
import { beforeAll, describe, expect, it } from "vitest";
import { createReview } from "../../server/order/review.ts";
import { createOrderStore } from "../../server/order/store.ts";
import type { Summary } from "../../server/route/report.ts";
import { useDatabase } from "../support/database.ts";
import { asMerchant, call, startNode, type TestNode } from "../support/node.ts";
import { draftOf, failed, paid } from "../support/store.ts";

const file = useDatabase();

/** Opens a payment and pays it at a time. Returns its order. */
async function payAt(
  at: string,
  { draft = {}, outcome = {} }: { draft?: object; outcome?: object } = {},
): Promise<{ orderId: string; paymentId: string }> {
  const { database } = file;
  const store = createOrderStore({ database, announce: () => undefined, amountlessProviders: ["daraja"] });
  const { event, payment } = await store.open(draftOf({ live: true, ...draft }));
  if (!payment) throw new Error("nothing was opened");
  await store.advance(payment.id, paid(outcome));
  await database.pool.query("update payment set paid_at = $2 where id = $1", [payment.id, at]);
  return { orderId: event.orderId, paymentId: payment.id };
}

beforeAll(async () => {
  const { database } = file;
  const store = createOrderStore({ database, announce: () => undefined, amountlessProviders: ["daraja"] });
  const review = createReview({ database, store, announce: () => undefined });
  await payAt("2026-11-20T20:59:59.999Z");
  await payAt("2026-11-20T21:00:00.000Z");
  await payAt("2026-11-21T21:00:00.000Z", {
    draft: { provider: "mtn", currency: "UGX", amountMinor: 5_000n },
    outcome: { amountMinor: 5_000n, currency: "UGX" },
  });
  await payAt("2026-11-21T10:00:00.000Z", { draft: { live: false } });
  // Paid in full, by a query that states no amount.
  await payAt("2026-11-21T11:00:00.000Z", { outcome: { amountMinor: undefined, currency: undefined } });
  // Paid twice: first the second attempt.
  const first = await store.open(draftOf({ live: true }));
  await store.advance(first.payment?.id ?? "", failed());
  await payAt("2026-11-22T09:00:00.000Z", { draft: { orderId: first.event.orderId, provider: "zenopay" } });
  await store.advance(first.payment?.id ?? "", paid({ receipt: "TWICE" }));
  await database.pool.query("update payment set paid_at = '2026-11-22T10:00:00Z' where id = $1", [first.payment?.id]);
  // A person has accepted another amount, and money of another currency.
  for (const outcome of [{ amountMinor: 10_000n }, { amountMinor: 700n, currency: "USD" }]) {
    const { orderId, paymentId } = await payAt("2026-11-23T09:00:00.000Z", { draft: { provider: "lipana" }, outcome });
    await review.resolve({ orderId, paymentId, as: "succeeded", note: "accepted" });
  }
  // In review, and rejected: no money is known to have moved.
  await payAt("2026-11-23T09:00:00.000Z", { outcome: { amountMinor: 1n } });
  const rejected = await payAt("2026-11-23T09:00:00.000Z", { outcome: { amountMinor: 2n } });
  await review.resolve({ ...rejected, as: "failed", note: "nothing came" });
  // Days on which clocks change in Berlin: 23 and 25 hours.
  for (const at of ["2026-03-28T22:59:59Z", "2026-03-28T23:00:00Z", "2026-03-29T21:59:59Z", "2026-03-29T22:00:00Z"])
    await payAt(at);
  for (const at of ["2026-10-24T22:00:00Z", "2026-10-25T22:59:59Z", "2026-10-25T23:00:00Z"]) await payAt(at);
});

let node: TestNode | undefined;
const summaryOf = async (query: string): Promise<Summary> => {
  node ??= await startNode({ databaseUrl: file.url });
  const { status, body } = await asMerchant(node, `/v1/reports/summary?${query}`);
  expect([query, status]).toEqual([query, 200]);
  node = undefined;
  return body as unknown as Summary;
};

const kes = (payments: number, amountMinor: number, more: object = {}) => ({
  currency: "KES",
  live: true,
  payments,
  amountMinor,
  unknownAmounts: 0,
  ...more,
});

describe("the summary", () => {
  it("counts each payment on its day in the time zone, also the second one of an order, and adds no currencies together", async () => {
    const nairobi = await summaryOf("from=2026-11-20&to=2026-11-25&by=day&timeZone=Africa/Nairobi");
    expect(nairobi).toEqual({
      from: "2026-11-19T21:00:00.000Z",
      to: "2026-11-24T21:00:00.000Z",
      by: "day",
      timeZone: "Africa/Nairobi",
      data: [
        { day: "2026-11-20", ...kes(1, 15_000) },
        { day: "2026-11-21", ...kes(2, 30_000) },
        { day: "2026-11-21", ...kes(1, 15_000, { live: false }) },
        { day: "2026-11-22", ...kes(2, 30_000) },
        { day: "2026-11-22", ...kes(1, 5_000, { currency: "UGX" }) },
        { day: "2026-11-23", ...kes(2, 10_000, { unknownAmounts: 1 }) },
      ],
    });
    const utc = await summaryOf("from=2026-11-20T00:00:00Z&to=2026-11-21T00:00:00Z");
    expect(utc.data).toEqual([{ day: "2026-11-20", ...kes(2, 30_000) }]);
  });

  it.each([
    ["2026-03-28", "2026-03-31", { "2026-03-28": 1, "2026-03-29": 2, "2026-03-30": 1 }],
    ["2026-10-25", "2026-10-27", { "2026-10-25": 2, "2026-10-26": 1 }],
  ])("has days of 23 and 25 hours where clocks change (%s)", async (from, to, expected) => {
    const { data } = await summaryOf(`from=${from}&to=${to}&timeZone=Europe/Berlin`);
    expect(Object.fromEntries(data.map(({ day, payments }) => [day, payments]))).toEqual(expected);
  });

  it("groups by provider, currency and reason, in parts of a week", async () => {
    const range = "from=2026-01-01&to=2026-12-31";
    const rows = async (by: string) => (await summaryOf(`${range}&by=${by}`)).data;
    expect(await rows("provider")).toEqual([
      { provider: "daraja", ...kes(11, 165_000) },
      { provider: "daraja", ...kes(1, 15_000, { live: false }) },
      { provider: "lipana", ...kes(2, 10_000, { unknownAmounts: 1 }) },
      { provider: "mtn", ...kes(1, 5_000, { currency: "UGX" }) },
      { provider: "zenopay", ...kes(1, 15_000) },
    ]);
    expect(await rows("currency")).toEqual([
      kes(14, 190_000, { unknownAmounts: 1 }),
      kes(1, 15_000, { live: false }),
      kes(1, 5_000, { currency: "UGX" }),
    ]);
    const byReason = (await rows("reason")).map(({ reason, payments }) => [reason, payments]);
    expect(byReason).toEqual([
      [null, 11],
      [null, 1],
      [null, 1],
      ["amount_mismatch", 1],
      ["currency_mismatch", 1],
      ["paid_twice", 1],
    ]);
  });

  it("equals the sum of its parts, and the list of payments", async () => {
    const parts = await Promise.all(
      ["from=2026-11-20&to=2026-11-22", "from=2026-11-22&to=2026-11-25"].map((range) =>
        summaryOf(`${range}&by=currency`),
      ),
    );
    const whole = await summaryOf("from=2026-11-20&to=2026-11-25&by=currency");
    const sum = (some: Summary[]) =>
      some.flatMap(({ data }) => data).reduce((total, { payments }) => total + payments, 0);
    expect(sum(parts)).toBe(sum([whole]));
    const listing = await startNode({ databaseUrl: file.url });
    const { data } = (
      await asMerchant(listing, "/v1/payments?paidFrom=2026-11-20T00:00:00Z&paidTo=2026-11-25T00:00:00Z&limit=200")
    ).body;
    expect(data).toHaveLength(sum([whole]));
  });

  it.each([
    ["", ["from"]],
    ["from=x", ["from"]],
    ["from=2026-02-30", ["from"]],
    ["from=2026-11-20&to=2026-11-19", ["to"]],
    ["from=2025-01-01&to=2026-01-03", ["to"]],
    ["from=2026-11-20&by=week", ["by"]],
    ["from=2026-11-20&timeZone=Mars", ["timeZone"]],
    ["from=2026-11-20&currency=KES", ["currency"]],
  ])("refuses %j, naming the field", async (query, fields) => {
    const asked = await startNode({ databaseUrl: file.url });
    const { status, body } = await asMerchant(asked, `/v1/reports/summary?${query}`);
    expect([status, body.code, body.errors?.map(({ path }) => path)]).toEqual([400, "body_invalid", fields]);
    expect((await call(`${asked.url}/v1/reports/summary?${query}`)).body).toMatchObject({ code: "key_invalid" });
  });
});
