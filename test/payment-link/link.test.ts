/** The merchant's calls of payment links, over HTTP. */
import type pg from "pg";
import { beforeEach, describe, expect, it } from "vitest";
import { createSealer } from "../../server/auth/keys.ts";
import { createOrderStore } from "../../server/order/store.ts";
import { settleDue } from "../../server/payment-link/settle.ts";
import { useDatabase } from "../support/database.ts";
import { asMerchant, call, pay, paymentBody, startNode, type TestNode, testSecret } from "../support/node.ts";
import { cancelLink, createLink, linkBody, linkOf, readLink } from "../support/payment-link.ts";
import { draftOf, nextOrderId, paid } from "../support/store.ts";

const file = useDatabase();
let node: TestNode;
beforeEach(async () => {
  node = await startNode({ databaseUrl: file.url });
});

const create = (fields: Record<string, unknown>, headers = {}) =>
  asMerchant(node, "/v1/payment-links", linkBody(fields), headers);

const inAnHour = (): string => new Date(Date.now() + 3_600_000).toISOString();

const payer = "ab".repeat(32);

/** The store, as the page of a link uses it. */
function storeOf() {
  return createOrderStore({ database: file.database, announce: () => undefined, amountlessProviders: [] });
}

const draftFor = (link: { id: string; orderId: string }, phone = "+254712345678") =>
  draftOf({ orderId: link.orderId, phone, link: { id: link.id, isReusable: false, payer, phoneMax: 3 } });

/** Pays the order of a link. */
async function payLink(link: { id: string; orderId: string }, phone?: string): Promise<void> {
  const { payment } = await storeOf().open(draftFor(link, phone));
  await storeOf().advance(payment?.id ?? "", paid());
}

/** Ends a link's time. */
const expire = (id: string) =>
  file.database.pool.query(
    "update payment_link set expires_at = clock_timestamp() - interval '1 second' where id = $1",
    [id],
  );

/** Resolves when another connection waits for a lock of this type. */
async function untilWaiting(client: pg.PoolClient, type: string): Promise<void> {
  const text = "select from pg_locks where not granted and locktype = $1 and pid <> pg_backend_pid()";
  while ((await client.query(text, [type])).rowCount === 0);
}

