/** Two nodes over one Redis Cluster: one has the watchers, the other gets the webhooks. */
import { beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { createDatabase } from "../support/database.ts";
import { call, pay } from "../support/node.ts";
import { type NodeProcess, startTestProcess } from "../support/process.ts";
import { startRedisCluster, type TestCluster } from "../support/redis.ts";
import { scrape } from "../support/scrape.ts";
import { startScriptedDaraja } from "../support/scripted-daraja.ts";
import { transportNames, watch } from "../support/watch.ts";

// 60 s, because two processes and a cluster start slowly on a busy machine.
vi.setConfig({ testTimeout: 60_000 });

let databaseUrl: string;
beforeAll(async () => {
  const database = await createDatabase();
  databaseUrl = database.url;
  return database.drop;
});

async function start() {
  const cluster = await startRedisCluster();
  onTestFinished(cluster.stop);
  const daraja = await startScriptedDaraja();
  const env = { DATABASE_URL: databaseUrl, REDIS_URL: cluster.url, ...daraja.env };
  const other = await startTestProcess(env);
  const watched = await startTestProcess({ ...env, PUBLIC_URL: other.url });
  await busIs("up", watched, other);
  return { cluster, daraja, watched, other };
}

const busIs = (state: "up" | "down", ...processes: NodeProcess[]) =>
  vi.waitUntil(
    async () => {
      const answers = await Promise.all(processes.map(({ url }) => call(`${url}/readyz`)));
      return answers.every(({ body }) => (body as unknown as { bus: string }).bus === state);
    },
    { interval: 50 },
  );

/** Starts 12 payments, enough for every server of the cluster to carry some. */
async function payMany({ watched, daraja }: Pick<Awaited<ReturnType<typeof start>>, "watched" | "daraja">) {
  return Promise.all(
    Array.from({ length: 12 }, async (_, index) => {
      const phone = `+2547123456${50 + index}`;
      const { order, watchToken: token } = await pay(watched, { phone });
      const name = transportNames[index % transportNames.length] ?? "WebSocket";
      const watching = watch(name, { node: watched, orderId: order.orderId, token });
      await watching.until(() => true);
      const push = await daraja.nextPush();
      push.accept();
      return { push, watching };
    }),
  );
}

const commandsOf = async ({ servers }: TestCluster): Promise<number[]> =>
  Promise.all(
    servers.map(async ({ ask }) => {
      const calls = /cmdstat_spublish:calls=(\d+)/.exec(await ask("info", "commandstats"))?.[1];
      return Number(calls ?? 0);
    }),
  );

describe("two processes over a Redis Cluster", () => {
  it("deliver states from one to the other's watchers through every server, without polling", async () => {
    const { cluster, daraja, watched, other } = await start();
    const payments = await payMany({ watched, daraja });
    await Promise.all(payments.map(({ watching }) => watching.until(({ status }) => status === "processing")));
    for (const { push } of payments) {
      expect(push.callbackUrl).toMatch(other.url);
      expect((await push.webhook()).status).toBe(200);
    }
    await Promise.all(payments.map(({ watching }) => watching.until(({ status }) => status === "succeeded")));
    expect((await scrape(watched)).value("tukio_resync_healed_total") ?? 0).toBe(0);
    for (const published of await commandsOf(cluster)) expect(published).toBeGreaterThan(0);
  });

  it("deliver every state while a server of the cluster is down, and use it again afterwards (G4)", async () => {
    const { cluster, daraja, watched, other } = await start();
    const payments = await payMany({ watched, daraja });
    await Promise.all(payments.map(({ watching }) => watching.until(({ status }) => status === "processing")));
    await cluster.servers[1]?.stop();
    await busIs("down", watched, other);
    for (const { push } of payments) expect((await push.webhook()).status).toBe(200);
    await Promise.all(payments.map(({ watching }) => watching.until(({ status }) => status === "succeeded")));
    await cluster.servers[1]?.restart();
    await busIs("up", watched, other);
  });
});
