/** One target watched one way: it is fired at in bursts, in turn with the other lanes. */
import { setTimeout as wait } from "node:timers/promises";
import { cpuMsOf, type Generator, type Machine, rssKbOf } from "./machine.ts";
import type { Fired, Job, WatchVia } from "./plan.ts";
import { quantile } from "./statistic.ts";
import type { Target } from "./target/target.ts";

/** One burst, in figures. Milliseconds; CPU is per webhook. */
export interface Burst {
  ratePerS: number;
  sent: number;
  p50Ms: number;
  p99Ms: number;
  answerP50Ms: number;
  answerP99Ms: number;
  serverCpuMs: number;
  postgresCpuMs: number;
  redisCpuMs: number;
  generatorCpuMs: number;
  lagP99Ms: number;
  lost: number;
  refused: number;
  asks: number;
}

export interface Lane {
  label: string;
  target: Target;
  watchers: number;
  failed: number;
  /** What each idle watcher added to the memory of a server begun afresh, each time that they were opened. */
  rssKbPerWatcher: number[];
  bursts: Burst[];
  fire(count: number, ratePerS: number, seed: number): Promise<Burst>;
  /** Restful CPU: milliseconds of the server's per second with nothing happening. */
  idle(ms: number): Promise<number>;
  left(): number;
  close(): Promise<void>;
}

export interface LaneOptions {
  machine: Machine;
  label: string;
  target: Target;
  via: WatchVia;
  watchers: number;
  /** Whether the server is begun afresh before the watchers come; true by default. */
  restart?: boolean;
  /** How often the watchers are opened, to see what they take; 1 by default. */
  openings?: number;
}

const settleMs = 1_500;

export async function openLane(options: LaneOptions): Promise<Lane> {
  const { machine, label, target, via, watchers, restart = true, openings = 1 } = options;
  const prepared = await target.prepare(watchers, via);
  const generator: Generator = machine.generator();
  const rssKbPerWatcher: number[] = [];
  let located: Job[] = [];
  let failed = 0;
  for (let opening = 0; opening < openings; opening += 1) {
    if (opening > 0) await generator.leave();
    if (restart) await target.restart();
    located = prepared.map(
      (job): Job => ({
        ...job,
        watchUrl: job.watchUrl.startsWith("@") ? target.program.url + job.watchUrl.slice(1) : job.watchUrl,
        webhookUrl: target.program.url + job.webhookUrl.slice(1),
      }),
    );
    await wait(settleMs);
    const beforeKb = rssKbOf(target.program.pid);
    ({ failed } = await generator.watch({ via, jobs: located, expects: target.expects }));
    await wait(settleMs);
    rssKbPerWatcher.push((rssKbOf(target.program.pid) - beforeKb) / watchers);
  }
  const bursts: Burst[] = [];
  let next = 0;
  return {
    label,
    target,
    watchers,
    failed,
    rssKbPerWatcher,
    bursts,
    async fire(count, ratePerS, seed) {
      const jobs = located.slice(next, next + count);
      if (jobs.length < count) throw new Error(`${label} has no orders left`);
      next += count;
      const { pid, pids = [pid] } = target.program;
      const serverCpuMs = (): number => pids.reduce((sum, one) => sum + cpuMsOf(one), 0);
      const cpu = (): number[] => [serverCpuMs(), machine.postgresCpuMs(), machine.redisCpuMs()];
      const before = cpu();
      const fired = await generator.fire({ jobs, ratePerS, seed });
      const [server = 0, postgres = 0, redis = 0] = cpu().map((now, index) => (now - (before[index] ?? 0)) / count);
      return burstOf(fired, { server, postgres, redis });
    },
    async idle(ms) {
      const before = cpuMsOf(target.program.pid);
      await wait(ms);
      return ((cpuMsOf(target.program.pid) - before) * 1_000) / ms;
    },
    left: () => located.length - next,
    async close() {
      await generator.leave();
      await generator.stop();
    },
  };
}

/** A webhook that nobody heard of in time counts as the longest there is. */
function burstOf(fired: Fired, cpu: { server: number; postgres: number; redis: number }): Burst {
  const latencies = [...fired.latencyMs, ...Array<number>(fired.lost).fill(10_000)];
  return {
    ratePerS: fired.ratePerS,
    sent: fired.sent,
    p50Ms: quantile(latencies, 0.5),
    p99Ms: quantile(latencies, 0.99),
    answerP50Ms: quantile(fired.answerMs, 0.5),
    answerP99Ms: quantile(fired.answerMs, 0.99),
    serverCpuMs: cpu.server,
    postgresCpuMs: cpu.postgres,
    redisCpuMs: cpu.redis,
    generatorCpuMs: fired.cpuMs / fired.sent,
    lagP99Ms: quantile(fired.lagMs, 0.99),
    lost: fired.lost,
    refused: fired.refused,
    asks: fired.asks,
  };
}

export interface Turn {
  rounds: number;
  count: number;
  ratePerS: number;
  warmUp: number;
}

/** Fires at every lane once a round, forwards and backwards by turns, after one burst each that does not count. */
export async function alternate(lanes: readonly Lane[], { rounds, count, ratePerS, warmUp }: Turn): Promise<void> {
  if (warmUp > 0) for (const lane of lanes) await lane.fire(warmUp, ratePerS, 99);
  for (let round = 0; round < rounds; round += 1) {
    for (const lane of round % 2 === 0 ? lanes : lanes.toReversed()) {
      if (lane.left() < count) continue;
      lane.bursts.push(await lane.fire(count, ratePerS, round + 1));
      await wait(200);
    }
  }
}
