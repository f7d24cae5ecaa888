/** The record of changes: who changed what with an API key. */
import { beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { openDatabase } from "../../server/database/pool.ts";
import { createDatabase } from "../support/database.ts";
import { asDesk, createKey, signIn, withKey } from "../support/key.ts";
import { asMerchant, pay, paymentBody, send, startNode, type TestNode } from "../support/node.ts";
import { startTcpProxy } from "../support/tcp-proxy.ts";

interface Entry {
  at: string;
  operation: string;
  key: { id: string; name: string };
  desk: boolean;
  subject?: string;
  done: boolean;
}

let databaseUrl: string;
let node: TestNode;
beforeEach(async () => {
  const database = await createDatabase();
  databaseUrl = database.url;
  onTestFinished(database.drop);
  node = await startNode({ databaseUrl });
});

const read = async (query = "", from: Pick<TestNode, "url"> = node) =>
  (await asMerchant(from, `/v1/audit?${query}`)).body as unknown as { data: Entry[]; nextCursor: string | null };

const short = ({ operation, key, desk, subject, done }: Entry) => [operation, key.name, desk, subject, done];

describe("the record of changes", () => {
  it("has the key, the operation and the subject of each change, and no personal data", async () => {
    const { key, secret } = await createKey(node, ["read", "pay", "manage"], "back office");
    const body = paymentBody({ customer: { name: "Asha Njeri", email: "asha@example.com" } });
    expect((await withKey(node, secret, "/v1/payments", { method: "POST", body })).status).toBe(202);
    const endpoint = { url: "https://shop.example.com/hooks" };
    const created = await withKey(node, secret, "/v1/endpoints", { method: "POST", body: endpoint });
    const { id } = (created.body as unknown as { endpoint: { id: string } }).endpoint;
    const { cookie } = await signIn(node, secret);
    await asDesk(node, cookie, `/v1/endpoints/${id}`, { method: "DELETE" });
    await withKey(node, secret, "/v1/orders");
    await expect.poll(async () => (await read()).data.length).toBe(5);
    const { data } = await read();
    expect(new Set(data.map(short))).toEqual(
      new Set([
        ["deleteEndpoint", "back office", true, id, true],
        ["signIn", "back office", true, undefined, true],
        ["createEndpoint", "back office", false, id, true],
        ["startPayment", "back office", false, body.orderId, true],
        ["createKey", "TUKIO_API_KEY", false, key.id, true],
      ]),
    );
    expect(data.map(({ at }) => at)).toEqual(
      data
        .map(({ at }) => at)
        .toSorted()
        .toReversed(),
    );
    expect(JSON.stringify(data)).not.toMatch(/asha|254712|tukio_key_/i);
    expect(data.find(({ operation }) => operation === "startPayment")?.key.id).toBe(key.id);
  });

  it("has no change that was refused or repeated", async () => {
    const body = paymentBody();
    const header = { "idempotency-key": "once" };
    await asMerchant(node, "/v1/payments", body, header);
    const repeated = await asMerchant(node, "/v1/payments", body, header);
    expect(repeated.headers.get("idempotency-replayed")).toBe("true");
    expect((await asMerchant(node, "/v1/payments", {})).status).toBe(400);
    expect((await asMerchant(node, "/v1/endpoints", {})).status).toBe(400);
    const unknown = "/v1/endpoints/0199f2c4-0000-7000-8000-000000000001";
    expect((await send(node, "DELETE", unknown)).status).toBe(404);
    await node.close();
    expect((await read("", await startNode({ databaseUrl }))).data.map(({ operation }) => operation)).toEqual([
      "startPayment",
    ]);
  });

  it("does not fail for an id that cannot be stored", async () => {
    for (const path of ["/v1/orders/%00/notifications/receipt", "/v1/notifications/%00/test"]) {
      expect((await send(node, "POST", path)).status, path).toBeOneOf([400, 404]);
    }
    expect((await read()).data).toEqual([]);
  });

  it("is complete when the node is closed", async () => {
    const { order } = await pay(node);
    await node.close();
    const { data } = await read("", await startNode({ databaseUrl }));
    expect(data.map(short)).toEqual([["startPayment", "TUKIO_API_KEY", false, order.orderId, true]]);
  });

  it("is found by key, operation, subject and time, in pages", async () => {
    const { key, secret } = await createKey(node, ["pay"]);
    const orders: string[] = [];
    for (let count = 0; count < 3; count += 1) {
      const body = paymentBody();
      orders.push(String(body.orderId));
      await withKey(node, secret, "/v1/payments", { method: "POST", body });
    }
    await expect.poll(async () => (await read(`keyId=${key.id}`)).data.length).toBe(3);
    expect((await read("keyId=TUKIO_API_KEY")).data.map(({ operation }) => operation)).toEqual(["createKey"]);
    expect((await read("operation=startPayment")).data.map(({ subject }) => subject)).toEqual(orders.toReversed());
    expect((await read(`subject=${orders[1]}`)).data.map(({ key: by }) => by.id)).toEqual([key.id]);
    const { data } = await read();
    const first = data.at(-1)?.at ?? "";
    expect((await read(`to=${first}`)).data).toEqual([]);
    expect((await read(`from=${first}`)).data).toEqual(data);
    const pages: Entry[] = [];
    for (let cursor: string | null = ""; cursor !== null; ) {
      const page = await read(`limit=2${cursor === "" ? "" : `&cursor=${cursor}`}`);
      pages.push(...page.data);
      cursor = page.nextCursor;
    }
    expect(pages).toEqual(data);
    const refused = await asMerchant(node, `/v1/audit?keyId=${key.id}&operation=startPayment`);
    expect(refused).toMatchObject({ status: 400, body: { errors: [{ path: "operation" }] } });
    for (const query of ["cursor=x", "from=yesterday", "limit=0", "surplus=1"])
      expect((await asMerchant(node, `/v1/audit?${query}`)).status).toBe(400);
  });

  it("refuses a change that needs `manage` while it cannot be recorded", async () => {
    const database = openDatabase(databaseUrl, () => undefined);
    onTestFinished(database.close);
    await database.pool.query("alter table audit add constraint full_disk check (false) not valid");
    const refused = await asMerchant(node, "/v1/endpoints", { url: "https://shop.example.com/" });
    expect(refused.status).toBe(500);
    expect((await asMerchant(node, "/v1/endpoints")).body.data).toEqual([]);
  });

  it("keeps a change with `manage` whose end is unknown, as not done", async () => {
    const proxy = await startTcpProxy(databaseUrl);
    const cut = await startNode({ databaseUrl: proxy.url });
    const { id } = (
      (await asMerchant(cut, "/v1/endpoints", { url: "https://shop.example.com/" })).body as unknown as {
        endpoint: { id: string };
      }
    ).endpoint;
    // The statement of the change is held back, and its record is not.
    proxy.onRequestBytes((chunk) => {
      if (chunk.includes("begin-change")) proxy.stall("answers");
    });
    const left = send(cut, "DELETE", `/v1/endpoints/${id}`);
    await expect.poll(async () => (await read(`subject=${id}`)).data.length).toBe(2);
    proxy.cut();
    expect((await left).status).toBe(503);
    expect((await read(`subject=${id}`)).data.map(short)).toEqual([
      ["deleteEndpoint", "TUKIO_API_KEY", false, id, false],
      ["createEndpoint", "TUKIO_API_KEY", false, id, true],
    ]);
    proxy.restore();
  });

  it("does not delay a payment", async () => {
    const holder = openDatabase(databaseUrl, () => undefined);
    onTestFinished(holder.close);
    const client = await holder.pool.connect();
    await client.query("begin; lock table audit in access exclusive mode");
    const { order } = await pay(node);
    expect((await client.query("select from audit")).rowCount).toBe(0);
    await client.query("commit");
    client.release();
    await expect.poll(async () => (await read(`subject=${order.orderId}`)).data.length).toBe(1);
  });
});
