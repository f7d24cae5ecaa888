/** The delivery engine of a node, with a backend over HTTP. Time passes by moving what is due in the database. */
import { createServer as createTcpServer } from "node:net";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { createOrderStore, type OrderStore } from "../../server/order/store.ts";
import { addEndpoint, type Backend, startBackend } from "../support/backend.ts";
import { useDatabase } from "../support/database.ts";
import { historyOf, patchEndpoint, retryNow, startDeliveryNode } from "../support/delivery.ts";
import { asMerchant, type TestNode } from "../support/node.ts";
import { draftOf, failed, paid } from "../support/store.ts";

const file = useDatabase();

interface Ground {
  node: TestNode;
  backend: Backend;
  endpointId: string;
}

/** A node with one endpoint that receives these types. The endpoint is deleted when the test is over. */
async function start(fields: Record<string, unknown> = {}, answer?: Backend["answer"]): Promise<Ground> {
  const node = await startDeliveryNode(file);
  const backend = await startBackend();
  if (answer) backend.answer = answer;
  const endpointId = await addEndpoint(node, backend, fields);
  return { node, backend, endpointId };
}

/** A store outside the node: it announces nothing, like another node whose announcement was lost. */
const store = (): OrderStore =>
  createOrderStore({ database: file.database, announce: () => undefined, amountlessProviders: ["daraja"] });

/** Opens an order and returns its id, its payment's id and a way to change it. */
async function openOrder() {
  const { event, payment } = await store().open(draftOf());
  const paymentId = payment?.id ?? "";
  return {
    id: event.id,
    orderId: event.orderId,
    paymentId,
    pay: () => store().advance(paymentId, paid({ receipt: `R-${event.id}` })),
  };
}

const retry = (endpointId: string) => retryNow(file.database.pool, endpointId);

const deliveries = ({ node, endpointId }: Ground, query = "") => historyOf(node, endpointId, query);

const patch = ({ node, endpointId }: Ground, change: object) => patchEndpoint(node, endpointId, change);

const delivery = async (endpointId: string, orderUuid: string) =>
  (
    await file.database.pool.query(
      `select acked_version, due_version, attempts, attempt_at, claim, extract(epoch from attempt_at - now())::float8 as in_s
       from delivery where endpoint_id = $1 and subject_id = $2`,
      [endpointId, orderUuid],
    )
  ).rows[0];

/** Waits until the endpoint has acknowledged everything. */
const quiet = (endpointId: string) =>
  vi.waitUntil(async () => {
    const { rows } = await file.database.pool.query(
      "select from delivery where endpoint_id = $1 and (due_version is not null or claim is not null)",
      [endpointId],
    );
    return rows.length === 0;
  });

