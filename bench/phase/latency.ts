/** Latency from the webhook to the watcher, compared with the floor and with the peers. */
import { startChoices, startFloor, startNchan, startSocketIo, startWaiting } from "../target/other.ts";
import { type Bench, compare, type Entry, labelOf, type Phase, ratios, startTukios } from "./compare.ts";

/** 3 openings, because the phases with a bar for memory need a median. */
const openCount = 3;

export const websocket: Phase = async (bench) => {
  const { machine, report } = bench;
  const tukios = await startTukios(bench, "websocket");
  const entries: Entry[] = tukios.map((target, index) => ({ label: labelOf(index), target, via: "websocket" }));
  entries.push({ label: "floor", target: await startFloor(machine), via: "websocket" });
  entries.push({ label: "fixed choices", target: await startChoices(machine), via: "websocket" });
  await compare(bench, {
    phase: "websocket",
    entries,
    openCount,
    evaluate(variants) {
      const bars = { p50Ms: 1.25, p99Ms: 1.5, rss: 1.3 };
      ratios(report, { phase: "websocket", variants, of: "tukio", to: "floor", bars });
      ratios(report, { phase: "websocket", variants, of: "fixed choices", to: "floor" });
      ratios(report, { phase: "websocket", variants, of: "tukio", to: "before" });
    },
  });
};

export const socketio: Phase = async (bench) => {
  const { machine, report } = bench;
  const [target] = await startTukios(bench, "socketio");
  if (!target) return;
  const entries: Entry[] = [{ label: "tukio", target, via: "socketio" }];
  entries.push({ label: "floor", target: await startFloor(machine), via: "websocket" });
  entries.push({ label: "bare Socket.IO", target: await startSocketIo(machine, "none"), via: "socketio" });
  await compare(bench, {
    phase: "socketio",
    entries,
    openCount,
    evaluate(variants) {
      ratios(report, { phase: "socketio", variants, of: "tukio", to: "floor", bars: { p50Ms: 1.25, p99Ms: 1.5 } });
      ratios(report, { phase: "socketio", variants, of: "tukio", to: "bare Socket.IO", bars: { rss: 1.1 } });
      ratios(report, { phase: "socketio", variants, of: "bare Socket.IO", to: "floor" });
    },
  });
};

/** Nchan commits nothing, so its latency is only a lower bound. */
export const nchan: Phase = async (bench) => {
  const { machine, report } = bench;
  const [target] = await startTukios(bench, "nchan");
  if (!target) return;
  const entries: Entry[] = [
    { label: "tukio", target, via: "websocket" },
    { label: "nchan", target: await startNchan(machine), via: "websocket" },
  ];
  await compare(bench, {
    phase: "nchan",
    entries,
    evaluate: (variants) => ratios(report, { phase: "nchan", variants, of: "tukio", to: "nchan", bars: { p50Ms: 3 } }),
  });
};

/** The peers. At most 1,000 watchers, because one peer holds a Redis connection per waiting request. */
export const peers: Phase = async (bench) => {
  const { machine, report, settings } = bench;
  const watchers = Math.min(settings.watchers, 1_000);
  const narrow: Bench = { ...bench, settings: { ...settings, watchers, ratePerS: Math.min(settings.ratePerS, 100) } };
  const [target] = await startTukios(bench, "peers");
  if (!target) return;
  const entries: Entry[] = [
    { label: "tukio", target, via: "socketio" },
    { label: "Socket.IO redis-adapter", target: await startSocketIo(machine, "redis"), via: "socketio" },
    { label: "Socket.IO streams-adapter", target: await startSocketIo(machine, "streams"), via: "socketio" },
    { label: "long poll, Redis each", target: await startWaiting(machine, "longpoll"), via: "longpoll" },
    { label: "polling every 5 s", target: await startWaiting(machine, "poll"), via: "poll" },
  ];
  await compare(narrow, {
    phase: "peers",
    entries,
    evaluate(variants) {
      for (const { label } of entries.slice(1)) ratios(report, { phase: "peers", variants, of: "tukio", to: label });
    },
  });
};
