/** The phases of a run: which lanes are compared in each, and what is counted. */
import { fork } from "node:child_process";
import { once } from "node:events";
import { setTimeout as wait } from "node:timers/promises";
import type { Daraja } from "./daraja.ts";
import { alternate, type Burst, type Lane, openLane } from "./lane.ts";
import type { Generator, Machine, Program } from "./machine.ts";
import type { Fired, WatchVia } from "./plan.ts";
import { type Ratio, type Report, ratioOf, rowOf } from "./report.ts";
import { quantile, spreadOf } from "./statistic.ts";
import { startCluster, startFront } from "./target/hubs.ts";
import { startBareHttp, startFloor, startNchan, startShop, startSocketIo } from "./target/other.ts";
import type { Target } from "./target/target.ts";
import { apiKey, nextOrderId, paymentOf, startTukio, type Tukio } from "./target/tukio.ts";

export interface Bench {
  machine: Machine;
  daraja: Daraja;
  root: string;
  /** Another checkout of Tukio, to be measured beside this one. */
  beside?: string;
  settings: { watchers: number; ratePerS: number; rounds: number; seconds: number; quick: boolean };
  report: Report;
}

type Phase = (bench: Bench) => Promise<void>;

interface Entry {
  label: string;
  target: Target;
  via: WatchVia;
  watchers?: number;
}

const databaseName = (text: string): string => text.replace(/\W/g, "_");

/** This Tukio and, in the phases that compare it with another checkout's, that one. */
async function startOnes(bench: Bench, phase: string): Promise<Tukio[]> {
  const { machine, daraja, root, beside } = bench;
  const now = await startTukio({ machine, daraja, root, name: databaseName(`tukio_${phase}`) });
  if (beside === undefined || !comparesBefore.has(phase)) return [now];
  return [now, await startTukio({ machine, daraja, root: beside, name: databaseName(`before_${phase}`) })];
}

const comparesBefore: ReadonlySet<string> = new Set(["websocket", "initiate"]);

const labelOf = (index: number): string => (index === 0 ? "tukio" : "before");

/** Opens the lanes, fires at them in turn, reports rows; `judge` compares. */
async function compare(
  bench: Bench,
  {
    phase,
    entries,
    judge,
  }: { phase: string; entries: Entry[]; judge: (lanes: Map<string, Lane>) => void | Promise<void> },
): Promise<void> {
  const { machine, settings, report } = bench;
  const lanes = new Map<string, Lane>();
  try {
    for (const { label, target, via, watchers = settings.watchers } of entries) {
      lanes.set(label, await openLane({ machine, label, target, via, watchers }));
    }
    const { rounds, ratePerS } = settings;
    const warmUp = Math.min(ratePerS, Math.floor(settings.watchers / 10));
    const count = Math.min(ratePerS * settings.seconds, Math.floor((settings.watchers - warmUp) / rounds));
    await alternate([...lanes.values()], { rounds, count, ratePerS, warmUp });
    report.rows.push(...[...lanes.values()].map((lane) => rowOf(phase, lane)));
    await judge(lanes);
  } finally {
    for (const lane of lanes.values()) await lane.close();
    for (const target of new Set(entries.map((entry) => entry.target))) await target.program.stop();
  }
}

const figures = {
  p50Ms: "p50 webhook → watcher",
  p99Ms: "p99 webhook → watcher",
  serverCpuMs: "server CPU per webhook",
};

interface Comparison {
  phase: string;
  lanes: Map<string, Lane>;
  of: string;
  to: string;
  bars?: Partial<Record<keyof typeof figures | "rss", number>>;
}

/** The usual ratios of one lane to another; those with a bar are judged by it. */
function ratios(report: Report, { phase, lanes, of, to, bars = {} }: Comparison): void {
  const [one, other] = [lanes.get(of), lanes.get(to)];
  if (!one || !other) return;
  const add = (ratio: Omit<Ratio, "phase" | "of" | "to">): void => void report.ratios.push({ phase, of, to, ...ratio });
  for (const [figure, what] of Object.entries(figures) as [keyof typeof figures, string][]) {
    const atMost = bars[figure];
    add({ what, spread: ratioOf(figure, one, other), ...(atMost !== undefined && { atMost }) });
  }
  add({
    what: "RSS per idle watcher",
    spread: spreadOf([one.rssKbPerWatcher / other.rssKbPerWatcher]),
    ...(bars.rss !== undefined && { atMost: bars.rss }),
  });
}

