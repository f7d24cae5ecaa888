/** A node whose database is away for a while: what it says of that. */
import { beforeAll, expect, it, vi } from "vitest";
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

it("an outage of the database is a line of each background task, and another when it is over", async () => {
  const proxy = await startTcpProxy(databaseUrl);
  const daraja = await startScriptedDaraja();
  const node = await startNode({ databaseUrl: proxy.url, env: daraja.env });
  const { order, watchToken: token } = await pay(node);
  await watch("Socket.IO", { node, orderId: order.orderId, token }).until(() => true);
  const said = (message: string) => node.log.filter((line) => line.includes(`"msg":"${message}"`)).length;
  const wait = (message: string) => vi.waitUntil(() => said(message) > 0, { interval: 20 });
  proxy.cut();
  // The hub's pass comes every 2 s, so the reconciler's, every 0.5 s, failed several times meanwhile.
  await Promise.all([wait("background task failed"), wait("due payments could not be read")]);
  proxy.restore();
  await Promise.all([wait("background task works again"), wait("due payments can be read again")]);
  expect(said("due payments could not be read")).toBe(1);
  expect(said("due payments can be read again")).toBe(1);
  expect(said("background task failed")).toBe(1);
});

it("a node that can put webhooks neither into the database nor elsewhere is not ready until it is back", async () => {
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