describe("delivery engine", () => {
  it("sends a failed message again by its schedule, with the same id, until the answer is 2xx", async () => {
    const statuses = [500, 404, 200];
    const ground = await start({}, (response) => response.writeHead(statuses.shift() ?? 200).end("words"));
    const { backend, endpointId } = ground;
    const order = await openOrder();
    await order.pay();
    for (const [nth, delayS] of [5, 300].entries()) {
      await vi.waitUntil(async () => (await delivery(endpointId, order.id))?.attempts === nth + 1);
      const { in_s } = await delivery(endpointId, order.id);
      expect(in_s).toBeGreaterThan(delayS * 0.9 - 2);
      expect(in_s).toBeLessThanOrEqual(delayS * 1.1);
      await retry(endpointId);
    }
    await quiet(endpointId);
    expect(backend.received.map(({ id, type }) => [id, type])).toEqual(
      Array(3).fill([`${order.id}.0.2`, "order.succeeded"]),
    );
    expect(await deliveries(ground)).toMatchObject([
      { status: "delivered", attempt: 3, httpStatus: 200, orderId: order.orderId, type: "order.succeeded" },
      { status: "failed", attempt: 2, httpStatus: 404, answer: "words" },
      { status: "failed", attempt: 1, httpStatus: 500, answer: "words", durationMs: expect.any(Number) },
    ]);
  });

  it("waits for Retry-After", async () => {
    const { endpointId } = await start({}, (response) => response.writeHead(503, { "retry-after": "3600" }).end());
    const order = await openOrder();
    await order.pay();
    await vi.waitUntil(async () => (await delivery(endpointId, order.id))?.attempts === 1);
    const { in_s } = await delivery(endpointId, order.id);
    expect(in_s).toBeGreaterThan(3_590);
    expect(in_s).toBeLessThanOrEqual(3_600);
  });

  it("ends after ten attempts, and resumes when the endpoint is enabled", async () => {
    const ground = await start({}, (response) => response.writeHead(500).end());
    const { backend, endpointId } = ground;
    const order = await openOrder();
    await order.pay();
    for (let attempt = 1; attempt <= 10; attempt += 1) {
      await vi.waitUntil(async () => (await delivery(endpointId, order.id))?.attempts === attempt);
      await retry(endpointId);
    }
    expect(await delivery(endpointId, order.id)).toMatchObject({
      due_version: 2,
      attempt_at: Number.POSITIVE_INFINITY,
    });
    const [pending] = await deliveries(ground, "status=pending");
    expect(pending).toMatchObject({ status: "pending", attempt: 10, version: 2 });
    expect(pending).not.toHaveProperty("nextAttemptAt");
    backend.answer = (response) => response.end();
    await patch(ground, { enabled: true });
    await quiet(endpointId);
    expect(backend.received).toHaveLength(11);
  });

  it("treats a redirect as a failure and does not follow it", async () => {
    const ground = await start({}, (response) => response.writeHead(302, { location: "/elsewhere" }).end());
    const order = await openOrder();
    await order.pay();
    await vi.waitUntil(async () => (await delivery(ground.endpointId, order.id))?.attempts === 1);
    expect(ground.backend.received.map(({ path }) => path)).toEqual(["/hooks"]);
    expect(await deliveries(ground)).toMatchObject([
      { status: "failed", httpStatus: 302, error: "redirects are not followed" },
    ]);
  });

  it("disables an endpoint that answers 410, and tells the others", async () => {
    const ground = await start({}, (response) => response.writeHead(410).end());
    const other = await startBackend();
    await addEndpoint(ground.node, other, { events: ["endpoint.disabled"] });
    const order = await openOrder();
    await order.pay();
    await vi.waitUntil(() => other.received.length > 0);
    expect(other.received).toMatchObject([
      {
        type: "endpoint.disabled",
        isVerified: true,
        id: `${ground.endpointId}.0.2`,
        body: { data: { endpoint: { id: ground.endpointId, enabled: false, disabledBecause: "gone" } } },
      },
    ]);
    // What is due stays due, and is sent when the endpoint is enabled.
    expect(await delivery(ground.endpointId, order.id)).toMatchObject({ due_version: 2 });
    ground.backend.answer = (response) => response.end();
    await patch(ground, { enabled: true });
    await retry(ground.endpointId);
    await quiet(ground.endpointId);
    expect(ground.backend.received.at(-1)).toMatchObject({ type: "order.succeeded" });
  });

  it("does not disable an endpoint because of a 410 from a URL that it no longer has", async () => {
    const held = Promise.withResolvers<void>();
    const ground = await start({}, (response) => void held.promise.then(() => response.writeHead(410).end()));
    const order = await openOrder();
    await order.pay();
    await vi.waitUntil(() => ground.backend.received.length > 0);
    const moved = await startBackend();
    await patch(ground, { url: moved.url });
    held.resolve();
    await vi.waitUntil(async () => (await delivery(ground.endpointId, order.id))?.attempts === 1);
    await retry(ground.endpointId);
    await quiet(ground.endpointId);
    expect(moved.received.map(({ type }) => type)).toEqual(["order.succeeded"]);
    const { body } = await asMerchant(ground.node, `/v1/endpoints/${ground.endpointId}`);
    expect(body).toMatchObject({ endpoint: { enabled: true, url: moved.url } });
  });

  it("reads at most 64 KiB of an answer, and keeps its first KiB", async () => {
    const ground = await start({}, (response) => {
      response.writeHead(200);
      const write = (): void => {
        while (response.write("é".repeat(32_768)) && !response.destroyed);
      };
      response.on("drain", write);
      response.on("error", () => undefined);
      write();
    });
    const order = await openOrder();
    await order.pay();
    await vi.waitUntil(async () => (await deliveries(ground)).length > 0);
    const [shown] = await deliveries(ground);
    expect(shown).toMatchObject({ status: "delivered", httpStatus: 200 });
    expect(Buffer.byteLength(String(shown?.answer))).toBeLessThanOrEqual(1_024);
  });

  it("reports why there was no answer", async () => {
    const { node } = await start();
    const tcp = createTcpServer((socket) => socket.end("no TLS here\r\n"));
    await new Promise<void>((resolve) => tcp.listen(0, "127.0.0.1", resolve));
    onTestFinished(() => void tcp.close());
    const { port } = tcp.address() as { port: number };
    const closed = await startBackend();
    await closed.close();
    for (const [url, error] of [
      [`https://127.0.0.1:${port}/`, /SSL|TLS|EPROTO/],
      [closed.url, /ECONNREFUSED/],
    ] as const) {
      const { body } = await asMerchant(node, "/v1/endpoints", { url });
      const { endpoint } = body as unknown as { endpoint: { id: string } };
      const ping = await asMerchant(node, `/v1/endpoints/${endpoint.id}/ping`, {});
      expect(ping.body).toMatchObject({ delivered: false, error: expect.stringMatching(error) });
    }
  });

  it("sends the newest state, and marks the versions that it replaced", async () => {
    const ground = await start({ events: ["order.succeeded", "order.updated"] }, (response) =>
      response.writeHead(500).end(),
    );
    const { backend, endpointId } = ground;
    const order = await openOrder();
    await store().advance(order.paymentId, paid());
    await vi.waitUntil(async () => (await delivery(endpointId, order.id))?.attempts === 1);
    backend.answer = (response) => response.end();
    // A receipt that is learnt later is the next version.
    await order.pay();
    await quiet(endpointId);
    expect(backend.received.map(({ id, type }) => [id, type])).toEqual([
      [`${order.id}.0.2`, "order.succeeded"],
      [`${order.id}.0.3`, "order.succeeded"],
    ]);
    expect((await deliveries(ground)).map(({ version, status }) => [version, status])).toEqual(
      expect.arrayContaining([
        [3, "delivered"],
        [2, "superseded"],
        [2, "failed"],
      ]),
    );
    expect(await deliveries(ground, "status=superseded")).toHaveLength(1);
  });

  it("sends a later change of a status that was acknowledged as order.updated", async () => {
    const { backend, endpointId } = await start();
    const order = await openOrder();
    await store().advance(order.paymentId, paid());
    await vi.waitUntil(() => backend.received.length === 1);
    await quiet(endpointId);
    await order.pay();
    await vi.waitUntil(() => backend.received.length === 2);
    expect(backend.received.map(({ type }) => type)).toEqual(["order.succeeded", "order.updated"]);
  });

  it("delivers a status to its subscriber although other versions came first", async () => {
    const { backend, endpointId } = await start({ events: ["order.succeeded"] }, (response) =>
      response.writeHead(500).end(),
    );
    const order = await openOrder();
    await store().advance(order.paymentId, failed());
    await store().advance(order.paymentId, paid());
    await vi.waitUntil(async () => (await delivery(endpointId, order.id))?.attempts === 1);
    await order.pay();
    backend.answer = (response) => response.end();
    await quiet(endpointId);
    expect(backend.received.map(({ type }) => type)).toEqual(["order.succeeded", "order.succeeded"]);
    expect(backend.received.at(-1)?.body.data.order).toMatchObject({ status: "succeeded", version: 4, reason: "late" });
  });

  it("sends nothing about orders that changed only before the endpoint was created", async () => {
    const before = await openOrder();
    await before.pay();
    const { backend, endpointId } = await start({ events: ["order.succeeded", "order.updated"] });
    const after = await openOrder();
    await after.pay();
    await vi.waitUntil(() => backend.received.length > 0);
    await quiet(endpointId);
    expect(backend.received.map(({ body }) => body.data.order.orderId)).toEqual([after.orderId]);
  });

  it("keeps what is due while the endpoint is disabled", async () => {
    const ground = await start();
    await patch(ground, { enabled: false });
    const order = await openOrder();
    await order.pay();
    await vi.waitUntil(async () => (await delivery(ground.endpointId, order.id))?.due_version === 2);
    expect(ground.backend.received).toEqual([]);
    await patch(ground, { enabled: true });
    await quiet(ground.endpointId);
    expect(ground.backend.received).toHaveLength(1);
  });

  it("replays the current state of the matching orders", async () => {
    const ground = await start();
    const since = (await file.database.pool.query("select clock_timestamp() as at")).rows[0].at.toISOString();
    const orders = [await openOrder(), await openOrder()];
    for (const order of orders) await order.pay();
    await openOrder();
    await vi.waitUntil(() => ground.backend.received.length === 2);
    await quiet(ground.endpointId);
    const replay = async (body: object) =>
      (await asMerchant(ground.node, `/v1/endpoints/${ground.endpointId}/replay`, body)).body;
    expect(await replay({ since, status: "succeeded" })).toEqual({ count: 2 });
    await vi.waitUntil(() => ground.backend.received.length === 4);
    await quiet(ground.endpointId);
    expect(await replay({ since, orderId: orders[0]?.orderId })).toEqual({ count: 1 });
    await vi.waitUntil(() => ground.backend.received.length === 5);
    expect(new Set(ground.backend.received.map(({ type }) => type))).toEqual(new Set(["order.succeeded"]));
    expect(await replay({ since: new Date(Date.now() + 60_000).toISOString() })).toEqual({ count: 0 });
  });

  it("replays one order, whenever it changed", async () => {
    const ground = await start();
    const [order, other] = [await openOrder(), await openOrder()];
    for (const each of [order, other]) await each.pay();
    await vi.waitUntil(() => ground.backend.received.length === 2);
    await quiet(ground.endpointId);
    const replay = async (body: object) =>
      (await asMerchant(ground.node, `/v1/endpoints/${ground.endpointId}/replay`, body)).body;
    expect(await replay({ orderId: order.orderId })).toEqual({ count: 1 });
    await vi.waitUntil(() => ground.backend.received.length === 3);
    expect(ground.backend.received.at(-1)).toMatchObject({ id: `${order.id}.0.2`, type: "order.succeeded" });
    expect(await replay({ orderId: order.orderId, status: "failed" })).toEqual({ count: 0 });
    expect(await replay({ orderId: "ORD-none" })).toEqual({ count: 0 });
    expect(await replay({})).toMatchObject({ errors: [{ path: "since", message: "is required without orderId" }] });
    expect(await replay({ orderId: order.orderId, until: "2026-01-01T00:00:00Z" })).toMatchObject({
      errors: [{ path: "until", message: "needs since" }],
    });
  });

  it("tries the backlog of a failing endpoint four at a time, each 100 ms after a failure", async () => {
    const arrivedMs: number[] = [];
    const { endpointId } = await start({}, (response) => {
      arrivedMs.push(performance.now());
      response.writeHead(500).end();
    });
    const fail = async (orders: Awaited<ReturnType<typeof openOrder>>[]): Promise<void> => {
      for (const order of orders) await order.pay();
      for (const { id } of orders) await vi.waitUntil(async () => (await delivery(endpointId, id))?.attempts > 0);
    };
    await fail([await openOrder()]);
    arrivedMs.length = 0;
    await fail(await Promise.all(Array.from({ length: 12 }, openOrder)));
    const gapsMs = arrivedMs.slice(4).map((ms, index) => ms - (arrivedMs[index] ?? Number.NaN));
    expect(gapsMs.length).toBeGreaterThanOrEqual(8);
    // A timer may end a fraction of a millisecond early.
    for (const gapMs of gapsMs) expect(gapMs).toBeGreaterThan(99);
  });

  it("logs once that an endpoint fails, and once that it has recovered", async () => {
    const ground = await start({}, (response) => response.writeHead(500).end("words of the backend"));
    const { backend, endpointId, node } = ground;
    const orders = [await openOrder(), await openOrder()];
    for (const order of orders) await order.pay();
    for (const order of orders) await vi.waitUntil(async () => (await delivery(endpointId, order.id))?.attempts === 1);
    const logged = () =>
      node.log.map((line) => JSON.parse(line)).filter(({ event }) => /^delivery\.endpoint/.test(event));
    await vi.waitUntil(() => logged().length > 0);
    expect(logged()).toMatchObject([{ event: "delivery.endpoint.failing", level: 40, endpointId, httpStatus: 500 }]);
    expect(node.log.join("")).not.toContain("words of the backend");
    backend.answer = (response) => response.end();
    await retry(endpointId);
    await quiet(endpointId);
    await vi.waitUntil(() => logged().length > 1);
    expect(logged()).toMatchObject([
      { event: "delivery.endpoint.failing" },
      { event: "delivery.endpoint.recovered", level: 30, endpointId },
    ]);
  });

  it("sends what waits for a later attempt when the endpoint is enabled again", async () => {
    const ground = await start({}, (response) => response.writeHead(410).end());
    const order = await openOrder();
    await order.pay();
    await vi.waitUntil(async () => (await delivery(ground.endpointId, order.id))?.attempts === 1);
    await file.database.pool.query(
      "update delivery set attempts = 9, attempt_at = now() + interval '1 day' where endpoint_id = $1",
      [ground.endpointId],
    );
    ground.backend.answer = (response) => response.end();
    await patch(ground, { enabled: true });
    await quiet(ground.endpointId);
    expect(ground.backend.received).toHaveLength(2);
  });

  it("does not lose a replay when the order changes before its delivery, or when an attempt is in flight", async () => {
    const ground = await start({ events: ["order.succeeded"] });
    const order = await openOrder();
    await store().advance(order.paymentId, paid());
    await vi.waitUntil(() => ground.backend.received.length === 1);
    await quiet(ground.endpointId);
    ground.backend.answer = (response) => response.writeHead(500).end();
    const replay = () =>
      asMerchant(ground.node, `/v1/endpoints/${ground.endpointId}/replay`, {
        since: "2026-01-01T00:00:00Z",
        orderId: order.orderId,
      });
    expect((await replay()).body).toEqual({ count: 1 });
    await vi.waitUntil(async () => (await delivery(ground.endpointId, order.id))?.attempts === 1);
    await order.pay();
    await vi.waitUntil(async () => (await delivery(ground.endpointId, order.id))?.due_version === 3);
    const held = Promise.withResolvers<void>();
    ground.backend.answer = (response) => void held.promise.then(() => response.end());
    const sent = ground.backend.received.length;
    await retry(ground.endpointId);
    await vi.waitUntil(() => ground.backend.received.length > sent);
    expect((await replay()).body).toEqual({ count: 1 });
    held.resolve();
    await quiet(ground.endpointId);
    expect(ground.backend.received.at(-1)).toMatchObject({
      type: "order.succeeded",
      body: { data: { order: { version: 3 } } },
    });
  });

  it("gives each endpoint its own connections, also at one host", async () => {
    const ground = await start();
    const { backend, node } = ground;
    backend.answer = (response, { path }) => {
      if (path === "/fast") response.end();
    };
    const origin = new URL(backend.url).origin;
    for (const path of ["/slow", "/fast"]) await asMerchant(node, "/v1/endpoints", { url: origin + path });
    const orders = await Promise.all(Array.from({ length: 40 }, openOrder));
    await Promise.all(orders.map(({ pay }) => pay()));
    await vi.waitUntil(() => backend.received.filter(({ path }) => path === "/fast").length === 40);
  });
});
