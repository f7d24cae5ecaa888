/**
 * `npx node bench/profile.ts [websocket|socketio] [webhooks] [rate]` runs Tukio with `--cpu-prof` under load, and prints the
 * functions and packages with the most CPU time. The profile stays in bench/out.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { startDaraja } from "./daraja.ts";
import { startMachine } from "./machine.ts";
import type { WatchVia } from "./message.ts";
import { startTukio } from "./target/tukio.ts";
import { openVariant } from "./variant.ts";

interface Profile {
  startTime: number;
  nodes: { id: number; callFrame: { functionName: string; url: string; lineNumber: number }; children?: number[] }[];
  samples: number[];
  timeDeltas: number[];
}

const [via = "websocket", count = "2000", rate = "150"] = process.argv.slice(2);
const out = join(import.meta.dirname, "out", "profile");
rmSync(out, { recursive: true, force: true });
mkdirSync(out, { recursive: true });
/** The times of the burst. The figures leave out start, preparation and shutdown. */
let firedMs = 0;
let endedMs = 0;
let stoppedMs = 0;
let leftMs = 0;
const machine = await startMachine();
const daraja = await startDaraja();
try {
  const root = join(import.meta.dirname, "..");
  const target = await startTukio({ machine, daraja, root, args: ["--cpu-prof", `--cpu-prof-dir=${out}`] });
  const watchers = Number(count);
  const variant = await openVariant({ machine, label: "tukio", target, via: via as WatchVia, watchers });
  const startedMs = performance.now();
  const burst = await variant.fire(watchers, Number(rate), 1);
  console.log(burst);
  firedMs = performance.now() - startedMs;
  endedMs = performance.now();
  await variant.close();
  stoppedMs = performance.now();
  await target.program.stop();
  leftMs = performance.now() - stoppedMs;
} finally {
  await machine.stop();
  await daraja.close();
}

const newest = readdirSync(out).sort().at(-1) ?? "";
const { nodes, samples, timeDeltas, startTime } = JSON.parse(readFileSync(join(out, newest), "utf8")) as Profile;
const selfUs = new Map<number, number>();
const total = timeDeltas.reduce((sum, us) => sum + us, startTime);
const untilUs = total - 1_000 * (leftMs + stoppedMs - endedMs);
let at = startTime;
samples.forEach((id, index) => {
  at += timeDeltas[index] ?? 0;
  if (at < untilUs - 1_000 * firedMs || at > untilUs) return;
  selfUs.set(id, (selfUs.get(id) ?? 0) + (timeDeltas[index] ?? 0));
});
const byFunction = new Map<string, number>();
const byPackage = new Map<string, number>();
const packageOf = (url: string): string =>
  /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(url)?.[1] ??
  (url.startsWith("node:") ? url : url.replace(/^.*\/(server|client-sdk)\//, "$1/"));
for (const { id, callFrame } of nodes) {
  const us = selfUs.get(id) ?? 0;
  if (callFrame.functionName === "(idle)") continue;
  const home = packageOf(callFrame.url) || callFrame.functionName;
  const name = `${callFrame.functionName || "(anonymous)"} ${home}:${callFrame.lineNumber + 1}`;
  byFunction.set(name, (byFunction.get(name) ?? 0) + us);
  byPackage.set(home, (byPackage.get(home) ?? 0) + us);
}
for (const [title, found] of [
  ["packages", byPackage],
  ["functions", byFunction],
] as const) {
  const busy = [...found].sort(([, one], [, other]) => other - one);
  const sumUs = busy.reduce((sum, [, us]) => sum + us, 0);
  console.log(`\n${title}, of ${(sumUs / 1_000).toFixed(0)} ms`);
  for (const [name, us] of busy.slice(0, 60)) console.log(`${((100 * us) / sumUs).toFixed(1).padStart(5)} %  ${name}`);
}
