/** Webhooks outlive the database: it goes away behind a connection limit, providers go on posting, and nothing is lost. */
import { once } from "node:events";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { createDatabase } from "../support/database.ts";
import { lipanaWebhook } from "../support/lipana.ts";
import { asMerchant, call, pay, startNode, type TestNode } from "../support/node.ts";
import { type HeldPush, startScriptedDaraja } from "../support/scripted-daraja.ts";
import { providerEnv, startScriptedProvider } from "../support/scripted-provider.ts";
import { watch } from "../support/watch.ts";

let databaseUrl: string;
beforeAll(async () => {
  const { url, drop } = await createDatabase();
  databaseUrl = url;
  return drop;
});

/** The database behind a door. Shut, it refuses everybody and cuts off who is inside. */
async function startDoor(): Promise<{ url: string; shut(): void; open(): void }> {
  const target = new URL(databaseUrl);
  const inside = new Set<Socket>();
  let isOpen = true;
  const server = createServer((socket) => {
    socket.on("error", () => undefined);
    if (!isOpen) return void socket.destroy();
    const onward = connect(Number(target.port), target.hostname);
    for (const end of [socket, onward]) {
      inside.add(end);
      end.on("error", () => undefined).once("close", () => inside.delete(end));
    }
    socket.pipe(onward).pipe(socket);
    onward.once("close", () => socket.destroy());
    socket.once("close", () => onward.destroy());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const shut = (): void => {
    isOpen = false;
    for (const socket of inside) socket.destroy();
  };
  onTestFinished(() => {
    shut();
    server.close();
  });
  const url = new URL(databaseUrl);
  url.hostname = "127.0.0.1";
  url.port = String((server.address() as AddressInfo).port);
  const open = (): void => {
    isOpen = true;
  };
  return { url: url.href, shut, open };
}

interface Ground {
  node: TestNode;
  door: Awaited<ReturnType<typeof startDoor>>;
  dataDir: string;
  daraja: Awaited<ReturnType<typeof startScriptedDaraja>>;
  env: Record<string, string>;
}

async function start(env: Record<string, string> = {}): Promise<Ground> {
  const dataDir = await mkdtemp(join(tmpdir(), "tukio-"));
  onTestFinished(() => rm(dataDir, { recursive: true, force: true }));
  const door = await startDoor();
  const daraja = await startScriptedDaraja();
  const all = { ...daraja.env, DATA_DIR: dataDir, SPOOL: "on", ...env };
  const node = await startNode({ databaseUrl: door.url, env: all });
  return { node, door, dataDir, daraja, env: all };
}

/** An accepted payment. */
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

describe("while the database is away", () => {
  it("webhooks are answered 200, and every payment is right and seen by its watcher once it is back", async () => {
    const ground = await start();
    const { node, door } = ground;
    const paid = [await accepted(ground), await accepted(ground), await accepted(ground)];
    const watched = paid.map(({ orderId, watchToken }) => watch("WebSocket", { node, orderId, token: watchToken }));
    await Promise.all(watched.map((one) => one.until(({ status }) => status === "processing")));
    door.shut();
    for (const { push } of paid)
      for (let copy = 0; copy < 3; copy += 1) expect((await push.webhook()).status).toBe(200);
    await vi.waitUntil(async () => (await readiness(node)).postgres === "down");
    expect(await readiness(node)).toEqual({ status: 200, postgres: "down", spool: "up" });
    door.open();
    for (const [index, { orderId }] of paid.entries()) {
      await watched[index]?.until(({ status }) => status === "succeeded");
      const { body } = await asMerchant(node, `/v1/orders/${orderId}`);
      expect(body.events.map(({ status }) => status)).toEqual(["pending", "processing", "succeeded"]);
    }
  });

  it("a signed webhook of a whole account waits too, and a stranger's does not", async () => {
    const lipana = await startScriptedProvider(() => ({ body: {} }));
    const { node, door, dataDir } = await start(providerEnv("lipana", lipana.url));
    const told = { reference: "TXN-SPOOLED", amountMinor: 15_000, receipt: "RCPT9", paymentId: "" };
    const { headers, body } = lipanaWebhook(told);
    door.shut();
    const post = (more: Record<string, string>): Promise<{ status: number }> =>
      call(`${node.url}/webhooks/lipana`, { method: "POST", headers: { ...headers, ...more }, body });
    expect((await post({})).status).toBe(200);
    expect((await post({ "x-lipana-signature": "0".repeat(64) })).status).toBe(401);
    expect((await spooled(dataDir)).length).toBeGreaterThan(0);
  });

  it.each([
    ["SPOOL=off", { SPOOL: "off" }],
    ["a disk that cannot be written to", {}],
  ])("%s: the provider is told to come again", async (_, env) => {
    const ground = await start(env);
    const { push } = await accepted(ground);
    if (!("SPOOL" in env)) {
      await ground.node.close();
      await rm(join(ground.dataDir, "spool"), { recursive: true });
      await writeFile(join(ground.dataDir, "spool"), "no directory");
      const node = await startNode({ databaseUrl: ground.door.url, env: ground.env });
      ground.door.shut();
      const url = push.callbackUrl.replace(/^http:\/\/[^/]+/, node.url);
      expect((await call(url, { method: "POST", body: "{}" })).status).toBe(503);
      expect(await readiness(node)).toEqual({ status: 503, postgres: "down", spool: "down" });
      return;
    }
    ground.door.shut();
    expect((await push.webhook()).status).toBe(503);
    expect(await readiness(ground.node)).toMatchObject({ status: 503, spool: "off" });
  });
});

describe("a node that stops while the database is away", () => {
  it("leaves its webhooks for the next one", async () => {
    const ground = await start();
    const { node, door, dataDir, env } = ground;
    const { orderId, push } = await accepted(ground);
    door.shut();
    expect((await push.webhook()).status).toBe(200);
    await node.close();
    expect((await spooled(dataDir)).length).toBeGreaterThan(0);
    door.open();
    const next = await startNode({ databaseUrl: door.url, env });
    await vi.waitUntil(async () => (await stateOf(next, orderId))?.status === "succeeded");
    await next.close();
    expect(await spooled(dataDir)).toEqual([]);
  });
});