describe("POST /v1/payment-links", () => {
  it("creates an open link with everything that the merchant sent, and shows it again", async () => {
    const sent = linkBody({
      description: "2 tickets",
      items: [{ name: "Ticket", quantity: 2, unitAmountMinor: 7_500, sku: "T" }],
      customer: { id: "C-1", name: "Asha Njeri", phone: "0712 345 678" },
      providers: ["daraja", "payhero"],
      returnUrl: "https://shop.example/done",
      expiresAt: inAnHour(),
      dueAt: "2026-12-24T00:00:00.000Z",
      lang: "sw",
      metadata: { table: 7 },
    });
    const answer = await asMerchant(node, "/v1/payment-links", sent);
    const link = linkOf(answer);
    expect(answer.status).toBe(201);
    expect(link).toMatchObject({ ...sent, customer: { id: "C-1", name: "Asha Njeri", phone: "+2547*****678" } });
    expect(link).toMatchObject({ version: 1, status: "open", url: expect.stringMatching(/\/pay\/[\w-]{24}$/) });
    expect(link).not.toHaveProperty("reusable");
    expect(await readLink(node, link.id)).toEqual(link);
  });

  it("opens no order", async () => {
    const { orderId } = await createLink(node);
    expect(await asMerchant(node, `/v1/orders/${orderId}`)).toMatchObject({ status: 404 });
  });

  it("creates a reusable link with and without an amount", async () => {
    const free = await createLink(node, { amountMinor: undefined, reusable: { minMinor: 1_000, maxMinor: 90_000 } });
    expect(free.reusable).toEqual({ minMinor: 1_000, maxMinor: 90_000 });
    expect(free).not.toHaveProperty("amountMinor");
    expect(await createLink(node, { reusable: {} })).toMatchObject({ amountMinor: 15_000, reusable: {} });
  });

  it.each([
    ["no amount", { amountMinor: undefined }, "amount_invalid", "amountMinor"],
    ["an amount that no provider takes", { amountMinor: 15_050 }, "amount_invalid", "amountMinor"],
    ["a currency that no provider takes", { currency: "EUR", providers: ["daraja"] }, "currency_invalid", "currency"],
    ["an unknown currency", { currency: "JPY" }, "currency_invalid", "currency"],
    ["an unknown provider", { providers: ["paypal"] }, "provider_unknown", "provider"],
    ["no provider", { providers: [] }, "body_invalid", "providers"],
    ["items of another sum", { items: [{ name: "A", quantity: 1, unitAmountMinor: 1 }] }, "amount_invalid", "items"],
    ["a past expiry", { expiresAt: "2020-01-01T00:00:00Z" }, "body_invalid", "expiresAt"],
    ["an order id of 49 characters", { orderId: "x".repeat(49) }, "body_invalid", "orderId"],
    ["limits beside an amount", { reusable: { minMinor: 100 } }, "body_invalid", "reusable"],
    [
      "limits that exclude each other",
      { amountMinor: undefined, reusable: { minMinor: 200, maxMinor: 100 } },
      "body_invalid",
      "reusable.maxMinor",
    ],
    ["a script as return address", { returnUrl: "javascript:alert(1)" }, "body_invalid", "returnUrl"],
    ["a customer's phone that is none", { customer: { phone: "12" } }, "body_invalid", "customer.phone"],
    ["an unknown field", { amount: 1 }, "body_invalid", "amount"],
  ])("refuses %s", async (_what, fields, code, path) => {
    expect((await create(fields)).body).toMatchObject({ code: expect.stringMatching(/_/), errors: [{ path }] });
    if (code !== "body_invalid") expect((await create(fields)).body.code).toBe(code);
  });

  it("accepts null for a field without a value", async () => {
    const nothing = {
      description: null,
      items: null,
      customer: null,
      providers: null,
      reusable: null,
      expiresAt: null,
    };
    expect((await create({ ...nothing, returnUrl: null, dueAt: null, lang: null, metadata: null })).status).toBe(201);
  });

  it("needs an API key", async () => {
    const init = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(linkBody()) };
    expect((await call(`${node.url}/v1/payment-links`, init)).body.code).toBe("key_invalid");
  });

  it("answers a repeated idempotency key with the same link", async () => {
    const body = linkBody();
    const headers = { "idempotency-key": nextOrderId() };
    const answers = await Promise.all([1, 2, 3].map(() => asMerchant(node, "/v1/payment-links", body, headers)));
    expect(answers.map(({ status }) => status)).toEqual([201, 201, 201]);
    expect(new Set(answers.map((answer) => linkOf(answer).id)).size).toBe(1);
    expect(answers.filter(({ headers: sent }) => sent.has("idempotency-replayed"))).toHaveLength(2);
    const other = await asMerchant(node, "/v1/payment-links", { ...body, amountMinor: 20_000 }, headers);
    expect(other).toMatchObject({ status: 422, body: { code: "idempotency_mismatch" } });
  });

  it("takes a key again after 72 hours", async () => {
    const headers = { "idempotency-key": nextOrderId() };
    await create({}, headers);
    await file.database.pool.query(
      "update payment_link_key set created_at = created_at - interval '73 hours' where key = $1",
      [headers["idempotency-key"]],
    );
    const again = await create({}, headers);
    expect(again.status).toBe(201);
    expect(again.headers.has("idempotency-replayed")).toBe(false);
  });
});

