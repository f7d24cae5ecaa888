/** Processes with different secrets over one PostgreSQL, and the rotation of docs/operating.md with webhooks at both nodes. */
import pg from "pg";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { createDatabase } from "../support/database.ts";
import { post, unlimited } from "../support/deployment.ts";
import { asMerchant, call, pay, paymentBody } from "../support/node.ts";
import { type NodeProcess, startTestProcess } from "../support/process.ts";
import { scrape } from "../support/scrape.ts";
import { type HeldPush, type ScriptedDaraja, startScriptedDaraja, success } from "../support/scripted-daraja.ts";
import { providerEnv, startScriptedProvider } from "../support/scripted-provider.ts";

const oldSecret = "the old secret that the nodes have in common";
const newSecret = "the new secret that replaces the old one everywhere";

let client: pg.Client;
let daraja: ScriptedDaraja;
let env: (secrets: string) => Record<string, string>;
let start: (secrets: string) => Promise<NodeProcess>;
beforeEach(async () => {
  const database = await createDatabase();
  client = new pg.Client(database.url);
  await client.connect();
  daraja = await startScriptedDaraja();
  env = (secrets) => ({ ...unlimited, DATABASE_URL: database.url, TUKIO_SECRET: secrets });
  start = (secrets) => startTestProcess({ ...env(secrets), ...daraja.env });
  return async () => {
    await client.end();
    await database.drop();
  };
});

/** What a supervisor and an operator see of a node's secrets. */
async function healthOf(node: NodeProcess): Promise<[number, string, number | undefined]> {
  const { status, body } = await call(`${node.url}/readyz`);
  const { secrets } = body as unknown as { secrets: string };
  return [status, secrets, (await scrape(node)).value("tukio_secret_conflicts")];
}

const healthy = [200, "ok", 0];

/** Resolves when the node's health is this. */
const becomes = (node: NodeProcess, ...health: [number, string, number]): Promise<unknown> =>
  vi.waitUntil(async () => String(await healthOf(node)) === String(health), { timeout: 45_000, interval: 100 });

/** How often the process has logged an event. */
const logged = (node: NodeProcess, event: string): number => node.output().split(`"event":"${event}"`).length - 1;

/** Resolves when every running node of a kind has compared its secrets twice more, that is, has renewed its row. */
async function comparisons(kind = "true"): Promise<void> {
  for (let times = 0; times < 2; times += 1) {
    const running = `from node_secret where expires_at > now() and ${kind}`;
    const rows = `select coalesce(max(expires_at), 'epoch')::text as at ${running}`;
    const { at } = (await client.query<{ at: string }>(rows)).rows[0] ?? {};
    const late = `select ${running} and expires_at <= $1::timestamptz`;
    await vi.waitUntil(async () => (await client.query(late, [at])).rowCount === 0, { interval: 100 });
  }
}

interface Started {
  orderId: string;
  watchToken: string;
  push: HeldPush;
}

/** Starts a payment at a node and accepts its push. */
async function startPayment(node: NodeProcess): Promise<Started> {
  const { order, watchToken } = await pay(node);
  const push = await daraja.nextPush();
  push.accept();
  const { orderId } = order;
  const statusOf = async () => (await asMerchant(node, `/v1/orders/${orderId}`)).body.order.status;
  await vi.waitUntil(async () => (await statusOf()) === "processing", { interval: 20 });
  return { orderId, watchToken, push };
}

/** Delivers the webhook at a node, and watches the order there. Returns both statuses and the order's state. */
async function settle(node: NodeProcess, { orderId, watchToken, push }: Started): Promise<unknown[]> {
  const webhook = await post(node, push, success());
  const headers = { authorization: `Bearer ${watchToken}` };
  const watched = await call(`${node.url}/v1/orders/${orderId}/wait?timeout=1`, { headers });
  return [webhook, watched.status, watched.body.status];
}

const settled = [200, 200, "succeeded"];

type Pair = [NodeProcess, NodeProcess];

/** A payment, and the node that gets its webhook. */
type Crossing = [Started, number];

/** Starts a payment at each node for each node. */
async function startCrossings(pair: Pair): Promise<Crossing[]> {
  const crossings: Crossing[] = [];
  for (const node of pair) for (const at of pair.keys()) crossings.push([await startPayment(node), at]);
  return crossings;
}

/** Settles each payment at its node, where no webhook and no watcher may be refused. */
async function settleCrossings(pair: Pair, crossings: readonly Crossing[]): Promise<void> {
  for (const [payment, at] of crossings) expect(await settle(at === 0 ? pair[0] : pair[1], payment)).toEqual(settled);
}