const websocket: Phase = async (bench) => {
  const { machine, report } = bench;
  const ones = await startOnes(bench, "websocket");
  const entries: Entry[] = ones.map((target, index) => ({ label: labelOf(index), target, via: "websocket" }));
  entries.push({ label: "floor", target: await startFloor(machine), via: "websocket" });
  await compare(bench, {
    phase: "websocket",
    entries,
    judge(lanes) {
      const bars = { p50Ms: 1.25, p99Ms: 1.5, rss: 1.3 };
      ratios(report, { phase: "websocket", lanes, of: "tukio", to: "floor", bars });
      ratios(report, { phase: "websocket", lanes, of: "tukio", to: "before" });
    },
  });
};

const socketio: Phase = async (bench) => {
  const { machine, report } = bench;
  const [target] = await startOnes(bench, "socketio");
  if (!target) return;
  const entries: Entry[] = [{ label: "tukio", target, via: "socketio" }];
  entries.push({ label: "floor", target: await startFloor(machine), via: "websocket" });
  entries.push({ label: "bare Socket.IO", target: await startSocketIo(machine, "none"), via: "socketio" });
  await compare(bench, {
    phase: "socketio",
    entries,
    judge(lanes) {
      ratios(report, { phase: "socketio", lanes, of: "tukio", to: "floor", bars: { p50Ms: 1.25, p99Ms: 1.5 } });
      ratios(report, { phase: "socketio", lanes, of: "tukio", to: "bare Socket.IO", bars: { rss: 1.1 } });
    },
  });
};

/** Commits nothing, so it is no peer in durability: a bound from below. */
const nchan: Phase = async (bench) => {
  const { machine, report } = bench;
  const [target] = await startOnes(bench, "nchan");
  if (!target) return;
  const entries: Entry[] = [
    { label: "tukio", target, via: "websocket" },
    { label: "nchan", target: await startNchan(machine), via: "websocket" },
  ];
  await compare(bench, {
    phase: "nchan",
    entries,
    judge: (lanes) => ratios(report, { phase: "nchan", lanes, of: "tukio", to: "nchan", bars: { p50Ms: 3 } }),
  });
};

/** What others run. A long poll that holds a Redis connection per waiter cannot have 10,000 of them here. */
const peers: Phase = async (bench) => {
  const { machine, report, settings } = bench;
  const watchers = Math.min(settings.watchers, 1_000);
  const narrow: Bench = { ...bench, settings: { ...settings, watchers, ratePerS: Math.min(settings.ratePerS, 100) } };
  const [target] = await startOnes(bench, "peers");
  if (!target) return;
  const entries: Entry[] = [
    { label: "tukio", target, via: "socketio" },
    { label: "Socket.IO redis-adapter", target: await startSocketIo(machine, "redis"), via: "socketio" },
    { label: "Socket.IO streams-adapter", target: await startSocketIo(machine, "streams"), via: "socketio" },
    { label: "long poll, Redis each", target: await startShop(machine, "longpoll"), via: "longpoll" },
    { label: "polling every 5 s", target: await startShop(machine, "poll"), via: "poll" },
  ];
  await compare(narrow, {
    phase: "peers",
    entries,
    judge(lanes) {
      for (const { label } of entries.slice(1)) ratios(report, { phase: "peers", lanes, of: "tukio", to: label });
    },
  });
};

