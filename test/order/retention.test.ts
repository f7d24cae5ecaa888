/** The erasure of personal data, and the list of all columns that it is made from. */
import { randomUUID } from "node:crypto";
import { beforeEach, describe, expect, it, onTestFinished, vi } from "vitest";
import { createSealer } from "../../server/auth/keys.ts";
import { type Database, setSocketTimeout } from "../../server/database/pool.ts";
import { erase, eraseStatements, tables } from "../../server/order/retention.ts";
import { createLink } from "../../server/payment-link/create.ts";
import { settleDue } from "../../server/payment-link/settle.ts";
import { textOf } from "../docs/markdown.ts";
import { asMerchant, paymentBody, startNode } from "../support/node.ts";
import { openManyOrders, planStepsOf } from "../support/query-plan.ts";
import { failed, nextOrderId, openTestStore, paid } from "../support/store.ts";

// A database for each test, because erasure takes the rows of all.
let ground: Awaited<ReturnType<typeof openTestStore>>;
beforeEach(async () => {
  ground = await openTestStore();
  return ground.close;
});

const row = (body: string) => ({
  provider: "daraja",
  proof: "secret" as const,
  headers: { "x-forwarded-for": "192.0.2.7" },
  body: Buffer.from(body),
});

/** The columns that hold a time, by table: those from which a retention counts. */
const times = [
  ['"order"', "changed_at"],
  ["payment", "started_at"],
  ["event", "occurred_at"],
  ["webhook", "received_at"],
  ["idempotency", "created_at"],
  ["payment_link", "changed_at"],
  ["payment_link_key", "created_at"],
  ["plan", "changed_at"],
  ["plan_key", "created_at"],
] as const;

/** Makes all rows older by `interval`, in the tables given. */
async function age({ pool }: Database, interval: string, of: readonly string[] = times.map(([table]) => table)) {
  for (const [table, since] of times) {
    if (of.includes(table)) await pool.query(`update ${table} set ${since} = ${since} - interval '${interval}'`);
  }
}

const payer = {
  description: "2 tickets for Asha Njeri",
  customer: { name: "Asha Njeri", email: "asha@example.com" },
  metadata: { seat: "A1", guest: "Asha" },
  items: [{ name: "Seat A1", quantity: 2, unitAmountMinor: 7_500 }],
  returnUrl: "https://shop.example/orders/asha@example.com",
};

/** Every text in the database that the data of `payer` could be found by. */
const traces = /asha|712345678|2547\*+678|192\.0\.2\.7|seat/i;

/** All rows of all tables that contain a trace of the payer. */
async function tracesIn({ pool }: Database): Promise<string[]> {
  const found = await Promise.all(
    Object.keys(tables).map(async (table) => {
      const { rows } = await pool.query<{ text: string }>(
        `select to_jsonb(t)::text || coalesce(convert_from(decode(substr(to_jsonb(t) ->> 'body', 3), 'hex'), 'UTF8'), '') as text
         from "${table}" t`,
      );
      return rows.filter(({ text }) => traces.test(text)).map(({ text }) => `${table}: ${text}`);
    }),
  );
  return found.flat();
}

/** Opens an order with all data of a payer in every column that may have some. */
async function openPersonalOrder(orderId = nextOrderId()) {
  const { event, payment } = await ground.open({ orderId, idempotencyKey: "asha@example.com", ...payer });
  await ground.store.advance(payment.id, {
    status: "processing",
    // A reference of Daraja ends in the payer's phone number.
    reference: "ws_CO_20112026205932104712345678",
    action: { type: "prompt", phone: "+2547*****678" },
    source: "reply",
  });
  await ground.store.advance(
    payment.id,
    paid({ amountMinor: 14_000n, receipt: `R-${orderId}` }),
    row("from 254712345678"),
  );
  await ground.store.advance(payment.id, {
    status: "succeeded",
    source: "person",
    note: "Asha Njeri sent her statement",
  });
  await ground.store.putResult(orderId, { id: "seat", kind: "ticket", title: "Asha Njeri", code: "A1" });
  // A return of the payer's browser has no body.
  await ground.inbox.insert({ ...row(""), result: "nothing", reference: "ws_CO_20112026205932104712345678" });
  await ground.inbox.insert({ ...row("712345678"), result: "error", error: "unreadable: asha" });
  return { event, payment };
}