/** The uses of other secrets than the first, except by stored access tokens, which are read until they are renewed. */
async function usesAt(pair: Pair): Promise<number> {
  const found = await Promise.all(pair.map(scrape));
  const uses = ["webhook", "return", "watch"].flatMap((purpose) =>
    found.map(({ value }) => value("tukio_secondary_secret_uses_total", { purpose }) ?? Number.NaN),
  );
  return uses.reduce((sum, count) => sum + count, 0);
}

/**
 * Replaces both nodes one after the other. Payments that were started before each replacement are settled after it. Returns the
 * replaced nodes.
 */
async function replaceBoth(pair: Pair, secrets: string): Promise<NodeProcess[]> {
  const replaced = [...pair];
  for (const slot of [0, 1] as const) {
    const crossings = await startCrossings(pair);
    expect(await pair[slot].end("SIGTERM")).toEqual([0, null]);
    pair[slot] = await start(secrets);
    for (const node of pair) expect(await healthOf(node)).toEqual(healthy);
    await settleCrossings(pair, crossings);
  }
  return replaced;
}

describe("a node with another secret than the one that serves", () => {
  it("is not ready, both nodes report it once, and it blocks no third node", async () => {
    const first = await start(oldSecret);
    expect(await healthOf(first)).toEqual(healthy);
    const stranger = await start(newSecret);
    expect(await healthOf(stranger)).toEqual([503, "conflict", 1]);
    await becomes(first, 200, "conflict", 1);

    // It cannot judge an honest webhook, so that the provider must repeat it at a node that can.
    const payment = await startPayment(first);
    expect((await settle(stranger, payment)).slice(0, 2)).toEqual([503, 503]);
    expect(await settle(first, payment)).toEqual(settled);

    const third = await start(oldSecret);
    expect(await healthOf(third)).toEqual([200, "conflict", 1]);
    await first.end("SIGKILL");
    await comparisons();
    expect(await healthOf(stranger)).toEqual([503, "conflict", 1]);
    expect(await healthOf(third)).toEqual([200, "conflict", 1]);
    // The third one logs its conflict at its start; the log is written with a delay.
    await vi.waitUntil(() => logged(third, "secret.conflict.found") > 0);
    expect([first, stranger, third].map((node) => logged(node, "secret.conflict.found"))).toEqual([1, 1, 1]);
    for (const node of [first, stranger, third]) {
      for (const secret of [oldSecret, newSecret]) expect(node.output()).not.toContain(secret);
    }

    // A killed node's row expires, and then no node in conflict serves.
    await third.end("SIGKILL");
    await becomes(stranger, 200, "ok", 0);
    await vi.waitUntil(() => logged(stranger, "secret.conflict.resolved") === 1);
  }, 240_000);

  it("becomes ready as soon as that node has shut down", async () => {
    const first = await start(oldSecret);
    const second = await start(`${newSecret},${oldSecret}`);
    expect(await healthOf(second)).toEqual([503, "conflict", 1]);
    await becomes(first, 200, "conflict", 1);
    expect(await first.end("SIGTERM")).toEqual([0, null]);
    await becomes(second, 200, "ok", 0);
    const { rows } = await client.query("select from node_secret where serving_since is not null");
    expect(rows).toHaveLength(1);
  });

  it("becomes ready as soon as that node drains", async () => {
    const first = await start(oldSecret);
    const second = await start(newSecret);
    expect(await healthOf(second)).toEqual([503, "conflict", 1]);
    await pay(first);
    // The shutdown waits for this call.
    const push = await daraja.nextPush();
    const ended = first.end("SIGTERM");
    await becomes(second, 200, "ok", 0);
    expect(first.process.exitCode).toBeNull();
    push.accept();
    expect(await ended).toEqual([0, null]);
  });

  it("takes no place from a node whose row has expired, when it starts", async () => {
    const first = await start(oldSecret);
    first.process.kill("SIGSTOP");
    await client.query("update node_secret set expires_at = now() - interval '1 hour' where serving_since is not null");
    const second = await start(newSecret);
    expect(await healthOf(second)).toEqual([503, "conflict", 1]);
    first.process.kill("SIGCONT");
    await becomes(first, 200, "conflict", 1);
    await comparisons();
    expect(await healthOf(second)).toEqual([503, "conflict", 1]);
  });

  it("takes no place from a node whose pool is busy", async () => {
    const first = await start(oldSecret);
    const second = await start(newSecret);
    await client.query('begin; lock table "order" in access exclusive mode');
    // More than the pool has connections, each of which waits for the lock.
    let isBusy = true;
    const read = async (): Promise<void> => {
      while (isBusy) await asMerchant(first, "/v1/orders");
    };
    const reads = Array.from({ length: 60 }, read);
    const waiting = "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    await vi.waitUntil(async () => {
      await client.query("select pg_stat_clear_snapshot()");
      return ((await client.query(waiting)).rowCount ?? 0) >= 12;
    });
    await comparisons("serving_since is not null");
    await comparisons("serving_since is null");
    isBusy = false;
    await client.query("rollback");
    await Promise.all(reads);
    await comparisons();
    expect([await healthOf(first), await healthOf(second)]).toEqual([
      [200, "conflict", 1],
      [503, "conflict", 1],
    ]);
  });

  it("takes no money: it starts and checks no payment, and fetches no access token", async () => {
    const answers: Record<string, unknown> = {
      "/oauth/": { access_token: "a-token", expires_in: "3599" },
      "/mpesa/stkpush/v1/": { ResponseCode: "0", CheckoutRequestID: "ws_1", MerchantRequestID: "1" },
      "/mpesa/stkpushquery/": { ResponseCode: "0", ResultCode: "0", CheckoutRequestID: "ws_1" },
    };
    const script = await startScriptedProvider(({ path }) => ({
      body: answers[Object.keys(answers).find((prefix) => path.startsWith(prefix)) ?? ""] ?? {},
    }));
    const callsOf = (prefix: string): number => script.calls.filter(({ path }) => path.startsWith(prefix)).length;
    const open = (secrets: string) => startTestProcess({ ...env(secrets), ...providerEnv("daraja", script.url) });
    const first = await open(oldSecret);
    const { order } = await pay(first);
    const statusAt = async (node: NodeProcess) =>
      (await asMerchant(node, `/v1/orders/${order.orderId}`)).body.order.status;
    await vi.waitUntil(async () => (await statusAt(first)) === "processing");
    expect(callsOf("/oauth/")).toBe(1);

    const second = await open(newSecret);
    first.process.kill("SIGSTOP");
    await client.query("update payment set check_at = now()");
    await comparisons("serving_since is null");
    const refused = await asMerchant(second, "/v1/payments", paymentBody());
    expect([refused.status, refused.body.code, refused.headers.get("retry-after")]).toEqual([503, "not_ready", "1"]);
    expect((await asMerchant(second, "/v1/providers/daraja/token", {})).body.code).toBe("not_ready");
    expect(await statusAt(second)).toBe("processing");
    expect([callsOf("/oauth/"), callsOf("/mpesa/stkpushquery/")]).toEqual([1, 0]);

    first.process.kill("SIGCONT");
    await vi.waitUntil(async () => (await statusAt(second)) === "succeeded");
    expect([callsOf("/oauth/"), callsOf("/mpesa/stkpush/v1/")]).toEqual([1, 1]);
  });
});

