/**
 * A reconnect storm: many SDK watchers, each with its own order, lose their node at once and reconnect to another. A TCP
 * proxy sends each new connection to the first node that accepts it.
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import pg from "pg";
import { onTestFinished, vi } from "vitest";
import { eventSource, longPoll, type OrderWatch, socketIo, watchOrder, webSocket } from "../../client-sdk/index.ts";
import { createWatchTokens } from "../../server/auth/watch-token.ts";
import { createDatabase } from "./database.ts";
import { unlimited } from "./deployment.ts";
import { testSecret } from "./node.ts";
import { type NodeProcess, startProcess } from "./process.ts";
import { startRedis } from "./redis.ts";
import { scrape } from "./scrape.ts";
import { startTcpProxy } from "./tcp-proxy.ts";

export interface Storm {
  exitCode: number | null;
  /** Watchers that lost their connection. A long poll that the node answers during its drain loses nothing. */
  lost: number;
  /** Lost watchers that were open again, and the distribution of their outages. */
  back: number;
  blindMs: Spread;
  /** `blindMs` per transport. */
  blindMsOf: Record<string, Spread>;
  /** Number of groups in which connections were lost, at least 50 ms apart, and the share of the largest group. */
  slices: number;
  largestSlice: number;
  /** Queries with which the other node read the states of the new watchers. */
  reads: number;
  /** CPU seconds of the other node during the reconnects. */
  cpuS: number;
  /** Watchers that received a change committed without the bus, and the time until the last one had it. */
  shown: number;
  shownMs: number;
}

export interface Spread {
  p50: number;
  p95: number;
  max: number;
}

/** Ten watchers' transports, from which every watcher takes one in turn. */
const mix = [
  { create: socketIo, tenths: 4 },
  { create: webSocket, tenths: 3 },
  { create: eventSource, tenths: 2 },
  { create: longPoll, tenths: 1 },
].flatMap(({ create, tenths }) => Array.from({ length: tenths }, () => create));

const patience = { timeout: 600_000, interval: 20 };

/**
 * Kills the node of all watchers, lets a second node take them, then drains the second, as a deploy does. `isCounting`
 * counts queries with a proxy in this process between nodes and database, which slows both.
 */
export async function storm(watchers: number, isCounting: boolean): Promise<{ crash: Storm; deploy: Storm }> {
  const database = await createDatabase();
  onTestFinished(database.drop);
  const { url: redisUrl, stop } = await startRedis();
  onTestFinished(stop);
  const orders = await makeOrders(database.url, watchers);
  let reads = 0;
  const countReads = async (): Promise<string> => {
    const store = await startTcpProxy(database.url);
    // PostgreSQL's Bind message has the statement's name between two zero bytes.
    store.onRequestBytes((chunk) => {
      reads += chunk.toString("latin1").split("\0current\0").length - 1;
    });
    return store.url;
  };
  const start = async (): Promise<NodeProcess> => {
    const env = {
      REDIS_URL: redisUrl,
      DATABASE_URL: isCounting ? await countReads() : database.url,
      LOG_LEVEL: "info",
      ...unlimited,
    };
    const node = await startProcess(env);
    onTestFinished(node.close);
    return node;
  };
  const [first, second] = await Promise.all([start(), start()]);
  const front = await startFront(first.url);
  await front.route([first.url, second.url]);

  const clients: Client[] = [];
  onTestFinished(() => {
    for (const { watch } of clients) watch.close();
  });
  for (const order of orders) {
    clients.push(startClient(front.url, order, clients.length));
    // In steps of 200, because the first connections must not be a storm.
    if (clients.length % 200 === 0) await vi.waitUntil(() => clients.every(isLive), patience);
  }
  await vi.waitUntil(() => clients.every(isLive), patience);

  const replaceNode = async (node: NodeProcess, next: NodeProcess, version: number): Promise<Storm> => {
    const signal = node === first ? "SIGKILL" : "SIGTERM";
    const beforeS = await cpuSecondsOf(next);
    for (const client of clients) client.lostAtMs = undefined;
    reads = 0;
    const [exitCode] = await node.end(signal);
    const keeps = ({ transport }: Client): boolean => signal === "SIGTERM" && transport === "longpoll";
    await vi
      .waitUntil(() => clients.every((one) => isLive(one) && (hasLost(one) || keeps(one))), patience)
      .catch((cause: unknown) => {
        const missing = clients.filter((one) => !isLive(one) || !(hasLost(one) || keeps(one)));
        throw new Error(`${missing.length} did not reconnect: ${missing.slice(0, 5).map(describeClient).join("; ")}`, {
          cause,
        });
      });
    const committedMs = performance.now();
    const result = { exitCode, reads, cpuS: (await cpuSecondsOf(next)) - beforeS, ...lossOf(clients) };
    await changeOrders(database.url);
    await vi.waitUntil(() => clients.every(hasSeen(version)), patience);
    const shown = clients.filter(hasSeen(version)).length;
    return { ...result, shown, shownMs: Math.round(performance.now() - committedMs) };
  };

  const crash = await replaceNode(first, second, 3);
  const third = await start();
  await front.route([second.url, third.url]);
  return { crash, deploy: await replaceNode(second, third, 4) };
}

