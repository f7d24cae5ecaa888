/**
 * `npm run bench` measures Tukio, its floor and its peers in one run on one machine. Every comparison is a ratio between
 * variants that are loaded in turn, because absolute figures depend on the machine's other load. The output lists the phases
 * that `--until` skipped.
 *
 *   --quick            about two minutes: 500 watchers, 3 rounds, and the most important phases
 *   --watchers N  --rate N (webhooks/s)  --rounds N  --seconds N (per burst)
 *   --only a,b         phases: websocket socketio peers nchan memory rate initiate endpoint backlog notification growth payment
 *                      scale client
 *   --beside DIR       a second checkout of Tukio, measured as "before"
 *   --until HH:MM      UTC; starts no phase later
 *   --out DIR          default: bench/out
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { cpus, loadavg, totalmem } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { startDaraja } from "./daraja.ts";
import { startMachine } from "./machine.ts";
import type { Bench } from "./phase/compare.ts";
import { phases } from "./phase.ts";
import { chart, factTable, formatTable, type Report, ratioTable, rowTable } from "./report.ts";

const { values: flags } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    watchers: { type: "string" },
    rate: { type: "string" },
    rounds: { type: "string" },
    seconds: { type: "string" },
    only: { type: "string" },
    beside: { type: "string" },
    until: { type: "string" },
    out: { type: "string", default: join(import.meta.dirname, "out") },
  },
});

const { quick } = flags;
const settings = {
  watchers: Number(flags.watchers ?? (quick ? 500 : 10_000)),
  ratePerS: Number(flags.rate ?? (quick ? 100 : 500)),
  rounds: Number(flags.rounds ?? (quick ? 3 : 5)),
  seconds: Number(flags.seconds ?? (quick ? 1 : 3)),
  quick,
};
const wanted =
  flags.only?.split(",") ?? (quick ? ["websocket", "socketio", "initiate", "payment"] : Object.keys(phases));
const root = resolve(import.meta.dirname, "..");

const report: Report = {
  startedAt: new Date().toISOString(),
  commit: execFileSync("git", ["describe", "--always", "--dirty"], { cwd: root }).toString().trim(),
  command: `npm run bench -- ${process.argv.slice(2).join(" ")}`.trim(),
  machine: {
    cpus: cpus()[0]?.model ?? "",
    cpuCount: cpus().length,
    loadAtStart: loadavg()[0] ?? 0,
    node: process.version,
    memoryGb: Math.round(totalmem() / 2 ** 30),
  },
  settings: { ...settings, phases: wanted },
  rows: [],
  ratios: [],
  facts: [],
  skipped: [],
};

/** Writes the report after each phase, so that an interrupted run keeps its results. */
function write(): void {
  const out = resolve(flags.out);
  mkdirSync(out, { recursive: true });
  report.machine.loadAtEnd = loadavg()[0] ?? 0;
  writeFileSync(join(out, "bench.json"), `${JSON.stringify(report, null, 1)}\n`);
  writeFileSync(join(out, "bench.svg"), chart(report));
}

const untilMs =
  flags.until === undefined ? undefined : Date.parse(`${report.startedAt.slice(0, 10)}T${flags.until}:00Z`);
const machine = await startMachine();
const daraja = await startDaraja();
let stopped: Promise<void> | undefined;
/** Runs once, because a signal interrupts a phase, whose end stops the bench too. */
const stop = (): Promise<void> => {
  stopped ??= machine.stop().then(() => daraja.close());
  return stopped;
};
process.once("SIGINT", () => void stop().then(() => process.exit(130)));
process.once("SIGTERM", () => void stop().then(() => process.exit(143)));
try {
  const bench: Bench = { machine, daraja, root, settings, report };
  if (flags.beside !== undefined) bench.beside = resolve(flags.beside);
  for (const name of wanted) {
    const phase = phases[name];
    if (!phase) throw new Error(`no phase ${name}`);
    if (untilMs !== undefined && Date.now() > untilMs) {
      report.skipped.push(`${name}: no time left`);
      continue;
    }
    process.stderr.write(`${new Date().toISOString().slice(11, 19)} ${name}\n`);
    await phase(bench).catch((error: unknown) => {
      report.skipped.push(`${name}: ${String(error)}`);
      process.stderr.write(`${name} failed: ${String((error as Error).stack ?? error)}\n`);
    });
    write();
  }
} finally {
  await stop();
}
for (const table of [rowTable(report.rows), ratioTable(report.ratios), factTable(report.facts)]) {
  process.stdout.write(`\n${formatTable(table)}\n`);
}
for (const line of report.skipped) process.stdout.write(`not measured: ${line}\n`);
