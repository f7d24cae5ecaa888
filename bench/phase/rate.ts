import { setTimeout as wait } from "node:timers/promises";
import { type Burst, openLane } from "../lane.ts";
import { spreadOf } from "../statistic.ts";
import { startFloor } from "../target/other.ts";
import { type Phase, startOnes } from "./compare.ts";

const ladder = [400, 600, 800, 1_000, 1_300, 1_700, 2_200, 2_800];
const rungSeconds = 1;

/** Highest rate with p99 under 100 ms, going up in turn; a lane that has failed a rung twice stays down. */
export const rate: Phase = async (bench) => {
  const { machine, report, settings } = bench;
  const [target] = await startOnes(bench, "rate");
  if (!target) return;
  const floor = await startFloor(machine);
  const rungs = settings.quick ? ladder.slice(0, 5) : ladder;
  const rounds = Math.min(settings.rounds, 3);
  const reached: Record<string, number[]> = { tukio: [], floor: [] };
  for (let round = 0; round < rounds; round += 1) {
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
      await lane.close();
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