describe("the table of columns", () => {
  it("lists every column of the schema once, as personal or as not personal", async () => {
    const { rows } = await ground.database.pool.query<{ name: string }>(
      "select table_name || '.' || column_name as name from information_schema.columns where table_schema = 'public'",
    );
    const listed = Object.entries(tables).flatMap(
      ([table, { personal = {}, personalWhileOpen = [], notPersonal = [] }]) =>
        [...Object.keys(personal), ...personalWhileOpen, ...notPersonal].map((column) => `${table}.${column}`),
    );
    expect(listed.toSorted()).toEqual(rows.map(({ name }) => name).toSorted());
  });

  it("has a period and a time for every table with personal data", () => {
    const incomplete = Object.entries(tables).filter(
      ([, { personal, since, keptFor }]) => personal && !(since && keptFor),
    );
    expect(incomplete).toEqual([]);
  });

  it("is the one in docs/operating.md", () => {
    const section = textOf("docs/operating.md").split("## Data retention")[1]?.split("\n## ")[0] ?? "";
    const documented = section.split("\n").flatMap((line) => {
      const [, , columns = "", erased = ""] = line.split("|");
      return [...columns.matchAll(/`(\w+\.\w+)`/g)].map(([, column]) => [column, /\d+ (days|hours)/.exec(erased)?.[0]]);
    });
    const coded = Object.entries(tables).flatMap(([table, { personal = {}, personalWhileOpen = [], keptFor }]) => [
      ...Object.keys(personal).map((column) => [`${table}.${column}`, keptFor]),
      ...personalWhileOpen.map((column) => [`${table}.${column}`, undefined]),
    ]);
    expect(documented.toSorted()).toEqual(coded.toSorted());
  });
});

