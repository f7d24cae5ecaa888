/** From the webhook to the watcher, beside the floor and beside what others run. */
import { startChoices, startFloor, startNchan, startShop, startSocketIo } from "../target/other.ts";
import { type Bench, compare, type Entry, labelOf, type Phase, ratios, startOnes } from "./compare.ts";

/** Where memory has a bar. */
const openings = 3;

export const websocket: Phase = async (bench) => {
  const { machine, report } = bench;
  const ones = await startOnes(bench, "websocket");
  const entries: Entry[] = ones.map((target, index) => ({ label: labelOf(index), target, via: "websocket" }));
  entries.push({ label: "floor", target: await startFloor(machine), via: "websocket" });
  entries.push({ label: "fixed choices", target: await startChoices(machine), via: "websocket" });
  await compare(bench, {
    phase: "websocket",
    entries,
    openings,
    judge(lanes) {
      const bars = { p50Ms: 1.25, p99Ms: 1.5, rss: 1.3 };
      ratios(report, { phase: "websocket", lanes, of: "tukio", to: "floor", bars });
      ratios(report, { phase: "websocket", lanes, of: "fixed choices", to: "floor" });
      ratios(report, { phase: "websocket", lanes, of: "tukio", to: "before" });
    },
  });
};

export const socketio: Phase = async (bench) => {
  const { machine, report } = bench;
  const [target] = await startOnes(bench, "socketio");
  if (!target) return;
  const entries: Entry[] = [{ label: "tukio", target, via: "socketio" }];
  entries.push({ label: "floor", target: await startFloor(machine), via: "websocket" });
  entries.push({ label: "bare Socket.IO", target: await startSocketIo(machine, "none"), via: "socketio" });
  await compare(bench, {
    phase: "socketio",
    entries,
    openings,
    judge(lanes) {
      ratios(report, { phase: "socketio", lanes, of: "tukio", to: "floor", bars: { p50Ms: 1.25, p99Ms: 1.5 } });
      ratios(report, { phase: "socketio", lanes, of: "tukio", to: "bare Socket.IO", bars: { rss: 1.1 } });
      ratios(report, { phase: "socketio", lanes, of: "bare Socket.IO", to: "floor" });
    },
  });
};

/** Commits nothing, so it is no peer in durability: a bound from below. */
export const nchan: Phase = async (bench) => {
  const { machine, report } = bench;
  const [target] = await startOnes(bench, "nchan");
  if (!target) return;
  const entries: Entry[] = [
    { label: "tukio", target, via: "websocket" },
    { label: "nchan", target: await startNchan(machine), via: "websocket" },
  ];
  await compare(bench, {
    phase: "nchan",
    entries,
    judge: (lanes) => ratios(report, { phase: "nchan", lanes, of: "tukio", to: "nchan", bars: { p50Ms: 3 } }),
  });
};

/** What others run. A long poll that holds a Redis connection per waiter cannot have 10,000 of them here. */
export const peers: Phase = async (bench) => {
  const { machine, report, settings } = bench;
  const watchers = Math.min(settings.watchers, 1_000);
  const narrow: Bench = { ...bench, settings: { ...settings, watchers, ratePerS: Math.min(settings.ratePerS, 100) } };
  const [target] = await startOnes(bench, "peers");
  if (!target) return;
  const entries: Entry[] = [
    { label: "tukio", target, via: "socketio" },
    { label: "Socket.IO redis-adapter", target: await startSocketIo(machine, "redis"), via: "socketio" },
    { label: "Socket.IO streams-adapter", target: await startSocketIo(machine, "streams"), via: "socketio" },
    { label: "long poll, Redis each", target: await startShop(machine, "longpoll"), via: "longpoll" },
    { label: "polling every 5 s", target: await startShop(machine, "poll"), via: "poll" },
  ];
  await compare(narrow, {
    phase: "peers",
    entries,
    judge(lanes) {
      for (const { label } of entries.slice(1)) ratios(report, { phase: "peers", lanes, of: "tukio", to: label });
    },
  });
};