/** Memory of idle watchers on the transports that the other phases do not fire at, each on a server begun afresh. */
const memory: Phase = async (bench) => {
  const { machine, report, settings } = bench;
  const [target] = await startOnes(bench, "memory");
  if (!target) return;
  // Fewer than elsewhere: each lane has to open its orders anew.
  const watchers = Math.min(settings.watchers, 4_000);
  const found = new Map<string, number[]>();
  const entries: Entry[] = [
    { label: "floor (ws)", target: await startFloor(machine), via: "websocket" },
    { label: "bare node:http", target: await startBareHttp(machine), via: "eventsource" },
    { label: "tukio, websocket", target, via: "websocket" },
    { label: "tukio, SSE", target, via: "eventsource" },
    { label: "tukio, long poll", target, via: "longpoll" },
  ];
  for (let round = 0; round < 1; round += 1) {
    for (const { label, target: one, via } of entries) {
      const lane = await openLane({ machine, label, target: one, via, watchers });
      report.rows.push(rowOf("memory", lane));
      found.set(label, [...(found.get(label) ?? []), lane.rssKbPerWatcher]);
      await lane.close();
    }
  }
  const floors = found.get("floor (ws)") ?? [];
  for (const { label } of entries.slice(1)) {
    const spread = spreadOf((found.get(label) ?? []).map((kb, round) => kb / (floors[round] ?? Number.NaN)));
    report.ratios.push({
      phase: "memory",
      what: "RSS per idle watcher",
      of: label,
      to: "floor (ws)",
      spread,
      ...(label.startsWith("tukio") && { atMost: 1.3 }),
    });
  }
  for (const { target: one } of entries) await one.program.stop();
};

const ladder = [200, 300, 450, 600, 800, 1_000, 1_300, 1_700];
const rungSeconds = 1.5;

/** Highest rate with p99 under 100 ms, going up in turn; a lane that has failed a rung twice stays down. */
const rate: Phase = async (bench) => {
  const { machine, report, settings } = bench;
  const [target] = await startOnes(bench, "rate");
  if (!target) return;
  const floor = await startFloor(machine);
  const rungs = settings.quick ? ladder.slice(0, 5) : ladder;
  const reached: Record<string, number[]> = { tukio: [], floor: [] };
  for (let round = 0; round < 1; round += 1) {
    const watchers = Math.ceil(rungs.reduce((sum, ratePerS) => sum + ratePerS * rungSeconds, 0));
    const lanes = [
      await openLane({ machine, label: "tukio", target, via: "websocket", watchers, restart: round === 0 }),
      await openLane({ machine, label: "floor", target: floor, via: "websocket", watchers, restart: round === 0 }),
    ];
    const best = new Map(lanes.map((lane) => [lane, 0]));
    const misses = new Map(lanes.map((lane) => [lane, 0]));
    for (const ratePerS of rungs) {
      for (const lane of lanes) {
        if ((misses.get(lane) ?? 0) >= 2) continue;
        const burst: Burst = await lane.fire(Math.floor(ratePerS * rungSeconds), ratePerS, round * 100 + ratePerS);
        lane.bursts.push(burst);
        const isGood = burst.p99Ms < 100 && burst.lost + burst.refused === 0;
        if (isGood) best.set(lane, ratePerS);
        misses.set(lane, isGood ? 0 : (misses.get(lane) ?? 0) + 1);
        await wait(200);
      }
    }
    for (const lane of lanes) {
      reached[lane.label]?.push(best.get(lane) ?? 0);
      report.facts.push({
        phase: "rate",
        what: `${lane.label}: highest rate with p99 < 100 ms`,
        value: best.get(lane) ?? 0,
        unit: "/s",
      });
      await lane.close();
    }
  }
  const spread = spreadOf((reached.tukio ?? []).map((one, round) => one / (reached.floor?.[round] ?? Number.NaN)));
  report.ratios.push({
    phase: "rate",
    what: "highest rate, p99 < 100 ms",
    of: "tukio",
    to: "floor",
    spread,
    atLeast: 0.7,
  });
  await target.program.stop();
  await floor.program.stop();
};

