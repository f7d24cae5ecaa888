import { rowOf } from "../report.ts";
import { spreadOf } from "../statistic.ts";
import { startBareHttp, startFloor } from "../target/other.ts";
import { openVariant } from "../variant.ts";
import { type Entry, type Phase, startTukios } from "./compare.ts";

/** Measures the memory of idle watchers per transport, each on a newly started server. */
export const memory: Phase = async (bench) => {
  const { machine, report, settings } = bench;
  const [target] = await startTukios(bench, "memory");
  if (!target) return;
  // At most 4,000, because each variant opens new orders.
  const watchers = Math.min(settings.watchers, 4_000);
  const found = new Map<string, number[]>();
  const entries: Entry[] = [
    { label: "floor (ws)", target: await startFloor(machine), via: "websocket" },
    { label: "bare node:http", target: await startBareHttp(machine), via: "eventsource" },
    { label: "tukio, websocket", target, via: "websocket" },
    { label: "tukio, SSE", target, via: "eventsource" },
    { label: "tukio, long poll", target, via: "longpoll" },
  ];
  for (const { label, target: one, via } of entries) {
    const variant = await openVariant({ machine, label, target: one, via, watchers, openCount: 3 });
    report.rows.push(rowOf("memory", variant));
    found.set(label, variant.rssKbPerWatcher);
    await variant.close();
  }
  const floors = found.get("floor (ws)") ?? [];
  for (const { label } of entries.slice(1)) {
    const spread = spreadOf((found.get(label) ?? []).map((kb, opening) => kb / (floors[opening] ?? Number.NaN)));
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