describe("a node that is started with another secret after all others have ended", () => {
  it("is ready, and reports that it refuses what they created", async () => {
    const first = await start(oldSecret);
    const refusals = async (node: NodeProcess) => (await scrape(node)).value("tukio_secret_last_refused");
    expect(await refusals(first)).toBe(0);
    await first.end("SIGTERM");
    const second = await start(newSecret);
    expect(await healthOf(second)).toEqual(healthy);
    expect(await refusals(second)).toBe(1);
    await vi.waitUntil(() => logged(second, "secret.last.refused") === 1);
    await second.end("SIGTERM");
    expect(await refusals(await start(newSecret))).toBe(0);
  });
});

describe("the documented rotation of TUKIO_SECRET", () => {
  it("refuses no webhook and no watcher at any node, and the metric shows when the old secret can be removed", async () => {
    const pair: Pair = [await start(oldSecret), await start(oldSecret)];

    // Accept everywhere. The new secret is not used yet.
    const before = await replaceBoth(pair, `${oldSecret},${newSecret}`);
    expect(await usesAt(pair)).toBe(0);

    // Use everywhere. What was created before needs the old secret.
    before.push(...(await replaceBoth(pair, `${newSecret},${oldSecret}`)));
    const { value } = await scrape(pair[0]);
    for (const purpose of ["webhook", "watch", "token"]) {
      expect(value("tukio_secondary_secret_uses_total", { purpose }), purpose).toBeGreaterThan(0);
    }

    // Remove everywhere, once nothing uses the old secret.
    const uses = await usesAt(pair);
    await settleCrossings(pair, await startCrossings(pair));
    expect(await usesAt(pair)).toBe(uses);
    before.push(...(await replaceBoth(pair, newSecret)));

    await comparisons();
    for (const node of pair) expect(await healthOf(node)).toEqual(healthy);
    for (const node of [...before, ...pair]) expect(logged(node, "secret.conflict.found")).toBe(0);
  }, 240_000);
});