/** Initiating, answered: beside a bare route with one commit, with a provider that is quick and one that is slow. */
const initiate: Phase = async (bench) => {
  const { machine, daraja, report, settings } = bench;
  const ones = await startOnes(bench, "initiate");
  const { url } = await machine.database("bare");
  const bare = await machine.start(`${import.meta.dirname}/bare-initiate.ts`, { env: { DATABASE_URL: url } });
  const ratePerS = settings.quick ? 50 : 100;
  const count = ratePerS * 3;
  const lanes = [...ones.map((one, index) => [labelOf(index), one.program] as const), ["bare Fastify", bare] as const];
  const headers = { authorization: `Bearer ${apiKey}`, "content-type": "application/json" };
  const generator: Generator = machine.generator();
  const callsTo = (base: string) =>
    Array.from({ length: count }, (_, index) => ({
      url: `${base}/v1/payments`,
      headers,
      body: JSON.stringify(paymentOf(nextOrderId(), index)),
    }));
  for (const [label, program] of lanes) {
    const warm = await generator.call({ calls: callsTo(program.url), ratePerS, seed: 7 });
    if (warm.refused > 0) throw new Error(`${label} refused ${warm.refused}`);
  }
  for (const latencyMs of [0, 2_000]) {
    daraja.latencyMs = latencyMs;
    const found = new Map<string, Fired[]>();
    for (let round = 0; round < settings.rounds; round += 1) {
      for (const [label, program] of round % 2 === 0 ? lanes : lanes.toReversed()) {
        const fired = await generator.call({ calls: callsTo(program.url), ratePerS, seed: round + 1 });
        found.set(label, [...(found.get(label) ?? []), fired]);
        await wait(latencyMs > 0 ? latencyMs : 200);
      }
    }
    const p50s = (label: string): number[] => (found.get(label) ?? []).map(({ answerMs }) => quantile(answerMs, 0.5));
    const phase = `initiate, provider ${latencyMs} ms`;
    for (const [label] of lanes) {
      report.facts.push({
        phase,
        what: `${label}: p50 of the answer`,
        value: spreadOf(p50s(label)).median,
        unit: "ms",
      });
    }
    const to = (other: string) => spreadOf(p50s("tukio").map((one, round) => one / (p50s(other)[round] ?? Number.NaN)));
    const what = "p50 of the 202";
    report.ratios.push({ phase, what, of: "tukio", to: "bare Fastify", spread: to("bare Fastify"), atMost: 1.5 });
    if (ones.length > 1) report.ratios.push({ phase, what, of: "tukio", to: "before", spread: to("before") });
  }
  daraja.latencyMs = 0;
  await generator.stop();
  for (const [, program] of lanes) await program.stop();
};

/** What ten times the watchers cost each webhook, and what a resync pass costs when nothing changed. */
const growth: Phase = async (bench) => {
  const { machine, daraja, root, report, settings } = bench;
  const few = Math.floor(settings.watchers / 10);
  const start = (name: string) => startTukio({ machine, daraja, root, name });
  const small = await start("growth_few");
  const large = await start("growth_many");
  const lanes = {
    many: await openLane({
      machine,
      label: `tukio, ${settings.watchers}`,
      target: large,
      via: "websocket",
      watchers: settings.watchers,
    }),
    few: await openLane({ machine, label: `tukio, ${few}`, target: small, via: "websocket", watchers: few }),
  };
  // The pass reaches back 10 s: what preparing changed must be out of its sight.
  await wait(13_000);
  const passes: Record<string, number> = {};
  await machine.resetCounts();
  const idle = await Promise.all([lanes.many.idle(8_000), lanes.few.idle(8_000)]);
  for (const [label, target] of [
    ["many", large],
    ["few", small],
  ] as const) {
    const changed = (await machine.statements(target.database)).find(({ query }) => query.includes("changed_at >="));
    passes[label] = changed?.meanMs ?? Number.NaN;
  }
  const phase = "growth";
  report.facts.push(
    { phase, what: `idle CPU of the hub, ${settings.watchers} watchers`, value: idle[0] ?? 0, unit: "ms/s" },
    { phase, what: `idle CPU of the hub, ${few} watchers`, value: idle[1] ?? 0, unit: "ms/s" },
  );
  const spread = spreadOf([(passes.many ?? Number.NaN) / (passes.few ?? Number.NaN)]);
  report.ratios.push({
    phase,
    what: "resync pass in PostgreSQL, nothing changed",
    of: "many",
    to: "few",
    spread,
    atMost: 1.2,
  });
  const count = Math.floor((few * 0.9) / settings.rounds);
  await alternate([lanes.many, lanes.few], {
    rounds: settings.rounds,
    count,
    ratePerS: Math.min(settings.ratePerS, 200),
    warmUp: Math.floor(few * 0.1),
  });
  report.rows.push(rowOf(phase, lanes.many), rowOf(phase, lanes.few));
  const p50 = ratioOf("p50Ms", lanes.many, lanes.few);
  report.ratios.push({
    phase,
    what: "p50 webhook → watcher",
    of: lanes.many.label,
    to: lanes.few.label,
    spread: p50,
    atMost: 1.2,
  });
  for (const lane of [lanes.many, lanes.few]) await lane.close();
  for (const target of [small, large]) await target.program.stop();
};

