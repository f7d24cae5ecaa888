/** A node during and after an outage of PostgreSQL: its log lines and its readiness. */
import { beforeAll, describe, expect, it, vi } from "vitest";
import { createDatabase } from "../support/database.ts";
import { call, pay, startNode } from "../support/node.ts";
import { startScriptedDaraja } from "../support/scripted-daraja.ts";
import { startTcpProxy } from "../support/tcp-proxy.ts";
import { watch } from "../support/watch.ts";

let databaseUrl: string;
beforeAll(async () => {
  const database = await createDatabase();
  databaseUrl = database.url;
  return database.drop;
});

describe("a node during an outage of PostgreSQL", () => {
  it("logs one line per background task at the start of the outage and one at its end", async () => {
    const proxy = await startTcpProxy(databaseUrl);
    const daraja = await startScriptedDaraja();
    const node = await startNode({ databaseUrl: proxy.url, env: daraja.env });
    const { order, watchToken: token } = await pay(node);
    await watch("Socket.IO", { node, orderId: order.orderId, token }).until(() => true);
    const countOf = (text: string) => node.log.filter((line) => line.includes(text)).length;
    const wait = (text: string) => vi.waitUntil(() => countOf(text) > 0, { interval: 20 });
    proxy.cut();
    // The hub's pass runs every 2 s, so the reconciler's, which runs every 0.5 s, has failed several times by then.
    await Promise.all([wait('"event":"task.failed","task":"resync"'), wait('"event":"payment.due.claim_failed"')]);
    proxy.restore();
    await Promise.all([
      wait('"event":"task.recovered","task":"resync"'),
      wait('"event":"payment.due.claim_recovered"'),
    ]);
    expect(countOf('"event":"payment.due.claim_failed"')).toBe(1);
    expect(countOf('"event":"payment.due.claim_recovered"')).toBe(1);
    const failed = node.log
      .filter((line) => line.includes('"event":"task.failed"'))
      .map((line) => JSON.parse(line).task);
    expect(failed).toEqual([...new Set(failed)]);
  });

  it("is not ready without a spool until PostgreSQL is back", async () => {
    const proxy = await startTcpProxy(databaseUrl);
    const node = await startNode({ databaseUrl: proxy.url, env: { SPOOL: "off" } });
    const readiness = async () => {
      const { status, body } = await call(`${node.url}/readyz`);
      return { status, ...(body as object) };
    };
    expect(await readiness()).toMatchObject({ status: "ok", postgres: "up" });
    proxy.cut();
    await vi.waitUntil(async () => (await call(`${node.url}/readyz`)).status === 503);
    expect(await readiness()).toMatchObject({ status: "unavailable", postgres: "down", spool: "off", draining: false });
    expect((await call(`${node.url}/livez`)).status).toBe(200);
    proxy.restore();
    await vi.waitUntil(async () => (await call(`${node.url}/readyz`)).status === 200);
  });
});
