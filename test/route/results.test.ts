/** Giving a paid order results over HTTP, and removing them. */
import { beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { StatusEvent } from "../../client-sdk/protocol.ts";
import { createDatabase } from "../support/database.ts";
import { type Answer, apiKey, asMerchant, call, pay, startNode, type TestNode } from "../support/node.ts";
import { type ScriptedDaraja, startScriptedDaraja } from "../support/scripted-daraja.ts";

let databaseUrl: string;
beforeAll(async () => {
  const database = await createDatabase();
  databaseUrl = database.url;
  return database.drop;
});

let daraja: ScriptedDaraja;
let node: TestNode;
beforeEach(async () => {
  daraja = await startScriptedDaraja();
  node = await startNode({ databaseUrl, env: daraja.env });
});

interface Opened {
  orderId: string;
  token: string;
}

async function openOrder(): Promise<Opened & { settle(callback?: object): Promise<unknown> }> {
  const { order, watchToken: token } = await pay(node);
  const push = await daraja.nextPush();
  push.accept();
  return { orderId: order.orderId, token, settle: push.webhook };
}

/** An order that is paid: version 3, or 2 if the webhook was faster than the reply. */
async function openPaid(): Promise<Opened & { order: StatusEvent }> {
  const { settle, ...opened } = await openOrder();
  await settle();
  const { order } = (await asMerchant(node, `/v1/orders/${opened.orderId}`)).body;
  expect(order.status).toBe("succeeded");
  return { ...opened, order };
}

const ticket = { id: "seat-A1", kind: "ticket", title: "Seat A1", code: "TUK-7F3A" } as const;

const put = (orderId: string, result: unknown, at = node): Promise<Answer> =>
  asMerchant(at, `/v1/orders/${orderId}/results`, result);

const remove = (orderId: string, id: string, headers: Record<string, string> = {}): Promise<Answer> =>
  call(`${node.url}/v1/orders/${orderId}/results/${id}`, {
    method: "DELETE",
    headers: { authorization: `Bearer ${apiKey}`, ...headers },
  });

const fieldsOf = ({ body }: Answer): unknown => body.errors?.map(({ path }) => path);

describe("POST /v1/orders/:orderId/results", () => {
  it("answers 201 for a new and for a changed result, and 200 for an identical one", async () => {
    const { orderId, order } = await openPaid();
    const added = await put(orderId, ticket);
    expect(added.status).toBe(201);
    expect(Object.keys(added.body)).toEqual(["order"]);
    expect(added.body.order).toMatchObject({ version: order.version + 1, status: "succeeded", results: [ticket] });
    const again = await put(orderId, { ...ticket });
    expect([again.status, again.body]).toEqual([200, added.body]);
    const changed = await put(orderId, { ...ticket, code: "TUK-0000" });
    expect(changed.status).toBe(201);
    expect(changed.body.order).toMatchObject({
      version: order.version + 2,
      results: [{ ...ticket, code: "TUK-0000" }],
    });
    const { events, order: current } = (await asMerchant(node, `/v1/orders/${orderId}`)).body;
    expect(current).toEqual(changed.body.order);
    expect(events.slice(-2).map(({ source }) => source)).toEqual(["merchant", "merchant"]);
    const list = (await asMerchant(node, "/v1/orders?limit=200")).body.data;
    expect(list.find((one) => one.orderId === orderId)).toEqual(current);
  });

  it.each([
    { id: "one", kind: "voucher", title: "Airtime", code: "4821 9930" },
    { ...ticket, url: "https://shop.example/t/1", text: "Gate 2" },
    { id: "link", kind: "link", title: "Your book", url: "https://shop.example/books/7f3a?x=%C3%A9#part" },
    { id: "text", kind: "text", title: "Collect it", text: "Counter 3\nuntil 18:00" },
    { id: "a.B_c:d-9", kind: "text", title: "টিকিট", text: "🎟️" },
  ])("accepts $kind $id", async (result) => {
    const { orderId } = await openPaid();
    const answer = await put(orderId, result);
    expect([answer.status, answer.body.order.results]).toEqual([201, [result]]);
  });

  it("returns a time in UTC, whatever its offset, and takes the same time as no change", async () => {
    const { orderId } = await openPaid();
    const first = await put(orderId, { ...ticket, expiresAt: "2026-12-01T12:00:00+03:00" });
    expect(first.body.order.results?.[0]?.expiresAt).toBe("2026-12-01T09:00:00.000Z");
    expect((await put(orderId, { ...ticket, expiresAt: "2026-12-01T09:00:00Z" })).status).toBe(200);
  });

  it.each([
    ["id", { ...ticket, id: "" }],
    ["id", { ...ticket, id: "a/b" }],
    ["id", { ...ticket, id: "x".repeat(65) }],
    ["id", { ...ticket, id: undefined }],
    ["kind", { ...ticket, kind: "coupon" }],
    ["title", { ...ticket, title: "" }],
    ["title", { ...ticket, title: "x".repeat(256) }],
    ["title", { ...ticket, title: "a\u0000b" }],
    ["code", { ...ticket, code: undefined }],
    ["code", { ...ticket, kind: "voucher", code: undefined }],
    ["code", { ...ticket, code: 4821 }],
    ["url", { ...ticket, kind: "link" }],
    ["text", { ...ticket, kind: "text" }],
    ["text", { ...ticket, text: "x".repeat(8_193) }],
    ["expiresAt", { ...ticket, expiresAt: "tomorrow" }],
    ["colour", { ...ticket, colour: "red" }],
    ["body", []],
    ["results", { ...ticket, text: "x".repeat(8_192) }],
  ])("refuses a wrong field: %s", async (field, result) => {
    const { orderId } = await openPaid();
    const answer = await put(orderId, result);
    expect([answer.status, answer.body.code, fieldsOf(answer)]).toEqual([400, "body_invalid", [field]]);
  });

  const refusedUrls = [
    "http://shop.example/1",
    "http://localhost.shop.example/1",
    "http://127.0.0.1.nip.io/",
    "http://192.168.1.2/",
    "javascript:alert(1)",
    "data:text/html,x",
    "ftp://shop.example/1",
    "https:shop.example",
    "//shop.example",
    "shop.example",
    `https://shop.example/${"x".repeat(2_048)}`,
  ];
  const localUrls = ["http://localhost:4000/1", "http://127.0.0.1/", "http://[::1]:4000/1"];

  it("takes a link only over https, and in development over http on its own machine", async () => {
    const { orderId } = await openPaid();
    const link = { id: "link", kind: "link", title: "Your book" };
    for (const url of refusedUrls) {
      const answer = await put(orderId, { ...link, url });
      expect([url, answer.status, fieldsOf(answer)]).toEqual([url, 400, ["url"]]);
    }
    for (const url of [...localUrls, "HTTPS://shop.example/1"]) {
      const answer = await put(orderId, { ...link, url });
      expect([url, answer.status, answer.body.order.results?.[0]?.url]).toEqual([url, 201, url]);
    }
    const env = {
      ...daraja.env,
      NODE_ENV: "production",
      DATABASE_URL: databaseUrl,
      PUBLIC_URL: "https://pay.shop.example",
    };
    const production = await startNode({ databaseUrl, env });
    for (const url of localUrls) {
      const answer = await put(orderId, { ...link, url }, production);
      expect([url, answer.status, fieldsOf(answer)]).toEqual([url, 400, ["url"]]);
    }
    expect((await put(orderId, { ...link, url: "https://shop.example/2" }, production)).status).toBe(201);
  });

  it("refuses an unpaid order with its state, and an unknown one", async () => {
    const { orderId, settle } = await openOrder();
    await settle({ ResultCode: 1032 });
    const { order } = (await asMerchant(node, `/v1/orders/${orderId}`)).body;
    const unpaid = await put(orderId, ticket);
    expect(unpaid).toMatchObject({ status: 409, body: { code: "order_unpaid", retryable: false, order } });
    expect(await put("ORD-nowhere", ticket)).toMatchObject({ status: 404, body: { code: "order_unknown" } });
  });

  it("is for the API key only, and the watch token reads the results (G11)", async () => {
    const { orderId, token } = await openPaid();
    const path = `${node.url}/v1/orders/${orderId}`;
    for (const authorization of [undefined, `Bearer ${token}`, "Bearer wrong"]) {
      const headers = { "content-type": "application/json", ...(authorization && { authorization }) };
      const added = await call(`${path}/results`, { method: "POST", headers, body: JSON.stringify(ticket) });
      const removed = await call(`${path}/results/${ticket.id}`, { method: "DELETE", headers });
      expect([added, removed]).toMatchObject(Array(2).fill({ status: 401, body: { code: "key_invalid" } }));
    }
    const { body } = await put(orderId, ticket);
    expect((await call(`${path}?token=${token}`)).body).toEqual(body.order);
  });
});

describe("DELETE /v1/orders/:orderId/results/:id", () => {
  it("removes the result, once", async () => {
    const { orderId, order } = await openPaid();
    await put(orderId, ticket);
    const removed = await remove(orderId, ticket.id);
    expect(removed.status).toBe(200);
    expect(removed.body.order).toMatchObject({ version: order.version + 2, status: "succeeded" });
    expect(removed.body.order).not.toHaveProperty("results");
    const again = await remove(orderId, ticket.id);
    expect(again).toMatchObject({ status: 404, body: { code: "result_unknown" } });
    expect(await remove("ORD-nowhere", ticket.id)).toMatchObject({ status: 404, body: { code: "order_unknown" } });
  });

  it("needs no body, also from a client that states a content type", async () => {
    const { orderId } = await openPaid();
    await put(orderId, ticket);
    expect((await remove(orderId, ticket.id, { "content-type": "application/json" })).status).toBe(200);
  });
});
