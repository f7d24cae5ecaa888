import { openLane } from "../lane.ts";
import { rowOf } from "../report.ts";
import { spreadOf } from "../statistic.ts";
import { startBareHttp, startFloor } from "../target/other.ts";
import { type Entry, type Phase, startOnes } from "./compare.ts";

/** Memory of idle watchers on the transports that the other phases do not fire at, each on a server begun afresh. */
export const memory: Phase = async (bench) => {
  const { machine, report, settings } = bench;
  const [target] = await startOnes(bench, "memory");
  if (!target) return;
  // Fewer than elsewhere: each lane has to open its orders anew.
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
    const lane = await openLane({ machine, label, target: one, via, watchers, openings: 3 });
    report.rows.push(rowOf("memory", lane));
    found.set(label, lane.rssKbPerWatcher);
    await lane.close();
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
