/** The results of a run, as tables, JSON and a chart. */

import { median, type Spread, spreadOf } from "./statistic.ts";
import type { Burst, Variant } from "./variant.ts";

export interface Row {
  phase: string;
  label: string;
  watchers: number;
  failed: number;
  rssKbPerWatcher: number[];
  bursts: Burst[];
}

export interface Ratio {
  phase: string;
  what: string;
  of: string;
  to: string;
  spread: Spread;
  /** The limit for the ratio, from above or below. */
  atMost?: number;
  atLeast?: number;
}

/** Any other measured value. */
export interface Fact {
  phase: string;
  what: string;
  value: number;
  unit: string;
  atMost?: number;
}

export interface Report {
  startedAt: string;
  commit: string;
  command: string;
  machine: { cpus: string; cpuCount: number; loadAtStart: number; loadAtEnd?: number; node: string; memoryGb: number };
  settings: Record<string, unknown>;
  rows: Row[];
  ratios: Ratio[];
  facts: Fact[];
  skipped: string[];
}

export const rowOf = (phase: string, { label, watchers, failed, rssKbPerWatcher, bursts }: Variant): Row => ({
  phase,
  label,
  watchers,
  failed,
  rssKbPerWatcher,
  bursts: [...bursts],
});

type Figure = { [K in keyof Burst]: Burst[K] extends number ? K : never }[keyof Burst];

/** Computes the ratio of each round, and the median of the ratios. */
export function ratioOf(figure: Figure, one: Pick<Variant, "bursts">, other: Pick<Variant, "bursts">): Spread {
  const rounds = Math.min(one.bursts.length, other.bursts.length);
  return spreadOf(
    Array.from({ length: rounds }, (_, round) => {
      const [above, below] = [one.bursts[round]?.[figure], other.bursts[round]?.[figure]];
      return (above ?? Number.NaN) / (below ?? Number.NaN);
    }),
  );
}

export function outcomeOf({ spread, atMost, atLeast }: Pick<Ratio, "spread" | "atMost" | "atLeast">): string {
  if (atMost === undefined && atLeast === undefined) return "";
  if (Number.isNaN(spread.median)) return "not measured";
  return spread.median <= (atMost ?? Number.POSITIVE_INFINITY) && spread.median >= (atLeast ?? 0) ? "met" : "not met";
}

const shown = (value: number, digits = 2): string => (Number.isFinite(value) ? value.toFixed(digits) : "-");

type Table = string[][];

export function rowTable(rows: readonly Row[]): Table {
  const head = ["phase", "variant", "watchers", "p50 ms", "p99 ms", "answer p50", "answer p99", "CPU/webhook"];
  head.push("PG CPU", "Redis CPU", "generator CPU", "lag p99", "lost", "RSS KiB/watcher");
  return [
    head,
    ...rows.map(({ phase, label, watchers, failed, rssKbPerWatcher, bursts }) => {
      const of = (figure: Figure): number => median(bursts.map((burst) => burst[figure]));
      const lost = bursts.reduce((sum, burst) => sum + burst.lost + burst.refused, 0);
      return [
        phase,
        label,
        failed > 0 ? `${watchers - failed} of ${watchers}` : String(watchers),
        ...[of("p50Ms"), of("p99Ms"), of("answerP50Ms"), of("answerP99Ms")].map((value) => shown(value)),
        ...[of("serverCpuMs"), of("postgresCpuMs"), of("redisCpuMs"), of("generatorCpuMs")].map((value) =>
          shown(value),
        ),
        shown(of("lagP99Ms")),
        String(lost),
        shown(spreadOf(rssKbPerWatcher).median, 1),
      ];
    }),
  ];
}

export function ratioTable(ratios: readonly Ratio[]): Table {
  return [
    ["phase", "what", "of", "to", "ratio (median)", "least – greatest", "rounds", "bar", "result"],
    ...ratios.map((ratio) => {
      const { phase, what, of, to, spread, atMost, atLeast } = ratio;
      const bar = atMost !== undefined ? `≤ ${atMost}` : atLeast !== undefined ? `≥ ${atLeast}` : "";
      const range = `${shown(spread.min)} – ${shown(spread.max)}`;
      return [phase, what, of, to, shown(spread.median), range, String(spread.rounds), bar, outcomeOf(ratio)];
    }),
  ];
}

export function factTable(facts: readonly Fact[]): Table {
  return [
    ["phase", "what", "value", "bar", "result"],
    ...facts.map(({ phase, what, value, unit, atMost }) => [
      phase,
      what,
      `${shown(value)} ${unit}`.trim(),
      atMost === undefined ? "" : `≤ ${atMost}`,
      atMost === undefined ? "" : value <= atMost ? "met" : "not met",
    ]),
  ];
}

export function formatTable(table: Table): string {
  const widths = (table[0] ?? []).map((_, column) => Math.max(...table.map((row) => (row[column] ?? "").length)));
  return table.map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  ")).join("\n");
}

export const markdown = ([head = [], ...rows]: Table): string =>
  [head, head.map(() => "---"), ...rows].map((row) => `| ${row.join(" | ")} |`).join("\n");

const escapeXml = (text: string): string => text.replace(/[<>&]/g, (char) => `&#${char.charCodeAt(0)};`);

/** Draws each variant's p50 and p99 as bars on a logarithmic scale, and its rounds as dots. */
export function chart({ rows, commit, startedAt }: Report): string {
  const measured = rows.filter(({ bursts }) => bursts.length > 0);
  const left = 250;
  const width = 900;
  const step = 34;
  const height = 70 + measured.length * step;
  const [least, greatest] = [0.5, 10_000];
  const x = (ms: number): number =>
    left +
    ((width - left - 20) * Math.log(Math.min(Math.max(ms, least), greatest) / least)) / Math.log(greatest / least);
  const ticks = [1, 10, 100, 1_000, 10_000].map(
    (ms) =>
      `<line x1="${x(ms)}" x2="${x(ms)}" y1="40" y2="${height - 25}" stroke="#ddd"/><text x="${x(ms)}" y="${height - 8}" text-anchor="middle">${ms} ms</text>`,
  );
  const bars = measured.map(({ phase, label, bursts }, index) => {
    const y = 46 + index * step;
    const p50 = median(bursts.map((burst) => burst.p50Ms));
    const p99 = median(bursts.map((burst) => burst.p99Ms));
    const dots = bursts.map((burst) => `<circle cx="${x(burst.p99Ms)}" cy="${y + 19}" r="2" fill="#8a4b08"/>`).join("");
    return `<text x="${left - 8}" y="${y + 16}" text-anchor="end">${escapeXml(`${phase}: ${label}`)}</text>
<rect x="${left}" y="${y}" width="${x(p50) - left}" height="11" fill="#1f6f54"/><rect x="${left}" y="${y + 13}" width="${x(p99) - left}" height="11" fill="#e2a75c"/>${dots}
<text x="${x(p50) + 4}" y="${y + 10}">${shown(p50, 1)}</text><text x="${x(p99) + 8}" y="${y + 23}">${shown(p99, 1)}</text>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12"><title>Webhook to watcher: p50 and p99 of each variant</title>
<rect width="100%" height="100%" fill="#fff"/><text x="10" y="22" font-size="15">Webhook → watcher: p50 (green), p99 (ochre; dots: its rounds), ${escapeXml(commit)}, ${escapeXml(startedAt)}</text>
${ticks.join("\n")}
${bars.join("\n")}
</svg>
`;
}