describe("retention", () => {
  it("erases expired data in batches, and keeps recent data and the states of orders", async () => {
    const old = await ground.open({ idempotencyKey: "old" });
    // A reference of Daraja ends in the payer's phone number.
    const reference = "ws_CO_20112026205932104712345678";
    await ground.store.advance(old.payment.id, { status: "processing", reference, source: "reply" });
    await ground.store.advance(old.payment.id, paid({ receipt: "R-old" }), row("old and accepted"));
    await ground.inbox.refuse(row("old and refused"), "forged");
    await ground.database.pool.query(
      `insert into webhook (provider, proof, result, headers, body)
     select 'daraja', 'none', 'refused', '{}', 'x' from generate_series(1, 1200)`,
    );
    await age(ground.database, "91 days");
    const young = await ground.open({ idempotencyKey: "young" });
    await ground.store.advance(young.payment.id, { status: "processing", reference, source: "reply" });
    await ground.store.advance(young.payment.id, failed(), row("young and accepted"));
    await ground.inbox.refuse(row("young and refused"), "forged");

    await erase(ground.database);

    const { rows } = await ground.database.pool.query<{ result: string; body: string }>(
      "select result, convert_from(body, 'UTF8') as body from webhook order by id",
    );
    expect(rows).toEqual([
      { result: "applied", body: "" },
      { result: "applied", body: "young and accepted" },
      { result: "refused", body: "young and refused" },
    ]);
    const { rows: phones } = await ground.database.pool.query(
      "select phone, reference from payment order by started_at",
    );
    expect(phones).toEqual([
      { phone: "+2547*****678", reference: "ws_CO_20112026205932104******678" },
      { phone: "+254712345678", reference },
    ]);
    const { rows: keys } = await ground.database.pool.query("select key from idempotency");
    expect(keys).toEqual([{ key: "young" }]);
    const view = await ground.view(old.event.orderId);
    expect(view.order).toMatchObject({ status: "succeeded", payment: { receipt: "R-old" } });
    expect(view.payments[0]?.phone).toBe("+2547*****678");
  });

  it("erases every trace of the payer after 90 days except the masked phone", async () => {
    const { event, payment } = await openPersonalOrder();
    const before = await ground.view(event.orderId);
    await age(ground.database, "89 days");
    const present = await tracesIn(ground.database);
    expect(present).toHaveLength(9);
    await erase(ground.database);
    const tablesOf = (found: string[]): string[] => found.map((text) => text.split(":", 1)[0] ?? "");
    expect(tablesOf(await tracesIn(ground.database))).toEqual(
      tablesOf(present).filter((table) => table !== "idempotency"),
    );
    await age(ground.database, "1 day 1 minute");
    await erase(ground.database);

    expect(await tracesIn(ground.database)).toEqual([expect.stringMatching(/^payment: .*"phone": "\+2547\*+678"/)]);
    const after = await ground.view(event.orderId);
    expect(after).toMatchObject({ description: null, customer: null, metadata: null, items: null });
    expect(after.order).not.toHaveProperty("results");
    expect(after.events.map(({ status, source }) => [status, source])).toEqual(
      before.events.map(({ status, source }) => [status, source]),
    );
    expect(after.order).toMatchObject({
      version: before.order.version,
      status: "succeeded",
      payment: { id: payment.id },
    });
  });

  it("erases the data of closed payment links and the payers of their payments, and keeps that of open links", async () => {
    const sealer = createSealer(["a secret of more than thirty-two characters"]);
    const { pool } = ground.database;
    const create = (key: string) =>
      createLink({ pool, sealer }, { orderId: nextOrderId(), amountMinor: 15_000, currency: "KES", ...payer }, key);
    const [closed, open] = [(await create("asha@example.com")).row, (await create("asha")).row];
    const link = { id: closed.id, isReusable: false, payer: "ab".repeat(32), phoneMax: 3 };
    const { payment } = await ground.open({ orderId: closed.order_id, link });
    await ground.store.advance(payment.id, paid());
    await settleDue(ground.database.pool);
    await age(ground.database, "91 days");
    await erase(ground.database);
    const { rows } = await pool.query(
      "select id, description, customer, metadata, items, return_url from payment_link order by id",
    );
    const nothing = { description: null, customer: null, metadata: null, items: null, return_url: null };
    expect(rows).toMatchObject([
      { id: closed.id, ...nothing },
      { id: open.id, description: payer.description, customer: payer.customer, return_url: payer.returnUrl },
    ]);
    expect((await pool.query("select from payment_link_key")).rowCount).toBe(0);
    expect((await pool.query("select payer from payment")).rows).toEqual([{ payer: null }]);
  });

  it("counts the period of an order from its last change, and that of a payment from its start", async () => {
    const { event } = await ground.open({ ...payer });
    await ground.store.advance((await ground.view(event.orderId)).payments[0]?.id ?? "", failed());
    await age(ground.database, "91 days");
    // A further attempt that leaves out the data keeps it; one that brings it replaces it.
    await ground.open({ orderId: event.orderId, customer: { name: "Asha" } });
    await erase(ground.database);
    const view = await ground.view(event.orderId);
    expect(view).toMatchObject({
      description: payer.description,
      customer: { name: "Asha" },
      metadata: payer.metadata,
    });
    const { rows } = await ground.database.pool.query(
      "select phone, return_url from payment where order_uuid = $1 order by attempt",
      [event.id],
    );
    expect(rows).toEqual([
      { phone: "+2547*****678", return_url: null },
      { phone: "+254712345678", return_url: null },
    ]);
  });

  it("erases results that the merchant has removed from the history, and results of an order without other data", async () => {
    const { event, payment } = await ground.open();
    await ground.store.advance(payment.id, paid());
    const { orderId } = event;
    await ground.store.putResult(orderId, { id: "one", kind: "text", title: "Asha", text: "Njeri" });
    await ground.store.putResult(orderId, { id: "two", kind: "text", title: "Asha", text: "Njeri" });
    await ground.store.removeResult(orderId, "one");
    const before = await ground.view(orderId);
    await age(ground.database, "91 days");
    const watched = await ground.store.current([event.id]);
    expect(watched[0]?.results).toHaveLength(1);
    await erase(ground.database);
    expect(await tracesIn(ground.database)).toEqual([expect.stringMatching(/^payment: .*"phone": "\+2547\*+678"/)]);
    const after = await ground.view(orderId);
    expect(after.events.map(({ version, source }) => [version, source])).toEqual(
      before.events.map(({ version, source }) => [version, source]),
    );
    // The merchant may give the payer the result again.
    const { event: again } = await ground.store.putResult(orderId, { id: "two", kind: "text", title: "T", text: "T" });
    expect(again).toMatchObject({ version: before.order.version + 1, results: [{ id: "two" }] });
  });

  it("lets a further attempt bring erased items again, and no other attempt replace them", async () => {
    const { event, payment } = await ground.open({ items: payer.items });
    const { orderId } = event;
    await ground.store.advance(payment.id, failed());
    await age(ground.database, "91 days");
    await erase(ground.database);
    expect((await ground.view(orderId)).items).toBeNull();
    const second = await ground.open({ orderId, items: payer.items });
    expect((await ground.view(orderId)).items).toEqual(payer.items);
    await ground.store.advance(second.payment.id, failed());
    const other = [{ name: "Other", quantity: 1, unitAmountMinor: 15_000 }];
    await expect(ground.open({ orderId, items: other })).rejects.toMatchObject({ code: "order_mismatch" });
  });

  it("erases the return address of a payment that has no phone", async () => {
    const { payment } = await ground.open({ provider: "bkash", currency: "BDT", ...payer });
    await ground.database.pool.query("update payment set phone = null");
    const url = "https://pay.example/asha";
    const reference = "TR0011";
    await ground.store.advance(payment.id, {
      status: "processing",
      reference,
      action: { type: "redirect", url },
      source: "reply",
    });
    await age(ground.database, "91 days");
    await erase(ground.database);
    const { rows } = await ground.database.pool.query(
      "select phone, return_url, action, reference from payment where id = $1",
      [payment.id],
    );
    expect(rows).toEqual([{ phone: null, return_url: null, action: null, reference }]);
  });

  it("skips rows that another transaction has locked, and erases them later", async () => {
    const { event, payment } = await ground.open({ ...payer });
    await ground.store.advance(payment.id, failed());
    await age(ground.database, "91 days");
    const client = await ground.database.pool.connect();
    try {
      await client.query("begin");
      await client.query('select from "order" where id = $1 for update', [event.id]);
      await erase(ground.database);
    } finally {
      await client.query("rollback");
      client.release();
    }
    expect((await ground.view(event.orderId)).customer).toEqual(payer.customer);
    await erase(ground.database);
    expect((await ground.view(event.orderId)).customer).toBeNull();
  });

  it("ends between two batches once it is closed", async () => {
    await ground.database.pool.query(
      `insert into webhook (provider, proof, result, headers, body, received_at)
       select 'daraja', 'none', 'refused', '{}', 'closed', now() - interval '8 days' from generate_series(1, 1200)`,
    );
    const left = async () => (await ground.database.pool.query("select from webhook where body = 'closed'")).rowCount;
    let asked = 0;
    await erase(ground.database, () => ++asked > 1);
    expect(await left()).toBe(700);
    await erase(ground.database);
    expect(await left()).toBe(0);
  });

  it("runs on every node", async () => {
    await ground.inbox.refuse(row("old, on a node"), "forged");
    await ground.database.pool.query("update webhook set received_at = received_at - interval '8 days'");
    await startNode({ databaseUrl: ground.database.pool.options.connectionString ?? "" });
    const left = async () =>
      (await ground.database.pool.query("select from webhook where body = 'old, on a node'")).rowCount;
    await vi.waitUntil(async () => (await left()) === 0);
  });
});