/** What one happy payment costs in round trips and messages, counted by PostgreSQL and Redis themselves. */
const payment: Phase = async (bench) => {
  const { machine, daraja, root, report } = bench;
  const count = 200;
  const target = await startTukio({ machine, daraja, root, name: "payment" });
  // Another node, which nobody watches at: it is to hear nothing.
  const { url } = await machine.database("payment");
  const { environmentOf } = await import("./target/tukio.ts");
  const env = { ...environmentOf(machine, daraja, url), DATA_DIR: `${machine.dir}/payment-2` };
  const other = await machine.start(`${root}/server/main.ts`, { env, ready: "/readyz" });
  await machine.resetCounts();
  const lane = await openLane({ machine, label: "tukio", target, via: "websocket", watchers: count, restart: false });
  const channels = (await machine.redis.pubsub("CHANNELS", "tukio:*")) as string[];
  const subscribers = (await machine.redis.pubsub("NUMSUB", ...channels)) as (string | number)[];
  const burst = await lane.fire(count, 50, 1);
  lane.bursts.push(burst);
  const background =
    /changed_at >=|claim|for update skip locked|credential|token_call|pg_advisory|information_schema|check_at = now|status = 'pending'|select 1|create |alter |webhook_offer|offer_at|delete|begin|commit|rollback|tukio_schema/i;
  const statements = await machine.statements("payment");
  const phase = "payment";
  const own = statements.filter(
    ({ query, calls }) =>
      (calls >= count / 4 && !background.test(query.slice(0, 4_000))) || /^with was as|^with now as|unnest/.test(query),
  );
  const calls = own.reduce((sum, statement) => sum + statement.calls, 0);
  const info = await machine.redis.info("commandstats");
  const published = Number(/cmdstat_publish:calls=(\d+)/.exec(info)?.[1] ?? 0);
  report.facts.push(
    { phase, what: "PostgreSQL round trips per happy payment", value: calls / count, unit: "", atMost: 4 },
    ...own.map(({ query, calls: times, meanMs }) => ({
      phase,
      what: `  of them: ${query.replace(/\s+/g, " ").slice(0, 60)}… (mean ${meanMs.toFixed(2)} ms)`,
      value: times / count,
      unit: "",
    })),
    { phase, what: "Redis publishes per version (3 versions)", value: published / (3 * count), unit: "", atMost: 1 },
    {
      phase,
      what: "subscribers of a watched order's channel, of 2 nodes",
      value:
        subscribers.filter((value) => typeof value === "number").reduce((sum, one) => sum + one, 0) / channels.length,
      unit: "",
      atMost: 1,
    },
  );
  report.rows.push(rowOf(phase, lane));
  await lane.close();

  const waiting = await openLane({
    machine,
    label: "tukio, long poll",
    target,
    via: "longpoll",
    watchers: count,
    restart: false,
  });
  waiting.bursts.push(await waiting.fire(count, 50, 1));
  // The first request of each was made before the burst.
  const asks = 1 + (waiting.bursts[0]?.asks ?? 0) / count;
  report.facts.push({ phase, what: "long poll: requests per happy payment", value: asks, unit: "", atMost: 1.2 });
  report.rows.push(rowOf(phase, waiting));
  await waiting.close();
  await target.program.stop();
  await other.stop();
};

