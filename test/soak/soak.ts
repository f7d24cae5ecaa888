/**
 * `npm run test:soak -- --minutes 30`: the long run, in three parts. `fuzz` runs 100,000 random inputs per property
 * (`--noise` changes the number), `model` runs random histories for half of the minutes, and `load` runs payments with
 * watchers for all of them. After the load, memory, file descriptors, watchers, Redis channels and database connections must
 * be back at their start values; otherwise the run exits with 1. `--only fuzz`, `--only model` or `--only load` runs one part.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { Redis } from "ioredis";
import pg from "pg";
import { io } from "socket.io-client";
import { WebSocket } from "ws";
import { startEmbedded } from "../../server/database/embedded-postgres.ts";

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "30" },
    only: { type: "string", default: "" },
    noise: { type: "string", default: "100000" },
    /** Payments per second. */
    rate: { type: "string", default: "10" },
  },
});
const minutes = Number(values.minutes);
const root = fileURLToPath(new URL("../..", import.meta.url));
const apiKey = "soak-api-key-of-some-length";
const isWanted = (part: string): boolean => values.only === "" || values.only === part;
const releases: (() => unknown)[] = [];

async function vitest(env: Record<string, string>, ...files: string[]): Promise<void> {
  const args = ["vitest", "run", "--configLoader", "native", "--silent=false", ...files];
  const child = spawn("npx", args, { cwd: root, env: { ...process.env, ...env }, stdio: "inherit" });
  const [code] = await once(child, "exit");
  assert.equal(code, 0, `${files} failed`);
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  server.close();
  return port;
}

interface Measure {
  "heap, MiB": number;
  "resident, MiB": number;
  "file descriptors": number;
  timers: number;
  "watchers (metric)": number;
  "Redis channels": number;
  "database connections": number;
  "invariant violations": number;
}

interface Ground {
  url: string;
  /** Postpones all due checks, because ended payments are checked for up to a day. */
  postponeChecks(): Promise<unknown>;
  measure(): Promise<Measure>;
}