describe("an erased order", () => {
  it("is read, watched, replayed by its idempotency key and paid again", async () => {
    const node = await startNode({ databaseUrl: ground.database.pool.options.connectionString ?? "" });
    const key = { "idempotency-key": randomUUID() };
    const body = paymentBody({ ...payer, phone: "+254712345678" });
    const opened = await asMerchant(node, "/v1/payments", body, key);
    expect(opened.status).toBe(202);
    const { id, orderId } = opened.body.order;
    const { rows } = await ground.database.pool.query("select id from payment where order_uuid = $1", [id]);
    await ground.store.advance(rows[0].id, failed());
    const { order } = await ground.view(orderId);
    await age(ground.database, "91 days", ['"order"', "payment", "event", "webhook"]);
    await erase(ground.database);

    const path = `/v1/orders/${orderId}`;
    const read = await asMerchant(node, path);
    expect([read.status, read.body]).toMatchObject([200, { description: null, customer: null, metadata: null }]);
    expect(read.body.order).toMatchObject({ version: order.version, status: "failed" });
    const list = await asMerchant(node, "/v1/orders?status=failed&limit=100");
    expect(list.body.data.map((listed) => listed.id)).toContain(id);
    const state = await asMerchant(node, `${path}/wait?after=0`);
    expect([state.status, state.body]).toMatchObject([200, { version: order.version, status: "failed" }]);

    // The key outlives the data here only because the test does not age it. The hash of the request is kept with the key.
    const repeat = await asMerchant(node, "/v1/payments", body, key);
    expect([repeat.status, repeat.body.order.version]).toEqual([opened.status, order.version]);
    const other = await asMerchant(node, "/v1/payments", { ...body, phone: "+254712345601" }, key);
    expect([other.status, other.body.code]).toEqual([422, "idempotency_mismatch"]);

    const watching = asMerchant(node, `${path}/wait?after=${order.version}`);
    const again = await asMerchant(node, "/v1/payments", { ...body, customer: { name: "Asha" }, metadata: undefined });
    expect([again.status, again.body.order]).toMatchObject([202, { payment: { attempt: 2 } }]);
    expect((await watching).body.version).toBeGreaterThan(order.version);
    expect(await ground.view(orderId)).toMatchObject({ customer: { name: "Asha" }, metadata: null });
  });
});