describe("an order id", () => {
  it("of a link is refused to payments and to other links, also once the link is cancelled", async () => {
    const link = await createLink(node);
    const refused = { status: 409, body: { code: "order_mismatch" } };
    const other = () => asMerchant(node, "/v1/payments", paymentBody({ orderId: link.orderId }));
    expect(await other()).toMatchObject(refused);
    expect(await create({ orderId: link.orderId })).toMatchObject(refused);
    await cancelLink(node, link.id);
    expect(await other()).toMatchObject(refused);
    expect(await create({ orderId: link.orderId })).toMatchObject(refused);
  });

  it("of an order is refused to links", async () => {
    const { order } = await pay(node);
    expect(await create({ orderId: order.orderId })).toMatchObject({ status: 409, body: { code: "order_mismatch" } });
  });

  it("belongs to exactly one of any number of concurrent links and payments", async () => {
    for (let round = 0; round < 10; round += 1) {
      const orderId = nextOrderId();
      const answers = await Promise.all(
        Array.from({ length: 8 }, (_, index) =>
          index % 2 === 0
            ? asMerchant(node, "/v1/payments", paymentBody({ orderId, phone: `+2547123456${10 + index}` }))
            : create({ orderId }),
        ),
      );
      expect(answers.filter(({ status }) => status === 201 || status === 202)).toHaveLength(1);
    }
  });

  it("is refused to a payment whose statement began before the link was committed", async () => {
    const orderId = nextOrderId();
    const client = await file.database.pool.connect();
    // Holds the id as a link does that is being created.
    await client.query("begin");
    await client.query("select pg_advisory_xact_lock(hashtextextended($1, 1))", [orderId]);
    const payment = storeOf().open(draftOf({ orderId }));
    await untilWaiting(client, "advisory");
    await client.query(
      `insert into payment_link (id, order_id, token_hash, token, currency, amount_minor)
       values (gen_random_uuid(), $1, $2, '', 'KES', 100)`,
      [orderId, Buffer.from(orderId)],
    );
    await client.query("commit");
    client.release();
    await expect(payment).rejects.toMatchObject({ code: "order_mismatch" });
  });
});

describe("a link", () => {
  it("becomes paid when its order succeeds, and a read shows it at once", async () => {
    const link = await createLink(node);
    await payLink(link);
    expect(await readLink(node, link.id)).toMatchObject({ status: "paid", version: 2 });
  });

  it("becomes paid without a read, once", async () => {
    const link = await createLink(node);
    await payLink(link, "+254712345679");
    const rowOf = async () =>
      (await file.database.pool.query("select status, version from payment_link where id = $1", [link.id])).rows[0];
    while ((await rowOf()).status === "open") await settleDue(file.database.pool);
    await settleDue(file.database.pool);
    expect(await rowOf()).toEqual({ status: "paid", version: 2 });
    const left = await file.database.pool.query('select from "order" where pays_link and order_id = $1', [
      link.orderId,
    ]);
    expect(left.rowCount).toBe(0);
  });

  it("expires at its time", async () => {
    const link = await createLink(node, { expiresAt: inAnHour() });
    await expire(link.id);
    expect(await readLink(node, link.id)).toMatchObject({ status: "expired", version: 2 });
  });

  it.each(["cancelled", "expired"])("that is %s becomes paid by money that still arrives", async (status) => {
    const link = await createLink(node, { expiresAt: inAnHour() });
    const { payment } = await storeOf().open(draftFor(link, `+25471234568${status.length}`));
    if (status === "cancelled") await cancelLink(node, link.id);
    else await expire(link.id);
    expect(await readLink(node, link.id)).toMatchObject({ status, version: 2 });
    await storeOf().advance(payment?.id ?? "", paid());
    expect(await readLink(node, link.id)).toMatchObject({ status: "paid", version: 3 });
  });

  it("that is not open starts no payment", async () => {
    const link = await createLink(node);
    await cancelLink(node, link.id);
    await expect(storeOf().open(draftFor(link))).rejects.toMatchObject({ code: "payment_link_closed" });
  });

  it("retries only an order of its own", async () => {
    const [link, other] = [await createLink(node), await createLink(node)];
    const draft = { ...draftFor(link), orderId: other.orderId };
    await expect(storeOf().open(draft)).rejects.toMatchObject({ code: "order_mismatch" });
    const { order } = await pay(node, { phone: "+254712345602" });
    await expect(storeOf().open({ ...draft, orderId: order.orderId })).rejects.toMatchObject({
      code: "order_mismatch",
    });
  });

  it("is not cancelled while an order is opened by it", async () => {
    const link = await createLink(node);
    const client = await file.database.pool.connect();
    await client.query("begin");
    // As the statement that opens an order does.
    await client.query("select may_open_order($1, $2)", [link.orderId, link.id]);
    const cancelled = cancelLink(node, link.id);
    await untilWaiting(client, "transactionid");
    await client.query("rollback");
    client.release();
    expect((await cancelled).status).toBe(200);
  });
});

