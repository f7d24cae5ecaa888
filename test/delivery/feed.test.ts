/** The feed of events: pages and the live stream, with transactions that commit late. */
import { beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { createOrderStore, type OrderStore } from "../../server/order/store.ts";
import { useDatabase } from "../support/database.ts";
import { type Answer, apiKey, asMerchant, startNode, type TestNode } from "../support/node.ts";
import { draftOf, failed, paid } from "../support/store.ts";

const file = useDatabase();
let store: OrderStore;

beforeAll(() => {
  store = createOrderStore({ database: file.database, announce: () => undefined, amountlessProviders: ["daraja"] });
});

interface Page {
  data: {
    id: string;
    type: string;
    timestamp: string;
    data: { order: { orderId: string; version: number; status: string } };
  }[];
  nextCursor: string | null;
  endCursor: string;
}

const pageOf = ({ body }: Answer): Page => body as unknown as Page;

const read = async (node: TestNode, query: Record<string, string>): Promise<Page> =>
  pageOf(await asMerchant(node, `/v1/events?${new URLSearchParams(query)}`));

/** The cursor of a reader that has everything so far. */
async function end(node: TestNode): Promise<string> {
  let cursor: string | undefined;
  for (;;) {
    const page = await read(node, cursor === undefined ? { limit: "200" } : { cursor, limit: "200" });
    if (page.nextCursor === null) return page.endCursor;
    cursor = page.nextCursor;
  }
}

async function openOrder(): Promise<{ id: string; orderId: string; paymentId: string }> {
  const { event, payment } = await store.open(draftOf());
  return { id: event.id, orderId: event.orderId, paymentId: payment?.id ?? "" };
}

const brief = ({ data }: Page): string[] =>
  data.map(({ type, data: { order } }) => `${order.orderId} ${order.version} ${type}`);

describe("GET /v1/events", () => {
  it("lists every version once, oldest first, typed by what changed", async () => {
    const node = await startNode({ databaseUrl: file.url });
    const cursor = await end(node);
    const order = await openOrder();
    await store.advance(order.paymentId, failed());
    await store.advance(order.paymentId, paid());
    await store.advance(order.paymentId, paid({ receipt: `LATE-${order.id}` }));
    const page = await read(node, { cursor });
    expect(brief(page)).toEqual([
      `${order.orderId} 1 order.pending`,
      `${order.orderId} 2 order.failed`,
      `${order.orderId} 3 order.succeeded`,
      `${order.orderId} 4 order.updated`,
    ]);
    expect(page.data[1]).toMatchObject({ id: `${order.id}.0.2`, data: { order: { status: "failed", version: 2 } } });
    expect(page.nextCursor).toBeNull();
    expect(brief(await read(node, { cursor: page.endCursor }))).toEqual([]);
    expect(brief(await read(node, { cursor, type: "order.succeeded" }))).toEqual([
      `${order.orderId} 3 order.succeeded`,
    ]);
  });

  it("pages through everything", async () => {
    const node = await startNode({ databaseUrl: file.url });
    let cursor: string | null = await end(node);
    const orders = await Promise.all(Array.from({ length: 7 }, openOrder));
    await Promise.all(orders.map(({ paymentId }) => store.advance(paymentId, paid())));
    const seen: string[] = [];
    while (cursor !== null) {
      const page: Page = await read(node, { cursor, limit: "3" });
      expect(page.data.length).toBeLessThanOrEqual(3);
      seen.push(...page.data.map(({ id }) => id));
      cursor = page.nextCursor;
    }
    expect(seen).toHaveLength(14);
    expect(new Set(seen)).toEqual(new Set(orders.flatMap(({ id }) => [`${id}.0.1`, `${id}.0.2`])));
  });

  it("begins at a time", async () => {
    const node = await startNode({ databaseUrl: file.url });
    const before = await openOrder();
    const { rows } = await file.database.pool.query("select clock_timestamp() + interval '1 millisecond' as at");
    await vi.waitUntil(
      async () =>
        (await file.database.pool.query("select clock_timestamp() > $1 as is_over", [rows[0].at])).rows[0].is_over,
    );
    const after = await openOrder();
    const page = await read(node, { since: rows[0].at.toISOString() });
    expect(brief(page)).toContain(`${after.orderId} 1 order.pending`);
    expect(brief(page)).not.toContain(`${before.orderId} 1 order.pending`);
  });

  it("loses no event whose transaction commits after later ones", async () => {
    const node = await startNode({ databaseUrl: file.url });
    let cursor = await end(node);
    const late = await openOrder();
    const client = await file.database.pool.connect();
    onTestFinished(() => client.release());
    await client.query("begin");
    await client.query(`insert into event (order_uuid, version, status, payment, also_paid, occurred_at)
      select id, 2, status, payment, also_paid, clock_timestamp() from "order" where id = '${late.id}'`);
    const early = await openOrder();
    const first = await read(node, { cursor });
    expect(brief(first)).toEqual([`${late.orderId} 1 order.pending`, `${early.orderId} 1 order.pending`]);
    cursor = first.endCursor;
    expect(brief(await read(node, { cursor }))).toEqual([]);
    await client.query("commit");
    const second = await read(node, { cursor });
    expect(brief(second)).toEqual([`${late.orderId} 2 order.updated`]);
    expect(brief(await read(node, { cursor: second.endCursor }))).toEqual([]);
  });

  it("loses no event for a reader whose cursor is ahead of a database that went back", async () => {
    const node = await startNode({ databaseUrl: file.url });
    const { rows } = await file.database.pool.query("select pg_snapshot_xmax(pg_current_snapshot())::text as xmax");
    const ahead = Number(rows[0].xmax) + 1_000;
    const cursor = Buffer.from(JSON.stringify([0, `${ahead}:${ahead}:`])).toString("base64url");
    await file.database.pool.query("select start_epoch()");
    onTestFinished(() => file.database.pool.query("update timeline set epoch = 0").then(() => undefined));
    const order = await openOrder();
    const page = await read(node, { cursor, limit: "200" });
    expect(brief(page)).toContain(`${order.orderId} 1 order.pending`);
    const next = await openOrder();
    expect(brief(await read(node, { cursor: page.endCursor }))).toEqual([`${next.orderId} 1 order.pending`]);
  });

  it("has no event of another cluster, also on a node without endpoints", async () => {
    const order = await openOrder();
    const { pool } = file.database;
    await pool.query("update event set xid = '9000000000000' where order_uuid = $1", [order.id]);
    await startNode({ databaseUrl: file.url });
    const isLeft = "select exists (select from event where order_uuid = $1 and xid is not null) as left";
    await vi.waitUntil(async () => !(await pool.query(isLeft, [order.id])).rows[0].left);
  });

  it.each([
    "nonsense",
    Buffer.from('["1:1:"]').toString("base64url"),
    Buffer.from('[0,"9:1:"]').toString("base64url"),
    Buffer.from('[0,"99999999999999999999:1:"]').toString("base64url"),
    Buffer.from('[0,"1:5:9"]').toString("base64url"),
    Buffer.from('[0,"1:1:",["1","x",1]]').toString("base64url"),
  ])("refuses the cursor %s, in pages and in streams", async (cursor) => {
    const node = await startNode({ databaseUrl: file.url });
    for (const accept of ["application/json", "text/event-stream"]) {
      const { status, body } = await asMerchant(node, `/v1/events?cursor=${cursor}`, undefined, { accept });
      expect([status, body.errors?.[0]?.path]).toEqual([400, "cursor"]);
    }
  });

  it.each(["endpoint.disabled", "paymentLink.paid"])(
    "refuses the type %s, which no event of an order has",
    async (type) => {
      const node = await startNode({ databaseUrl: file.url });
      const { status, body } = await asMerchant(node, `/v1/events?type=${type}`);
      expect([status, body.errors?.[0]?.path]).toEqual([400, "type"]);
    },
  );

  it("is for the merchant only", async () => {
    const node = await startNode({ databaseUrl: file.url });
    expect((await fetch(`${node.url}/v1/events`)).status).toBe(401);
  });
});

/** Follows the stream, collecting its messages, until `stop`. */
async function follow(node: TestNode, headers: Record<string, string> = {}, query = "") {
  const aborted = new AbortController();
  const response = await fetch(`${node.url}/v1/events${query}`, {
    headers: { authorization: `Bearer ${apiKey}`, accept: "text/event-stream", ...headers },
    signal: aborted.signal,
  });
  const messages: { id: string; body: Page["data"][number] }[] = [];
  let last: string | undefined;
  const reading = (async () => {
    let text = "";
    for await (const chunk of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
      text += chunk;
      const parts = text.split("\n\n");
      text = parts.pop() ?? "";
      for (const part of parts) {
        last = /^id: (.*)$/m.exec(part)?.[1] ?? last;
        const [, id, data] = /^id: (.*)\ndata: (.*)$/.exec(part) ?? [];
        if (id !== undefined && data !== undefined) messages.push({ id, body: JSON.parse(data) });
      }
    }
  })().catch(() => undefined);
  const stop = async (): Promise<void> => {
    aborted.abort();
    await reading;
  };
  onTestFinished(stop);
  return { messages, stop, lastId: () => last, ended: reading, type: response.headers.get("content-type") };
}

describe("the stream of events", () => {
  it("sends what happens from now on, and continues after the last event that the client has", async () => {
    const node = await startNode({ databaseUrl: file.url });
    await openOrder();
    const place = await end(node);
    const stream = await follow(node);
    expect(stream.type).toMatch(/^text\/event-stream/);
    const order = await openOrder();
    await store.advance(order.paymentId, paid());
    await vi.waitUntil(() => stream.messages.length === 2);
    expect(stream.messages.map(({ body }) => body.type)).toEqual(["order.pending", "order.succeeded"]);
    // The stream's own ids are cursors, and each message is the entry of a page.
    expect(stream.messages.map(({ body }) => body)).toEqual((await read(node, { cursor: place })).data);
    await stream.stop();
    const missed = await openOrder();
    const again = await follow(node, { "last-event-id": stream.messages[0]?.id ?? "" });
    await vi.waitUntil(() => again.messages.length === 2);
    expect(again.messages.map(({ body }) => body.data.order.orderId)).toEqual([order.orderId, missed.orderId]);
  });

  it("can be continued although it has sent no message yet", async () => {
    const node = await startNode({ databaseUrl: file.url });
    const stream = await follow(node, {}, "?type=order.review");
    await vi.waitUntil(() => stream.lastId() !== undefined);
    await stream.stop();
    const missed = await openOrder();
    const again = await follow(node, { "last-event-id": stream.lastId() ?? "" });
    await vi.waitUntil(() => again.messages.length === 1);
    expect(again.messages[0]?.body.data.order.orderId).toBe(missed.orderId);
  });

  it("sends a backlog that is larger than what may wait for a reader", async () => {
    const node = await startNode({ databaseUrl: file.url });
    const cursor = await end(node);
    const metadata = { filling: "x".repeat(7_000) };
    for (let count = 0; count < 60; count += 1) await store.open(draftOf({ metadata }));
    const stream = await follow(node, {}, `?cursor=${cursor}`);
    await vi.waitUntil(() => stream.messages.length === 60);
    expect(new Set(stream.messages.map(({ body }) => body.data.order.orderId)).size).toBe(60);
  });

  it("is open at most 32 times on a node, also for concurrent requests", async () => {
    const node = await startNode({ databaseUrl: file.url });
    // A request that is refused leaves its place to others.
    await asMerchant(node, "/v1/events?cursor=nonsense", undefined, { accept: "text/event-stream" });
    const aborted = new AbortController();
    onTestFinished(() => aborted.abort());
    const headers = { authorization: `Bearer ${apiKey}`, accept: "text/event-stream" };
    const open = () => fetch(`${node.url}/v1/events`, { headers, signal: aborted.signal });
    const answers = await Promise.all(Array.from({ length: 40 }, open));
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(32);
    expect(answers.filter(({ status }) => status === 429)).toHaveLength(8);
  });

  it("ends when the node shuts down", async () => {
    const node = await startNode({ databaseUrl: file.url });
    const stream = await follow(node);
    await node.close();
    await stream.ended;
  });
});
