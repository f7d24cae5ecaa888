/** The lists of orders and payments for the merchant: filters as people write them, and refusals that name the field. */
import { describe, expect, it } from "vitest";
import { useDatabase } from "../support/database.ts";
import { asMerchant, call, pay, startNode, type TestNode } from "../support/node.ts";
import { nextOrderId } from "../support/store.ts";

const file = useDatabase();

const start = (): Promise<TestNode> =>
  startNode({ databaseUrl: file.url, env: { SANDBOX: "daraja,zenopay,mtn,bkash" } });

const orderIdsOf = async (node: TestNode, query: string): Promise<string[]> => {
  const { status, body } = await asMerchant(node, query);
  expect([query, status]).toEqual([query, 200]);
  return body.data.map(({ orderId }) => orderId);
};

/** What the problem says of each wrong field. */
const refusalOf = async (node: TestNode, query: string): Promise<unknown> => {
  const { status, body } = await asMerchant(node, query);
  return [status, body.code, body.errors?.map(({ path }) => path)];
};

describe.each(["/v1/orders", "/v1/payments"])("GET %s", (path) => {
  it.each([
    "+254712341234",
    "254712341234",
    "0712341234",
    "%2B254%20712%20341%20234",
    "0712-341-234",
    "+254 (0) 712 341 234",
    "00254712341234",
    "%E2%80%AA%2B254%20712%E2%80%AF341234%E2%80%AC",
    "%DB%B0%DB%B7%DB%B1%DB%B2%DB%B3%DB%B4%DB%B1%DB%B2%DB%B3%DB%B4",
  ])("finds the phone %s", async (phone) => {
    const node = await start();
    const orderId = nextOrderId();
    await pay(node, { orderId, phone: "+254712341234" });
    await pay(node, { phone: "+254712341235" });
    const found = await orderIdsOf(node, `${path}?phone=${phone}&limit=1`);
    expect(found).toEqual([orderId]);
  });

  it("finds a local number in each country of the providers", async () => {
    const node = await start();
    const kenyan = (await pay(node, { phone: "+254754341234" })).order.orderId;
    const tanzanian = (
      await pay(node, { phone: "+255754341234", provider: "zenopay", currency: "TZS", amountMinor: 150_000 })
    ).order.orderId;
    expect(await orderIdsOf(node, `${path}?phone=0754341234&limit=2`)).toEqual([tanzanian, kenyan]);
    expect(await orderIdsOf(node, `${path}?phone=%2B255754341234&limit=1`)).toEqual([tanzanian]);
  });

  it.each([
    ["phone=twelve", "phone_invalid", ["phone"]],
    ["phone=", "phone_invalid", ["phone"]],
    [`phone=${"1".repeat(65)}`, "phone_invalid", ["phone"]],
    ["reason=none", "body_invalid", ["reason"]],
    ["status=paid", "body_invalid", ["status"]],
    ["paidFrom=yesterday", "body_invalid", ["paidFrom"]],
    ["paidFrom=2026-11-20T00:00:00Z&paidTo=2026-11-19T00:00:00Z", "body_invalid", ["paidTo"]],
    ["from=2026-11-20T00:00:00Z&to=2026-11-19T00:00:00Z", "body_invalid", ["to"]],
    ["receipt=%00", "body_invalid", ["receipt"]],
    ["limit=201", "body_invalid", ["limit"]],
    ["cursor=x", "body_invalid", ["cursor"]],
    ["cursor=WyJub3ciLCJ4Il0", "body_invalid", ["cursor"]],
    ["colour=red&reason=none", "body_invalid", ["reason", "colour"]],
    ["receipt=a&receipt=b", "body_invalid", ["receipt"]],
  ])("refuses %s, naming the field", async (query, code, fields) => {
    const node = await start();
    expect(await refusalOf(node, `${path}?${query}`)).toEqual([400, code, fields]);
  });

  it("is refused without an API key", async () => {
    const node = await start();
    const { watchToken } = await pay(node);
    for (const headers of [{}, { authorization: `Bearer ${watchToken}` }] as Record<string, string>[]) {
      expect((await call(`${node.url}${path}`, { headers })).body).toMatchObject({ code: "key_invalid" });
    }
  });
});

describe("GET /v1/orders", () => {
  it("refuses needsAttention=false, and what only payments have", async () => {
    const node = await start();
    expect(await refusalOf(node, "/v1/orders?needsAttention=false")).toEqual([400, "body_invalid", ["needsAttention"]]);
    expect(await refusalOf(node, "/v1/orders?reference=1")).toEqual([400, "body_invalid", ["reference"]]);
  });

  it("finds the customer by id and by email address", async () => {
    const node = await start();
    const { order } = await pay(node, { customer: { id: "C 417/ü", email: "Asha@Example.com" } });
    await pay(node, { customer: { id: "C 418", email: "other@example.com" } });
    for (const customer of ["C 417/ü", "asha@example.com"]) {
      expect(await orderIdsOf(node, `/v1/orders?customer=${encodeURIComponent(customer)}`)).toEqual([order.orderId]);
    }
    expect(await orderIdsOf(node, "/v1/orders?customer=%25")).toEqual([]);
  });
});

describe("GET /v1/payments", () => {
  it("lists the payment as its order has it, with a masked phone", async () => {
    const node = await start();
    const { order } = await pay(node, { phone: "+254712345601" });
    await asMerchant(node, `/v1/orders/${order.orderId}/wait`);
    const { payments } = (await asMerchant(node, `/v1/orders/${order.orderId}`)).body;
    const { data, nextCursor } = (await asMerchant(node, `/v1/payments?orderId=${order.orderId}`)).body;
    expect(data).toEqual([{ ...payments[0], orderId: order.orderId, amountMinor: 15_000, currency: "KES" }]);
    expect(data[0]).toMatchObject({ phone: "+2547*****601", status: "succeeded", paidAt: expect.any(String) });
    expect(nextCursor).toBeNull();
  });

  it("refuses an order id that no order can have, and finds nothing for an unknown one", async () => {
    const node = await start();
    expect(await refusalOf(node, "/v1/payments?orderId=%23")).toEqual([400, "body_invalid", ["orderId"]]);
    expect(await refusalOf(node, "/v1/payments?customer=1")).toEqual([400, "body_invalid", ["customer"]]);
    expect(await orderIdsOf(node, `/v1/payments?orderId=${nextOrderId()}`)).toEqual([]);
  });
});