function lossOf(clients: readonly Client[]): Omit<Storm, "exitCode" | "reads" | "cpuS" | "shown" | "shownMs"> {
  const lost = clients.filter(hasLost);
  const back = lost.filter(isLive);
  const blind = ({ lostAtMs = 0, liveAtMs = 0 }: Client): number => liveAtMs - lostAtMs;
  const groups = slicesOf(lost.map(({ lostAtMs = 0 }) => lostAtMs));
  const names = [...new Set(back.map(({ transport }) => transport))];
  const blindOf = (name: string) => spreadOf(back.filter(({ transport }) => transport === name).map(blind));
  return {
    lost: lost.length,
    back: back.length,
    blindMs: spreadOf(back.map(blind)),
    blindMsOf: Object.fromEntries(names.map((name) => [name, blindOf(name)])),
    slices: groups.length,
    largestSlice: Math.max(...groups) / lost.length,
  };
}

/** Starts the proxy of all watchers in its own process, because it has two connections per watcher. */
async function startFront(url: string): Promise<{ url: string; route(targets: readonly string[]): Promise<unknown> }> {
  const child = fork(fileURLToPath(new URL("tcp-proxy-process.ts", import.meta.url)), [url], { execArgv: [] });
  onTestFinished(() => void child.kill("SIGKILL"));
  const [near] = await once(child, "message");
  return {
    url: String(near),
    route(targets) {
      const routed = once(child, "message");
      child.send(targets);
      return routed;
    },
  };
}

interface Client {
  watch: OrderWatch;
  transport: string;
  /** When the connection was lost, and when it was open again. */
  lostAtMs: number | undefined;
  liveAtMs: number | undefined;
}

interface StormOrder {
  orderId: string;
  token: string;
}

function startClient(url: string, order: StormOrder, index: number): Client {
  const transport = (mix[index % mix.length] ?? socketIo)();
  const watch = watchOrder({ url, ...order, transports: [transport], storage: null });
  const client: Client = { watch, transport: transport.name, lostAtMs: undefined, liveAtMs: undefined };
  let wasOpen = false;
  watch.subscribe(({ connection }) => {
    const isOpen = connection === "open";
    if (wasOpen && !isOpen) client.lostAtMs ??= performance.now();
    if (!wasOpen && isOpen) client.liveAtMs = performance.now();
    wasOpen = isOpen;
  });
  return client;
}

/** CPU time from the node's metrics. */
const cpuSecondsOf = async (node: NodeProcess): Promise<number> =>
  (await scrape(node)).value("process_cpu_seconds_total") ?? Number.NaN;

const hasSeen =
  (version: number) =>
  ({ watch }: Client): boolean =>
    (watch.snapshot().event?.version ?? 0) >= version;

/** Describes a watcher for an error message. */
const describeClient = ({ transport, watch, lostAtMs }: Client): string => {
  const { connection, error, event } = watch.snapshot();
  return `${transport} ${connection} at ${event?.version} ${error?.code ?? ""} ${lostAtMs === undefined ? "not lost" : "lost"}`;
};

const hasLost = ({ lostAtMs }: Client): boolean => lostAtMs !== undefined;

const isLive = (client: Client): boolean => client.watch.snapshot().connection === "open" && hasSeen(2)(client);

function spreadOf(values: readonly number[]): Spread {
  const sorted = values.toSorted((one, other) => one - other);
  const at = (share: number): number =>
    Math.round(sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0);
  return { p50: at(0.5), p95: at(0.95), max: at(1) };
}

/** Groups moments less than 50 ms apart and returns the groups' sizes. */
function slicesOf(moments: readonly number[]): number[] {
  const sizes: number[] = [];
  let last = Number.NEGATIVE_INFINITY;
  for (const moment of moments.toSorted((one, other) => one - other)) {
    if (moment - last >= 50) sizes.push(0);
    sizes[sizes.length - 1] = (sizes.at(-1) ?? 0) + 1;
    last = moment;
  }
  return sizes;
}

/** Creates orders at version 2, changed an hour ago, each with a watch token. */
async function makeOrders(databaseUrl: string, count: number): Promise<StormOrder[]> {
  const rows = await query<{ id: string; order_id: string }>(
    databaseUrl,
    `insert into "order" (id, order_id, amount_minor, currency, version, status, attempt, payment, opened_at, changed_at)
     select gen_random_uuid(), 'STORM-' || n, 15000, 'KES', 2, 'processing', 1,
            jsonb_build_object('id', gen_random_uuid(), 'provider', 'daraja', 'attempt', 1, 'live', false,
                               'startedAt', iso(now()), 'expiresAt', iso(now())),
            now() - interval '1 hour', now() - interval '1 hour'
     from generate_series(1, ${count}) n returning id, order_id`,
  );
  const tokens = createWatchTokens([testSecret], 86_400);
  return Promise.all(
    rows.map(async ({ id, order_id: orderId }) => ({
      orderId,
      token: tokens.issue({ id, orderId }).watchToken,
    })),
  );
}

/** Changes all orders without publishing: nodes find the changes only by reading. */
const changeOrders = (databaseUrl: string): Promise<unknown> =>
  query(databaseUrl, `update "order" set version = version + 1, status = 'succeeded', changed_at = clock_timestamp()`);

async function query<Row extends object>(databaseUrl: string, text: string): Promise<Row[]> {
  const client = new pg.Client(databaseUrl);
  await client.connect();
  try {
    return (await client.query<Row>(text)).rows;
  } finally {
    await client.end();
  }
}