async function start(): Promise<Ground> {
  const dataDir = await mkdtemp(join(tmpdir(), "tukio-soak-"));
  releases.push(() => rm(dataDir, { recursive: true, force: true, maxRetries: 10 }));
  const postgres = await startEmbedded({ dataDir, log: { info: () => undefined } });
  releases.push(postgres.close);
  const redisPort = await freePort();
  const redisServer = spawn(
    "redis-server",
    ["--bind", "127.0.0.1", "--port", `${redisPort}`, "--save", "", "--appendonly", "no"],
    { stdio: "ignore" },
  );
  releases.push(() => redisServer.kill("SIGKILL"));
  const redis = new Redis({ port: redisPort, host: "127.0.0.1" });
  redis.on("error", () => undefined);
  releases.push(() => redis.disconnect());
  const env = {
    PATH: process.env.PATH ?? "",
    PORT: "0",
    DATABASE_URL: postgres.url,
    REDIS_URL: `redis://127.0.0.1:${redisPort}`,
    DATA_DIR: join(dataDir, "node"),
    TUKIO_API_KEY: apiKey,
    TUKIO_SECRET: "a secret that the soak run's node has to itself",
    LIMIT_PHONE: "1000000",
    LIMIT_ORDER: "1000000",
    LIMIT_IP: "10000000",
    SANDBOX: "daraja",
    LOG_LEVEL: "info",
  };
  const probe = fileURLToPath(new URL("./probe.ts", import.meta.url));
  const main = fileURLToPath(new URL("../../server/main.ts", import.meta.url));
  const child = spawn(process.execPath, ["--max-semi-space-size=8", "--expose-gc", "--import", probe, main], {
    env,
    stdio: ["ignore", "pipe", "inherit"],
  });
  // Also when this process exits after an error.
  process.once("exit", () => {
    child.kill("SIGKILL");
    redisServer.kill("SIGKILL");
  });
  releases.push(async () => {
    const exited = once(child, "exit");
    child.kill("SIGTERM");
    const [code] = await exited;
    assert.equal(code, 0, "the node exits with 0");
  });
  const listening = Promise.withResolvers<string>();
  let probed: PromiseWithResolvers<string> | undefined;
  let rest = "";
  child.stdout.on("data", (chunk: Buffer) => {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      const url = /"event":"process\.started","url":"([^"]+)"/.exec(line)?.[1];
      if (url) listening.resolve(url);
      if (line.startsWith("PROBE ")) probed?.resolve(line.slice(6));
      if (/"level":[56]0/.test(line)) process.stderr.write(`${line}\n`);
    }
  });
  const url = await listening.promise;
  const database = new pg.Client(postgres.url);
  await database.connect();
  releases.push(() => database.end());

  return {
    url,
    postponeChecks: () =>
      database.query("update payment set check_at = now() + interval '2 days' where check_at is not null"),
    async measure() {
      probed = Promise.withResolvers<string>();
      child.kill("SIGUSR2");
      const { heapUsed, rss, handles } = JSON.parse(await probed.promise);
      const text = await (await fetch(`${url}/metrics`)).text();
      const sum = (name: string): number =>
        [...text.matchAll(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)$`, "gm"))].reduce(
          (total, [, value]) => total + Number(value),
          0,
        );
      const { rows } = await database.query(
        "select count(*)::int as n from pg_stat_activity where application_name = 'tukio'",
      );
      return {
        "heap, MiB": Math.round(heapUsed / 2 ** 18) / 4,
        "resident, MiB": Math.round(rss / 2 ** 20),
        "file descriptors": (await readdir(`/proc/${child.pid}/fd`)).length,
        timers: handles.Timeout ?? 0,
        "watchers (metric)": sum("tukio_watchers"),
        "Redis channels": ((await redis.call("pubsub", "channels", "tukio:order:*")) as string[]).length,
        "database connections": rows[0].n,
        "invariant violations": sum("tukio_invariant_violations_total"),
      };
    },
  };
}

/** A transport of a payer's page. Returns a function that stops the watch. */
type Watching = (
  target: { url: string; orderId: string; token: string },
  onEvent: (event: { version: number; settled: boolean }) => void,
) => () => void;

/** Repeats a watch until it is stopped, as a client reconnects. */
const repeat =
  (
    once: (target: Parameters<Watching>[0], onEvent: Parameters<Watching>[1], signal: AbortSignal) => Promise<void>,
  ): Watching =>
  (target, onEvent) => {
    const left = new AbortController();
    void (async () => {
      while (!left.signal.aborted) {
        await once(target, onEvent, left.signal).catch(() => undefined);
        await delay(200, undefined, { signal: left.signal });
      }
    })().catch(() => undefined);
    return () => left.abort();
  };

const ways: Watching[] = [
  repeat(async ({ url, orderId, token }, onEvent, signal) => {
    const socket = new WebSocket(`${url.replace("http", "ws")}/v1/orders/${orderId}/socket?token=${token}`);
    signal.addEventListener("abort", () => socket.terminate());
    socket.on("message", (data) => onEvent(JSON.parse(String(data))));
    await once(socket, "close");
  }),
  ({ url, token }, onEvent) => {
    const socket = io(url, { auth: { token }, transports: ["websocket"], forceNew: true });
    socket.on("status", onEvent);
    return () => void socket.disconnect();
  },
  repeat(async ({ url, orderId, token }, onEvent, signal) => {
    const response = await fetch(`${url}/v1/orders/${orderId}/events?token=${token}`, { signal });
    let text = "";
    for await (const chunk of response.body ?? []) {
      text += Buffer.from(chunk).toString();
      const parts = text.split("\n\n");
      text = parts.pop() ?? "";
      for (const part of parts) {
        const data = /^data: (.*)$/m.exec(part)?.[1];
        if (data) onEvent(JSON.parse(data));
      }
    }
  }),
  repeat(async ({ url, orderId, token }, onEvent, signal) => {
    for (let after = 0; ; ) {
      const response = await fetch(`${url}/v1/orders/${orderId}/wait?token=${token}&after=${after}`, { signal });
      const event = (await response.json()) as { version: number; settled: boolean };
      assert(response.ok);
      if (event.version > after) onEvent(event);
      after = event.version;
    }
  }),
];

interface Tally {
  payments: number;
  /** Payments refused with 503, because PostgreSQL did not answer in time on the busy machine. */
  refused: number;
  watchers: number;
  settled: number;
  lowerVersions: number;
  impatient: number;
  unsettled: number;
  errors: string[];
}

const endings = ["01", "01", "01", "02", "03", "04", "06", "07", "08", "10"];

/** Runs one payment with one to three watchers. */
async function onePayment(url: string, tally: Tally): Promise<void> {
  const serial = tally.payments++;
  const orderId = `SOAK-${process.pid}-${serial}`;
  const phone = `+2547${String(serial % 1_000_000).padStart(6, "0")}${endings[serial % endings.length]}`;
  const response = await fetch(`${url}/v1/payments`, {
    method: "POST",
    headers: { authorization: `Bearer ${apiKey}`, "content-type": "application/json" },
    body: JSON.stringify({ orderId, amountMinor: 15_000, currency: "KES", provider: "daraja", phone }),
  });
  const { watchToken: token } = (await response.json()) as { watchToken: string };
  if (response.status === 503) {
    tally.refused += 1;
    return;
  }
  assert.equal(response.status, 202);
  await Promise.all(
    Array.from({ length: 1 + (serial % 3) }, async (_, index) => {
      tally.watchers += 1;
      const { promise, resolve } = Promise.withResolvers<"settled" | "gone">();
      let version = 0;
      const stop = ways[(serial + index) % ways.length]?.({ url, orderId, token }, (event) => {
        if (event.version < version) tally.lowerVersions += 1;
        version = event.version;
        if (event.settled) resolve("settled");
      });
      const isImpatient = (serial + index) % 7 === 0;
      const left = new AbortController();
      const ended = await Promise.race([
        promise,
        delay(isImpatient ? 300 : 20_000, "gone" as const, { signal: left.signal }),
      ]);
      left.abort();
      stop?.();
      if (ended === "settled") tally.settled += 1;
      else if (isImpatient) tally.impatient += 1;
      else tally.unsettled += 1;
    }),
  );
}

async function load(url: string, ms: number, tally: Tally): Promise<void> {
  const inFlight = new Set<Promise<unknown>>();
  const gapMs = 1_000 / Number(values.rate);
  for (const endsAtMs = Date.now() + ms; Date.now() < endsAtMs; await delay(gapMs)) {
    if (inFlight.size > 500) continue;
    const paying = onePayment(url, tally)
      .catch((error: unknown) => tally.errors.push(String(error)))
      .finally(() => inFlight.delete(paying));
    inFlight.add(paying);
  }
  await Promise.all(inFlight);
}

/** Repeats the measurement until all values are back, or for two minutes, because idle connections stay open for one. */
async function measureAfterLoad(ground: Ground, before: Measure): Promise<Measure> {
  await ground.postponeChecks();
  let found = await ground.measure();
  for (const endsAtMs = Date.now() + 120_000; Date.now() < endsAtMs && namesTooHigh(before, found).length > 0; ) {
    await delay(2_000);
    found = await ground.measure();
  }
  return found;
}

/** Returns the names of the values that are too high. Memory may grow by what caches and the compiler keep. */
function namesTooHigh(before: Measure, after: Measure): string[] {
  const room: Record<keyof Measure, number> = {
    "heap, MiB": Math.max(8, before["heap, MiB"] * 0.25),
    "resident, MiB": 150,
    // 12, because the number of connections of the node's loops varies.
    "file descriptors": 12,
    timers: 15,
    "watchers (metric)": 0,
    "Redis channels": 0,
    "database connections": 4,
    "invariant violations": 0,
  };
  return (Object.keys(room) as (keyof Measure)[]).filter((name) => after[name] - before[name] > room[name]);
}

async function soak(ms: number): Promise<void> {
  const ground = await start();
  const tally: Tally = {
    payments: 0,
    refused: 0,
    watchers: 0,
    settled: 0,
    lowerVersions: 0,
    impatient: 0,
    unsettled: 0,
    errors: [],
  };
  const idle = await ground.measure();
  // The start values are measured after a warm-up, because code and caches that load once are no leak.
  await load(ground.url, Math.min(30_000, ms / 6), tally);
  const before = await measureAfterLoad(ground, idle);
  const halfway = async (): Promise<Measure> => {
    await delay(ms / 2);
    return ground.measure();
  };
  const [middle] = await Promise.all([halfway(), load(ground.url, ms, tally)]);
  const after = await measureAfterLoad(ground, before);
  const names = Object.keys(idle) as (keyof Measure)[];
  console.table(
    Object.fromEntries(
      names.map((name) => [
        name,
        { idle: idle[name], "warmed up": before[name], "under load": middle[name], after: after[name] },
      ]),
    ),
  );
  console.table([{ ...tally, errors: tally.errors.length }]);
  for (const error of new Set(tally.errors)) console.error(error);
  const tooHigh = namesTooHigh(before, after);
  assert.deepEqual(tooHigh, [], `values that are too high after the load: ${tooHigh}`);
  assert.deepEqual(
    [tally.lowerVersions, tally.unsettled, tally.errors.length],
    [0, 0, 0],
    "no watcher sees a lower version (G5), and every watcher sees the end (G4)",
  );
}

try {
  if (isWanted("fuzz"))
    await vitest({ FUZZ_RUNS: values.noise }, "test/attack/translate.test.ts", "test/attack/edge.test.ts");
  if (isWanted("model"))
    await vitest({ MODEL_MINUTES: String(values.only === "model" ? minutes : minutes / 2) }, "test/model");
  if (isWanted("load")) await soak(minutes * 60_000);
} finally {
  for (const release of releases.reverse()) await release();
}
