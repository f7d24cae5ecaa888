/** Webhooks that arrive during an outage of PostgreSQL are spooled to disk and applied afterwards. */
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { createDatabase } from "../support/database.ts";
import { lipanaWebhook } from "../support/lipana.ts";
import { asMerchant, call, pay, startNode, type TestNode } from "../support/node.ts";
import { type HeldPush, startScriptedDaraja } from "../support/scripted-daraja.ts";
import { providerEnv, startScriptedProvider } from "../support/scripted-provider.ts";
import { startTcpProxy, type TcpProxy } from "../support/tcp-proxy.ts";
import { watch } from "../support/watch.ts";

let databaseUrl: string;
beforeAll(async () => {
  const { url, drop } = await createDatabase();
  databaseUrl = url;
  return drop;
});

interface Ground {
  node: TestNode;
  /** The proxy between the node and PostgreSQL. */
  database: TcpProxy;
  dataDir: string;
  daraja: Awaited<ReturnType<typeof startScriptedDaraja>>;
  env: Record<string, string>;
}

async function start(env: Record<string, string> = {}): Promise<Ground> {
  const dataDir = await mkdtemp(join(tmpdir(), "tukio-"));
  onTestFinished(() => rm(dataDir, { recursive: true, force: true }));
  const database = await startTcpProxy(databaseUrl);
  const daraja = await startScriptedDaraja();
  const all = { ...daraja.env, DATA_DIR: dataDir, SPOOL: "on", ...env };
  const node = await startNode({ databaseUrl: database.url, env: all });
  return { node, database, dataDir, daraja, env: all };
}

/** Starts a payment and accepts its push. */
async function accepted({ node, daraja }: Ground): Promise<{ orderId: string; watchToken: string; push: HeldPush }> {
  const { order, watchToken } = await pay(node);
  const push = await daraja.nextPush();
  push.accept();
  const { orderId } = order;
  await vi.waitUntil(async () => (await stateOf(node, orderId))?.status === "processing");
  return { orderId, watchToken, push };
}

const stateOf = async (node: TestNode, orderId: string) => (await asMerchant(node, `/v1/orders/${orderId}`)).body.order;

const readiness = async (node: TestNode) => {
  const { status, body } = await call(`${node.url}/readyz`);
  const { postgres, spool } = body as unknown as { postgres: string; spool: string };
  return { status, postgres, spool };
};

const spooled = async (dataDir: string): Promise<string[]> => readdir(join(dataDir, "spool")).catch(() => []);

describe("a node during an outage of PostgreSQL", () => {
  it("answers webhooks with 200 and applies each once PostgreSQL is back (G1)", async () => {
    const ground = await start();
    const { node, database } = ground;
    const paid = [await accepted(ground), await accepted(ground), await accepted(ground)];
    const watched = paid.map(({ orderId, watchToken }) => watch("WebSocket", { node, orderId, token: watchToken }));
    await Promise.all(watched.map((one) => one.until(({ status }) => status === "processing")));
    database.cut();
    for (const { push } of paid)
      for (let copy = 0; copy < 3; copy += 1) expect((await push.webhook()).status).toBe(200);
    await vi.waitUntil(async () => (await readiness(node)).postgres === "down");
    expect(await readiness(node)).toEqual({ status: 200, postgres: "down", spool: "up" });
    database.restore();
    for (const [index, { orderId }] of paid.entries()) {
      await watched[index]?.until(({ status }) => status === "succeeded");
      const { body } = await asMerchant(node, `/v1/orders/${orderId}`);
      expect(body.events.map(({ status }) => status)).toEqual(["pending", "processing", "succeeded"]);
    }
  });

  it("spools a signed webhook of a provider's account and refuses an unsigned one", async () => {
    const lipana = await startScriptedProvider(() => ({ body: {} }));
    const { node, database, dataDir } = await start(providerEnv("lipana", lipana.url));
    const paid = { reference: "TXN-SPOOLED", amountMinor: 15_000, receipt: "RCPT9", paymentId: "" };
    const { headers, body } = lipanaWebhook(paid);
    database.cut();
    const post = (more: Record<string, string>): Promise<{ status: number }> =>
      call(`${node.url}/webhooks/lipana`, { method: "POST", headers: { ...headers, ...more }, body });
    expect((await post({})).status).toBe(200);
    expect((await post({ "x-lipana-signature": "0".repeat(64) })).status).toBe(401);
    expect((await spooled(dataDir)).length).toBeGreaterThan(0);
  });

  it.each([
    ["SPOOL=off", { SPOOL: "off" }],
    ["a disk that cannot be written to", {}],
  ])("answers 503 with %s, so that the provider repeats the webhook (G1)", async (_, env) => {
    const ground = await start(env);
    const { push } = await accepted(ground);
    if (!("SPOOL" in env)) {
      await ground.node.close();
      await rm(join(ground.dataDir, "spool"), { recursive: true });
      await writeFile(join(ground.dataDir, "spool"), "no directory");
      const node = await startNode({ databaseUrl: ground.database.url, env: ground.env });
      ground.database.cut();
      const url = push.callbackUrl.replace(/^http:\/\/[^/]+/, node.url);
      expect((await call(url, { method: "POST", body: "{}" })).status).toBe(503);
      expect(await readiness(node)).toEqual({ status: 503, postgres: "down", spool: "down" });
      return;
    }
    ground.database.cut();
    expect((await push.webhook()).status).toBe(503);
    expect(await readiness(ground.node)).toMatchObject({ status: 503, spool: "off" });
  });
});

describe("a node that shuts down during an outage of PostgreSQL", () => {
  it("leaves its spooled webhooks to the next process (G1)", async () => {
    const ground = await start();
    const { node, database, dataDir, env } = ground;
    const { orderId, push } = await accepted(ground);
    database.cut();
    expect((await push.webhook()).status).toBe(200);
    await node.close();
    expect((await spooled(dataDir)).length).toBeGreaterThan(0);
    database.restore();
    const next = await startNode({ databaseUrl: database.url, env });
    await vi.waitUntil(async () => (await stateOf(next, orderId))?.status === "succeeded");
    await next.close();
    expect(await spooled(dataDir)).toEqual([]);
  });
});
