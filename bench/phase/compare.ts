/** What the phases share: the lanes that are compared, fired at in turn, and the usual ratios of one to another. */
import type { Daraja } from "../daraja.ts";
import { alternate, type Lane, openLane } from "../lane.ts";
import type { Machine } from "../machine.ts";
import type { WatchVia } from "../plan.ts";
import { type Ratio, type Report, ratioOf, rowOf } from "../report.ts";
import { spreadOf } from "../statistic.ts";
import type { Target } from "../target/target.ts";
import { startTukio, type Tukio } from "../target/tukio.ts";

export interface Bench {
  machine: Machine;
  daraja: Daraja;
  root: string;
  /** Another checkout of Tukio, to be measured beside this one. */
  beside?: string;
  settings: { watchers: number; ratePerS: number; rounds: number; seconds: number; quick: boolean };
  report: Report;
}

export type Phase = (bench: Bench) => Promise<void>;

export interface Entry {
  label: string;
  target: Target;
  via: WatchVia;
  watchers?: number;
}

const databaseName = (text: string): string => text.replace(/\W/g, "_");

/** This Tukio and, in the phases that compare it with another checkout's, that one. */
export async function startOnes(bench: Bench, phase: string): Promise<Tukio[]> {
  const { machine, daraja, root, beside } = bench;
  const now = await startTukio({ machine, daraja, root, name: databaseName(`tukio_${phase}`) });
  if (beside === undefined || !comparesBefore.has(phase)) return [now];
  return [now, await startTukio({ machine, daraja, root: beside, name: databaseName(`before_${phase}`) })];
}

const comparesBefore: ReadonlySet<string> = new Set(["websocket", "initiate"]);

export const labelOf = (index: number): string => (index === 0 ? "tukio" : "before");

/** Opens the lanes, fires at them in turn, reports rows; `judge` compares. */
export async function compare(
  bench: Bench,
  {
    phase,
    entries,
    openings = 1,
    judge,
  }: { phase: string; entries: Entry[]; openings?: number; judge: (lanes: Map<string, Lane>) => void | Promise<void> },
): Promise<void> {
  const { machine, settings, report } = bench;
  const lanes = new Map<string, Lane>();
  try {
    for (const { label, target, via, watchers = settings.watchers } of entries) {
      lanes.set(label, await openLane({ machine, label, target, via, watchers, openings }));
    }
    const { rounds, ratePerS } = settings;
    // What is measured is a server at work: one just begun still compiles, in Tukio's case more code than the floor has.
    const warmUp = Math.floor(settings.watchers / 4);
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
export function ratios(report: Report, { phase, lanes, of, to, bars = {} }: Comparison): void {
  const [one, other] = [lanes.get(of), lanes.get(to)];
  if (!one || !other) return;
  const add = (ratio: Omit<Ratio, "phase" | "of" | "to">): void => void report.ratios.push({ phase, of, to, ...ratio });
  for (const [figure, what] of Object.entries(figures) as [keyof typeof figures, string][]) {
    const atMost = bars[figure];
    add({ what, spread: ratioOf(figure, one, other), ...(atMost !== undefined && { atMost }) });
  }
  add({
    what: "RSS per idle watcher",
    spread: spreadOf(one.rssKbPerWatcher.map((kb, opening) => kb / (other.rssKbPerWatcher[opening] ?? Number.NaN))),
    ...(bars.rss !== undefined && { atMost: bars.rss }),
  });
}