describe("the statements of retention", () => {
  it("find their rows through an index among 10,000 expired rows, and read no more than one batch", async () => {
    const many = await openManyOrders();
    onTestFinished(many.close);
    const client = await many.database.pool.connect();
    setSocketTimeout(client, 0);
    await client.query(`
      set statement_timeout = 0;
      update "order" set changed_at = changed_at - interval '91 days' where status <> 'review';
      update "order" set description = 'a' where status <> 'review' and id::text < '00000000-0000-7000-8000-000000001380';
      update "order" set results = '[{}]', items = '[{}]' where status <> 'review' and description is null;
      update payment set started_at = started_at - interval '91 days', phone = '+254712345678', reference = 'ws_1_712345678', payer = 'a';
      insert into payment_link (id, order_id, status, token_hash, token, currency, description, changed_at)
        select id, order_id, case when id::text < '00000000-0000-7000-8000-000000001380' then 'paid' else 'open' end,
               convert_to(order_id, 'UTF8'), '', 'KES', 'a', now() - interval '91 days' from "order";
      insert into payment_link_key (key, request, payment_link_id, created_at)
        select order_id, 'a', id, now() - interval '4 days' from payment_link;
      insert into plan (id, plan_id, status, kind, currency, description, time_zone, prompt_at, remind_days_before, grace_days, next_n,
          next_index, changed_at)
        select id, left(order_id, 40), case when id::text < '00000000-0000-7000-8000-000000001380' then 'completed' else 'active' end,
               'subscription', 'KES', 'a', 'UTC', '09:00', '{}', 3, 1, 0, now() - interval '91 days' from "order";
      insert into plan_key (key, request, plan_uuid, created_at) select plan_id, 'a', id, now() - interval '4 days' from plan;
      insert into event (order_uuid, version, status, payment, also_paid, occurred_at, results)
        select id, each, status, case each when 1 then '{"action": {"type": "prompt"}}'::jsonb else '{}' end, '{}',
               now() - interval '91 days', case each when 2 then '[{}]'::jsonb end
        from "order", generate_series(1, 2) each;
      insert into webhook (provider, proof, result, headers, body, received_at, offer_at)
        select 'daraja', 'secret', case when n % 2 = 0 then 'applied' else 'refused' end, '{"a": "b"}', '',
               now() - interval '91 days', case when n % 100 = 0 then now() end
        from generate_series(1, 20000) n;
      insert into idempotency (key, request, order_uuid, created_at)
        select order_id, 'a', id, now() - interval '4 days' from "order";
      insert into endpoint (id, url, secret) values (gen_random_uuid(), '', '');
      insert into delivery_attempt (endpoint_id, subject_id, epoch, version, result, at)
        select endpoint.id, "order".id, 0, 1, 'failed', now() - interval '31 days' from "order", endpoint;
      insert into audit (at, operation, key_id, key_name, is_desk, subject, is_done)
        select now() - interval '366 days', 'startPayment', 'TUKIO_API_KEY', 'TUKIO_API_KEY', false, order_id, true from "order";
      analyze "order", payment, payment_link, payment_link_key, plan, plan_key, event, webhook, idempotency, delivery_attempt, audit`);
    client.release();
    const indexes = new Map<string, string[]>();
    for (const statement of eraseStatements) {
      const steps = await planStepsOf(many.database, { statement });
      const scans = steps.filter(
        (step) => / Scan$/.test(step["Node Type"]) && step["Node Type"] !== "Bitmap Index Scan",
      );
      for (const scan of scans) {
        // A scan by `ctid` reads the rows that the index has found.
        expect([statement.name, scan["Node Type"]]).toEqual([
          statement.name,
          expect.stringMatching(/^(Index|Index Only|Bitmap Heap|Tid) Scan$/),
        ]);
        expect([statement.name, scan["Actual Rows"]]).toEqual([
          statement.name,
          expect.toSatisfy((rows) => rows <= 500),
        ]);
      }
      indexes.set(
        statement.name,
        steps.flatMap((step) => step["Index Name"] ?? []),
      );
    }
    expect(Object.fromEntries(indexes)).toEqual({
      "delete-refused-webhook": ["webhook_refused"],
      "end-redelivery": ["webhook_unapplied"],
      "erase-order": ["order_personal"],
      "erase-order-2": ["order_personal_goods"],
      "erase-payment": ["payment_personal"],
      "erase-payment-2": ["payment_payer_personal"],
      "erase-payment_link": ["payment_link_personal"],
      "erase-payment_link_key": ["payment_link_key_created"],
      "erase-plan": ["plan_personal"],
      "erase-plan_key": ["plan_key_created"],
      "erase-event": ["event_personal"],
      "erase-event-2": ["event_personal_goods"],
      "erase-webhook": ["webhook_personal"],
      "erase-idempotency": ["idempotency_created"],
      "erase-delivery_attempt": ["delivery_attempt_at"],
      "erase-audit": ["audit_pkey"],
    });
  });
});
