/**
 * The load generator, a process of its own: one for each target, so that both ends of a latency are on one clock and
 * each has file descriptors enough. Arrivals are open-loop: when a webhook is sent is decided beforehand (a Poisson
 * process, the same one for every target), never by how fast the answers come. How late the generator itself was is
 * told with every burst; a burst whose generator lags is worth nothing.
 */
import { setTimeout as wait } from "node:timers/promises";
import { Pool } from "undici";
import type { Ask, Call, Fired, Job, Watching } from "./plan.ts";
import { random } from "./statistic.ts";
import { watch } from "./watcher.ts";

/** The loopback network's own addresses that watchers come from. */
const addresses = 16;
const connectsAtOnce = 64;
const patienceMs = 10_000;
const connectionsMax = 256;

const arrived = new Map<string, number>();
const stops: (() => void)[] = [];
const pools = new Map<string, Pool>();
let asks = 0;

const nowMs = (): number => performance.now();

async function open({ via, jobs, expects }: Extract<Ask, { ask: "watch" }>): Promise<Watching> {
  let next = 0;
  let failed = 0;
  const connect = async (): Promise<void> => {
    for (let index = next++; index < jobs.length; index = next++) {
      const job = jobs[index] as Job;
      const onText = (text: string): void => {
        if (text.includes(expects) && !arrived.has(job.id)) arrived.set(job.id, nowMs());
      };
      const onAsk = (): void => {
        asks += 1;
      };
      const localAddress = `127.0.0.${2 + (index % addresses)}`;
      await watch[via]({ job, localAddress, onText, onAsk }).then(
        (stop) => stops.push(stop),
        () => {
          failed += 1;
        },
      );
    }
  };
  await Promise.all(Array.from({ length: connectsAtOnce }, connect));
  return { open: jobs.length - failed, failed };
}

function poolOf(url: URL): Pool {
  const known = pools.get(url.origin) ?? new Pool(url.origin, { connections: connectionsMax, pipelining: 1 });
  pools.set(url.origin, known);
  return known;
}

/** Sends one request; resolves with whether the answer was 2xx. */
async function send(url: string, headers: Record<string, string>, body: string): Promise<boolean> {
  const target = new URL(url);
  const options = { method: "POST", path: target.pathname + target.search, headers, body } as const;
  const answer = await poolOf(target).request(options);
  await answer.body.dump();
  return answer.statusCode >= 200 && answer.statusCode < 300;
}

/** Starts `count` things at the times of a Poisson process. Resolves when all have started. */
async function schedule(
  { count, ratePerS, seed }: { count: number; ratePerS: number; seed: number },
  start: (index: number) => void,
): Promise<number[]> {
  const draw = random(seed);
  const lagMs: number[] = [];
  let dueMs = nowMs() + 20;
  for (let index = 0; index < count; ) {
    const now = nowMs();
    for (; index < count && dueMs <= now; index += 1) {
      lagMs.push(nowMs() - dueMs);
      start(index);
      dueMs += (-Math.log(1 - draw()) * 1_000) / ratePerS;
    }
    await wait(Math.max(0, dueMs - nowMs()));
  }
  return lagMs;
}

const webhookHeaders = { "content-type": "application/json" };

async function fire({ jobs, ratePerS, seed }: Extract<Ask, { ask: "fire" }>): Promise<Fired> {
  const sentMs = new Map<string, number>();
  const answerMs: number[] = [];
  let refused = 0;
  asks = 0;
  const inFlight: Promise<void>[] = [];
  const cpu = process.cpuUsage();
  const startedMs = nowMs();
  const lagMs = await schedule({ count: jobs.length, ratePerS, seed }, (index) => {
    const { id, webhookUrl, body } = jobs[index] as Job;
    const sent = nowMs();
    sentMs.set(id, sent);
    const answered = send(webhookUrl, webhookHeaders, body).then((isKept) => {
      if (isKept) answerMs.push(nowMs() - sent);
      else refused += 1;
    });
    inFlight.push(
      answered.catch(() => {
        refused += 1;
      }),
    );
  });
  await Promise.all(inFlight);
  const deadline = nowMs() + patienceMs;
  while (nowMs() < deadline && jobs.some(({ id }) => !arrived.has(id))) await wait(20);
  const { user, system } = process.cpuUsage(cpu);
  const latencyMs = jobs.flatMap(({ id }) => {
    const at = arrived.get(id);
    return at === undefined ? [] : [at - (sentMs.get(id) ?? Number.NaN)];
  });
  return {
    ratePerS,
    sent: jobs.length,
    latencyMs,
    answerMs,
    refused,
    lost: jobs.length - latencyMs.length,
    lagMs,
    cpuMs: (user + system) / 1_000,
    tookMs: nowMs() - startedMs,
    asks,
  };
}

/** Plain requests, timed to their answer. */
async function call({ calls, ratePerS, seed }: Extract<Ask, { ask: "call" }>): Promise<Fired> {
  const answerMs: number[] = [];
  let refused = 0;
  const inFlight: Promise<void>[] = [];
  const cpu = process.cpuUsage();
  const startedMs = nowMs();
  const lagMs = await schedule({ count: calls.length, ratePerS, seed }, (index) => {
    const { url, headers, body } = calls[index] as Call;
    const sent = nowMs();
    const answered = send(url, headers, body).then((isGood) => {
      if (isGood) answerMs.push(nowMs() - sent);
      else refused += 1;
    });
    inFlight.push(
      answered.catch(() => {
        refused += 1;
      }),
    );
  });
  await Promise.all(inFlight);
  const { user, system } = process.cpuUsage(cpu);
  const tookMs = nowMs() - startedMs;
  const cpuMs = (user + system) / 1_000;
  return { ratePerS, sent: calls.length, latencyMs: [], answerMs, refused, lost: 0, lagMs, cpuMs, tookMs, asks: 0 };
}

async function obey(ask: Ask): Promise<Watching | Fired> {
  switch (ask.ask) {
    case "watch":
      return open(ask);
    case "fire":
      return fire(ask);
    case "call":
      return call(ask);
    case "leave": {
      for (const stop of stops.splice(0)) stop();
      arrived.clear();
      return { open: 0, failed: 0 };
    }
  }
}

process.on("message", (ask: Ask) => {
  obey(ask).then(
    (answer) => process.send?.({ answer }),
    (error: unknown) => process.send?.({ error: String((error as Error)?.stack ?? error) }),
  );
});
process.on("disconnect", () => process.exit(0));