/** One, two and four processes behind nginx on a Redis Cluster; each order has one watcher, wherever nginx puts it. */
const scale: Phase = async (bench) => {
  const { machine, daraja, root, report, settings } = bench;
  const cluster = await startCluster(machine);
  const watchers = Math.min(settings.watchers, 2_000);
  const narrow: Bench = { ...bench, settings: { ...settings, watchers, ratePerS: Math.min(settings.ratePerS, 200) } };
  const phase = "scale";
  const sum = (values: readonly number[]): number => values.reduce((total, one) => total + one, 0);
  try {
    const entries: Entry[] = [];
    for (const count of [1, 2, 4]) {
      const front = (hubs: readonly Program[]): Promise<Program> => startFront(machine, hubs);
      const hubs = { count, redisUrl: cluster.url, front };
      const target = await startTukio({ machine, daraja, root, name: `scale_${count}`, hubs });
      entries.push({ label: label(count), target, via: "websocket" });
    }
    await compare(narrow, {
      phase,
      entries,
      async judge(lanes) {
        const listening: number[] = [];
        const calls: number[] = [];
        for (const server of cluster.servers) {
          const channels = (await server.call("pubsub", "shardchannels")) as string[];
          const counts = (await server.call("pubsub", "shardnumsub", ...channels)) as (string | number)[];
          listening.push(...counts.filter((value) => typeof value === "number"));
          calls.push(Number(/cmdstat_spublish:calls=(\d+)/.exec(await server.info("commandstats"))?.[1] ?? 0));
        }
        const versions = sum(
          await Promise.all(
            entries.map(async ({ target }) => {
              const { pool } = await machine.database(target.name);
              const { rows } = await pool.query<{ count: number }>("select count(*)::int as count from event");
              return rows[0]?.count ?? 0;
            }),
          ),
        );
        report.facts.push(
          {
            phase,
            what: "nodes that are told of an event of a watched order",
            value: sum(listening) / listening.length,
            unit: "",
            atMost: 1,
          },
          {
            phase,
            what: "publishes per version, all servers of the Cluster",
            value: sum(calls) / versions,
            unit: "",
            atMost: 1,
          },
          {
            phase,
            what: "share of the publishes at the busiest of the three servers",
            value: Math.max(...calls) / sum(calls),
            unit: "",
          },
        );
        for (const count of [2, 4]) ratios(report, { phase, lanes, of: label(count), to: label(1) });
      },
    });
  } finally {
    await cluster.stop();
  }
};

const label = (hubs: number): string => (hubs === 1 ? "1 process" : `${hubs} processes`);

/** What wakes an idle page: timers of the SDK, and of Socket.IO's client within it, that go off. */
const client: Phase = async ({ machine, daraja, root, report, settings }) => {
  const target = await startTukio({ machine, daraja, root, name: "client" });
  const seconds = settings.quick ? 30 : 60;
  const [order] = await target.initiate(1);
  if (!order) throw new Error("no order");
  const count = async (transport: string): Promise<number> => {
    const given = [target.program.url, order.orderId, order.token, transport, String(seconds)];
    const child = fork(`${import.meta.dirname}/idle-client.ts`, given, { execArgv: [] });
    const [wakeUps] = (await once(child, "message")) as [number];
    return wakeUps;
  };
  const transports = ["socketio", "websocket", "eventsource", "longpoll"];
  const found = await Promise.all(transports.map(count));
  transports.forEach((transport, index) => {
    const what = `timers that go off in ${seconds} s of an idle watch, ${transport}`;
    report.facts.push({
      phase: "client",
      what,
      value: found[index] ?? Number.NaN,
      unit: "",
      atMost: Math.ceil(seconds / 25),
    });
  });
  await target.program.stop();
};

export const phases: Record<string, Phase> = {
  websocket,
  socketio,
  nchan,
  payment,
  rate,
  growth,
  memory,
  peers,
  initiate,
  scale,
  client,
};