describe("POST /v1/payment-links/:id/cancel", () => {
  it("cancels an open link, and repeats without a new version", async () => {
    const link = await createLink(node);
    expect(linkOf(await cancelLink(node, link.id))).toMatchObject({ status: "cancelled", version: 2 });
    expect(linkOf(await cancelLink(node, link.id))).toMatchObject({ status: "cancelled", version: 2 });
  });

  it("refuses a link that is paid or has expired", async () => {
    const [done, over] = [await createLink(node), await createLink(node, { expiresAt: inAnHour() })];
    await payLink(done, "+254712345677");
    await expire(over.id);
    for (const { id } of [done, over]) {
      expect(await cancelLink(node, id)).toMatchObject({ status: 409, body: { code: "payment_link_closed" } });
    }
  });

  it("refuses an unknown link", async () => {
    for (const id of ["0199f2c4-0000-7000-8000-000000000001", "none"]) {
      expect(await cancelLink(node, id)).toMatchObject({ status: 404, body: { code: "payment_link_unknown" } });
    }
  });
});

describe("GET /v1/payment-links", () => {
  const idsOf = ({ data }: { data: { id: string }[] }) => data.map(({ id }) => id);

  it("lists links in pages, newest first", async () => {
    const links = [await createLink(node), await createLink(node), await createLink(node)].toReversed();
    const first = (await asMerchant(node, "/v1/payment-links?limit=2")).body;
    expect(idsOf(first)).toEqual(links.slice(0, 2).map(({ id }) => id));
    const next = (await asMerchant(node, `/v1/payment-links?limit=2&cursor=${first.nextCursor}`)).body;
    expect(idsOf(next)[0]).toBe(links[2]?.id);
  });

  it("filters by the status that a link has now", async () => {
    const [open, over] = [await createLink(node), await createLink(node, { expiresAt: inAnHour() })];
    await expire(over.id);
    // The node may be settling the link at this moment, and a list does not wait for that.
    const expired = async (): Promise<string[]> =>
      idsOf((await asMerchant(node, "/v1/payment-links?status=expired")).body);
    await expect.poll(expired).toContain(over.id);
    const listed = idsOf((await asMerchant(node, "/v1/payment-links?status=open&limit=100")).body);
    expect(listed).toContain(open.id);
    expect(listed).not.toContain(over.id);
  });

  it("refuses an unknown status, field and cursor", async () => {
    for (const search of ["status=done", "state=open", "cursor=x", "limit=0"]) {
      expect(await asMerchant(node, `/v1/payment-links?${search}`)).toMatchObject({
        status: 400,
        body: { code: "body_invalid", errors: [{ path: search.split("=")[0] }] },
      });
    }
  });
});

describe("a link's token", () => {
  it("is stored as a hash and encrypted, never as text", async () => {
    const { id, url } = await createLink(node);
    const token = url.slice(-24);
    const { rows } = await file.database.pool.query(
      "select to_jsonb(l)::text as text, token from payment_link l where id = $1",
      [id],
    );
    expect(rows[0].text).not.toContain(token);
    expect(rows[0].text).not.toContain(Buffer.from(token).toString("hex"));
    expect(createSealer([testSecret]).open(rows[0].token, `payment-link:${id}`)).toBe(token);
  });

  it("is encrypted anew by a node that starts with a newer secret", async () => {
    const { id, url } = await createLink(node);
    await node.close();
    const newer = "a newer secret of more than thirty-two characters";
    const both = await startNode({ databaseUrl: file.url, env: { TUKIO_SECRET: `${newer},${testSecret}` } });
    const tokenOf = async () =>
      (await file.database.pool.query<{ token: Buffer }>("select token from payment_link where id = $1", [id])).rows[0]
        ?.token;
    const open = (token: Buffer = Buffer.alloc(0)) => createSealer([newer]).open(token, `payment-link:${id}`);
    while (open(await tokenOf()) === undefined);
    expect((await readLink(both, id)).url?.slice(-24)).toBe(url.slice(-24));
  });

  it("is not shown by a node without the secret that encrypted it", async () => {
    const { id } = await createLink(node);
    await node.close();
    const other = await startNode({
      databaseUrl: file.url,
      env: { TUKIO_SECRET: "another secret of more than thirty-two characters" },
    });
    const link = await readLink(other, id);
    expect(link).toMatchObject({ id, status: "open" });
    expect(link).not.toHaveProperty("url");
  });
});
