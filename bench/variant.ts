/** A variant: one target with watchers on one transport. Variants get bursts of webhooks in turn. */
import { setTimeout as wait } from "node:timers/promises";
import { cpuMsOf, type Generator, type Machine, rssKbOf } from "./machine.ts";
import type { BurstResult, Job, WatchVia } from "./message.ts";
import { quantile } from "./statistic.ts";
import type { Target } from "./target/target.ts";

/** The figures of one burst. Times in milliseconds; CPU time per webhook. */
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
  requests: number;
}

export interface Variant {
  label: string;
  target: Target;
  watchers: number;
  failed: number;
  /** Memory per idle watcher on a newly started server, once for each opening of the watchers. */
  rssKbPerWatcher: number[];
  bursts: Burst[];
  fire(count: number, ratePerS: number, seed: number): Promise<Burst>;
  /** The server's CPU time without load, in milliseconds per second. */
  idle(ms: number): Promise<number>;
  left(): number;
  close(): Promise<void>;
}

export interface VariantOptions {
  machine: Machine;
  label: string;
  target: Target;
  via: WatchVia;
  watchers: number;
  /** Whether to restart the server before the watchers connect. Default: true. */
  restart?: boolean;
  /** How often the watchers connect, to measure their memory. Default: 1. */
  openCount?: number;
}

const settleMs = 1_500;

export async function openVariant(options: VariantOptions): Promise<Variant> {
  const { machine, label, target, via, watchers, restart = true, openCount = 1 } = options;
  const prepared = await target.prepare(watchers, via);
  const generator: Generator = machine.generator();
  const rssKbPerWatcher: number[] = [];
  let located: Job[] = [];
  let failed = 0;
  for (let opening = 0; opening < openCount; opening += 1) {
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

/** Computes the figures of a burst. A lost webhook counts as 10 s, the generator's timeout. */
function burstOf(fired: BurstResult, cpu: { server: number; postgres: number; redis: number }): Burst {
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
    requests: fired.requests,
  };
}

export interface Turn {
  rounds: number;
  count: number;
  ratePerS: number;
  warmUp: number;
}

/** Sends one burst per variant and round, in alternating order, after one warm-up burst each that does not count. */
export async function alternate(
  variants: readonly Variant[],
  { rounds, count, ratePerS, warmUp }: Turn,
): Promise<void> {
  if (warmUp > 0) for (const variant of variants) await variant.fire(warmUp, ratePerS, 99);
  for (let round = 0; round < rounds; round += 1) {
    for (const variant of round % 2 === 0 ? variants : variants.toReversed()) {
      if (variant.left() < count) continue;
      variant.bursts.push(await variant.fire(count, ratePerS, round + 1));
      await wait(200);
    }
  }
}
