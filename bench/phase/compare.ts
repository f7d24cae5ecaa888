/** Shared by the phases: opens variants, loads them in turn, and computes the usual ratios. */
import type { Daraja } from "../daraja.ts";
import type { Machine } from "../machine.ts";
import type { WatchVia } from "../message.ts";
import { type Ratio, type Report, ratioOf, rowOf } from "../report.ts";
import { spreadOf } from "../statistic.ts";
import type { Target } from "../target/target.ts";
import { startTukio, type Tukio } from "../target/tukio.ts";
import { alternate, openVariant, type Variant } from "../variant.ts";

export interface Bench {
  machine: Machine;
  daraja: Daraja;
  root: string;
  /** The path of another checkout of Tukio, measured as "before". */
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

/** Starts this checkout's Tukio and, in phases that compare checkouts, the other one's. */
export async function startTukios(bench: Bench, phase: string): Promise<Tukio[]> {
  const { machine, daraja, root, beside } = bench;
  const now = await startTukio({ machine, daraja, root, name: databaseName(`tukio_${phase}`) });
  if (beside === undefined || !comparesBefore.has(phase)) return [now];
  return [now, await startTukio({ machine, daraja, root: beside, name: databaseName(`before_${phase}`) })];
}

const comparesBefore: ReadonlySet<string> = new Set(["websocket", "initiate"]);

export const labelOf = (index: number): string => (index === 0 ? "tukio" : "before");

/** Opens the variants, loads them in turn and reports their rows. `evaluate` adds the ratios. */
export async function compare(
  bench: Bench,
  {
    phase,
    entries,
    openCount = 1,
    evaluate,
  }: {
    phase: string;
    entries: Entry[];
    openCount?: number;
    evaluate: (variants: Map<string, Variant>) => void | Promise<void>;
  },
): Promise<void> {
  const { machine, settings, report } = bench;
  const variants = new Map<string, Variant>();
  try {
    for (const { label, target, via, watchers = settings.watchers } of entries) {
      variants.set(label, await openVariant({ machine, label, target, via, watchers, openCount }));
    }
    const { rounds, ratePerS } = settings;
    // The warm-up bursts let Node compile the code first, of which Tukio has more than the floor.
    const warmUp = Math.floor(settings.watchers / 4);
    const count = Math.min(ratePerS * settings.seconds, Math.floor((settings.watchers - warmUp) / rounds));
    await alternate([...variants.values()], { rounds, count, ratePerS, warmUp });
    report.rows.push(...[...variants.values()].map((variant) => rowOf(phase, variant)));
    await evaluate(variants);
  } finally {
    for (const variant of variants.values()) await variant.close();
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
  variants: Map<string, Variant>;
  of: string;
  to: string;
  bars?: Partial<Record<keyof typeof figures | "rss", number>>;
}

/** Reports the usual ratios of one variant to another, with their bars. */
export function ratios(report: Report, { phase, variants, of, to, bars = {} }: Comparison): void {
  const [one, other] = [variants.get(of), variants.get(to)];
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
