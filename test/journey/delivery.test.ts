/** Events reach the merchant's backend through killed nodes, lost announcements, and outages of PostgreSQL and Redis. */
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { addEndpoint, startBackend } from "../support/backend.ts";
import { beginPayment, connect, openDeliveryDeployment, succeeded, typesOf } from "../support/delivery.ts";
import { createCleanups, openPushLog, unlimited } from "../support/deployment.ts";
import { startPostgres } from "../support/postgres.ts";
import { startTestProcess } from "../support/process.ts";
import { startRedis } from "../support/redis.ts";
import { startTcpProxy } from "../support/tcp-proxy.ts";

vi.setConfig({ testTimeout: 120_000 });

/** The key of the fan-out's lock (server/delivery/fan-out.ts). */
const fanOutLock = 7_458_003;

describe("deliveries to the merchant's backend", () => {
  it("survive a node that is killed between the commit and the fan-out", async () => {
    const { env, pushLog, database } = await openDeliveryDeployment();
    const first = await startTestProcess(env);
    const backend = await startBackend();
    await addEndpoint(first, backend);
    const { order, succeed } = await beginPayment(first, pushLog);
    await database.query("select pg_advisory_lock($1)", [fanOutLock]);
    await succeed(first);
    await first.end("SIGKILL");
    expect(typesOf(backend, order.orderId)).toEqual([]);
    await database.query("select pg_advisory_unlock($1)", [fanOutLock]);
    await startTestProcess(env);
    await succeeded(backend, order.orderId);
    expect(backend.received.every(({ isVerified }) => isVerified)).toBe(true);
  });

  it("survive a node that is killed between the request and the record of its answer", async () => {
    const { env, pushLog, database } = await openDeliveryDeployment();
    const first = await startTestProcess(env);
    const backend = await startBackend();
    await addEndpoint(first, backend);
    const { order, succeed } = await beginPayment(first, pushLog);
    backend.answer = () => undefined;
    await succeed(first);
    await succeeded(backend, order.orderId);
    await first.end("SIGKILL");
    backend.answer = (response) => response.end();
    await startTestProcess(env);
    // The lease of the killed node ends.
    await database.query("update delivery set attempt_at = now(), claimed_until = now()");
    await vi.waitUntil(() => backend.received.length === 2);
    expect(new Set(backend.received.map(({ id }) => id))).toEqual(new Set([`${order.id}.0.3`]));
  });

  it("are sent once by two nodes, whichever of them commits", async () => {
    const { env, pushLog } = await openDeliveryDeployment();
    const nodes = [await startTestProcess(env), await startTestProcess(env)] as const;
    const backend = await startBackend();
    await addEndpoint(nodes[0], backend);
    const orders = [];
    for (let nth = 0; nth < 10; nth += 1) {
      const node = nodes[nth % 2] ?? nodes[0];
      const { order, succeed } = await beginPayment(node, pushLog);
      await succeed(nodes[(nth + 1) % 2] ?? nodes[0]);
      orders.push(order);
    }
    await Promise.all(orders.map(({ orderId }) => succeeded(backend, orderId)));
    expect(backend.received.map(({ id }) => id).toSorted()).toEqual(orders.map(({ id }) => `${id}.0.3`).toSorted());
  });

  it("do not need Redis", async () => {
    const { env, pushLog } = await openDeliveryDeployment();
    const redis = await startRedis();
    onTestFinished(redis.stop);
    const node = await startTestProcess({ ...env, REDIS_URL: redis.url });
    const backend = await startBackend();
    await addEndpoint(node, backend);
    const { order, succeed } = await beginPayment(node, pushLog);
    await redis.stop();
    await succeed(node);
    await succeeded(backend, order.orderId);
  });

  it("go on when PostgreSQL is back, and go back with it", async () => {
    const cleanups = createCleanups();
    onTestFinished(cleanups.runAll);
    const postgres = await startPostgres();
    cleanups.add(postgres.close);
    const proxy = await startTcpProxy(postgres.url, cleanups.add);
    const pushLog = await openPushLog(cleanups);
    const node = await startTestProcess({ DATABASE_URL: proxy.url, ...unlimited, ...pushLog.env });
    const backend = await startBackend();
    await addEndpoint(node, backend, { events: ["order.processing", "order.succeeded", "order.updated"] });
    const { order, succeed } = await beginPayment(node, pushLog);
    await vi.waitUntil(() => typesOf(backend, order.orderId).length === 1);
    await vi.waitUntil(async () => {
      const client = await connect(postgres.url);
      const { rows } = await client.query("select from delivery where acked_version = 2");
      await client.end();
      return rows.length === 1;
    });

    await postgres.save();
    proxy.targets = [postgres.url];
    await succeed(node);
    await succeeded(backend, order.orderId);
    expect(backend.received.at(-1)?.id).toBe(`${order.id}.0.3`);

    // The success is lost. The operator starts an epoch, and the endpoint receives the state that the database has now.
    await postgres.goBack();
    proxy.targets = [postgres.url];
    await (await connect(postgres.url)).query("select start_epoch()");
    await vi.waitUntil(() => typesOf(backend, order.orderId).at(-1) === "order.processing", { timeout: 60_000 });
    const last = backend.received.at(-1)?.body.data.order;
    expect(last).toMatchObject({ status: "processing", version: 2 });
    expect(Number(last?.epoch)).toBeGreaterThan(0);
    await succeed(node);
    await vi.waitUntil(() => backend.received.at(-1)?.id === `${order.id}.${last?.epoch}.3`, { timeout: 60_000 });
  });

  it("pass a hundred thousand that are due at a dead endpoint", async () => {
    const { env, pushLog, database } = await openDeliveryDeployment();
    const node = await startTestProcess(env);
    const dead = await startBackend();
    dead.answer = () => undefined;
    const deadId = await addEndpoint(node, dead);
    const backend = await startBackend();
    await addEndpoint(node, backend);
    const { order: model, succeed: succeedModel } = await beginPayment(node, pushLog);
    await succeedModel(node);
    await succeeded(backend, model.orderId);
    // As many paid orders, each due at the dead endpoint.
    await database.query(
      `with paid as (
         insert into "order" (id, order_id, amount_minor, currency, version, status, attempt, payment, opened_at, changed_at)
         select gen_random_uuid(), 'DUE-' || n, amount_minor, currency, version, status, attempt, payment, opened_at, changed_at
         from "order", generate_series(1, 100000) n where id = $2 returning id, version, status, payment, also_paid, changed_at
       ), history as (
         insert into event (order_uuid, version, status, payment, also_paid, occurred_at, xid)
         select id, v, case when v = version then status else 'processing' end, payment, also_paid, changed_at, null
         from paid, generate_series(1, 3) v
       )
       insert into delivery (endpoint_id, kind, subject_id, due_version, attempt_at)
       select $1, 'order', id, version, now() - interval '1 minute' from paid`,
      [deadId, model.id],
    );
    const { order, succeed } = await beginPayment(node, pushLog);
    await succeed(node);
    await succeeded(backend, order.orderId);
    expect(dead.received.length).toBeLessThanOrEqual(32);
    expect(dead.received.length).toBeGreaterThan(0);
  });
});
