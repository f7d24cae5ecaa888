import { setTimeout as wait } from "node:timers/promises";
import { spreadOf } from "../statistic.ts";
import { startFloor } from "../target/other.ts";
import type { Target } from "../target/target.ts";
import { openVariant } from "../variant.ts";
import { type Bench, type Phase, startTukios } from "./compare.ts";

const ladder = [400, 600, 800, 1_000, 1_300, 1_700, 2_200, 2_800];
const rungSeconds = 1;

/** Measures the highest rate with a p99 under 100 ms. */
export const rate: Phase = async (bench) => {
  const { settings, report } = bench;
  const [target] = await startTukios(bench, "rate");
  if (!target) return;
  const floor = await startFloor(bench.machine);
  const rungs = settings.quick ? ladder.slice(0, 5) : ladder;
  const rounds = Math.min(settings.rounds, 3);
  const reached: Record<string, number[]> = { tukio: [], floor: [] };
  for (let round = 0; round < rounds; round += 1) {
    for (const [label, ratePerS] of await climb(bench, { target, floor, rungs, round })) {
      reached[label]?.push(ratePerS);
    }
  }
  for (const [label, rates] of Object.entries(reached)) {
    const what = `${label}: highest rate with p99 < 100 ms`;
    report.facts.push({ phase: "rate", what, value: spreadOf(rates).median, unit: "/s" });
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

interface Climb {
  target: Target;
  floor: Target;
  rungs: readonly number[];
  round: number;
}

/**
 * Raises the rate for both variants in turn and returns the highest good rate of each. A variant stops after two bad bursts
 * in succession.
 */
async function climb({ machine }: Bench, { target, floor, rungs, round }: Climb): Promise<Map<string, number>> {
  const watchers = Math.ceil(rungs.reduce((sum, ratePerS) => sum + ratePerS * rungSeconds, 0));
  const options = { machine, via: "websocket", watchers, restart: round === 0 } as const;
  const variants = [
    await openVariant({ ...options, label: "tukio", target }),
    await openVariant({ ...options, label: "floor", target: floor }),
  ];
  const best = new Map(variants.map(({ label }) => [label, 0]));
  const misses = new Map(variants.map(({ label }) => [label, 0]));
  for (const ratePerS of rungs) {
    for (const variant of variants.filter(({ label }) => (misses.get(label) ?? 0) < 2)) {
      const { label } = variant;
      const burst = await variant.fire(Math.floor(ratePerS * rungSeconds), ratePerS, round * 100 + ratePerS);
      variant.bursts.push(burst);
      const isGood = burst.p99Ms < 100 && burst.lost + burst.refused === 0;
      if (isGood) best.set(label, ratePerS);
      misses.set(label, isGood ? 0 : (misses.get(label) ?? 0) + 1);
      await wait(200);
    }
  }
  for (const variant of variants) await variant.close();
  return best;
}
