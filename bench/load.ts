/**
 * The load generator: one process per target, so that both ends of a latency use one clock and file descriptors suffice.
 * Arrivals are open-loop: a seeded Poisson process, the same for every target, sets the sending times, and answers do not
 * change them. Every burst reports how late the generator sent; a burst with a late generator is not valid.
 */
import { setTimeout as wait } from "node:timers/promises";
import { Pool } from "undici";
import type { BurstResult, Call, Job, LoadRequest, WatchResult } from "./message.ts";
import { random } from "./statistic.ts";
import { watch } from "./watcher.ts";

/** Number of loopback addresses that watchers connect from. */
const addresses = 16;
const connectsAtOnce = 64;
const timeoutMs = 10_000;
const connectionsMax = 256;

const arrived = new Map<string, number>();
const stops: (() => void)[] = [];
const pools = new Map<string, Pool>();
let requests = 0;

const nowMs = (): number => performance.now();

async function open({ via, jobs, expects }: Extract<LoadRequest, { type: "watch" }>): Promise<WatchResult> {
  let next = 0;
  let failed = 0;
  const connect = async (): Promise<void> => {
    for (let index = next++; index < jobs.length; index = next++) {
      const job = jobs[index] as Job;
      const onText = (text: string): void => {
        if (text.includes(expects) && !arrived.has(job.id)) arrived.set(job.id, nowMs());
      };
      const onRequest = (): void => {
        requests += 1;
      };
      const localAddress = `127.0.0.${2 + (index % addresses)}`;
      await watch[via]({ job, localAddress, onText, onRequest }).then(
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

/** Sends one request. Returns whether the status is 2xx. */
async function send(url: string, headers: Record<string, string>, body: string): Promise<boolean> {
  const target = new URL(url);
  const options = { method: "POST", path: target.pathname + target.search, headers, body } as const;
  const answer = await poolOf(target).request(options);
  await answer.body.dump();
  return answer.statusCode >= 200 && answer.statusCode < 300;
}

/** Calls `start` `count` times at the times of a Poisson process. Returns the delay of each call. */
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

async function fire({ jobs, ratePerS, seed }: Extract<LoadRequest, { type: "fire" }>): Promise<BurstResult> {
  const sentMs = new Map<string, number>();
  const answerMs: number[] = [];
  let refused = 0;
  requests = 0;
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
  const deadline = nowMs() + timeoutMs;
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
    requests,
  };
}

/** Sends plain requests and measures the time to each answer. */
async function call({ calls, ratePerS, seed }: Extract<LoadRequest, { type: "call" }>): Promise<BurstResult> {
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
  return { ratePerS, sent: calls.length, latencyMs: [], answerMs, refused, lost: 0, lagMs, cpuMs, tookMs, requests: 0 };
}

async function handle(request: LoadRequest): Promise<WatchResult | BurstResult> {
  switch (request.type) {
    case "watch":
      return open(request);
    case "fire":
      return fire(request);
    case "call":
      return call(request);
    case "leave": {
      for (const stop of stops.splice(0)) stop();
      arrived.clear();
      return { open: 0, failed: 0 };
    }
  }
}

process.on("message", (request: LoadRequest) => {
  handle(request).then(
    (answer) => process.send?.({ answer }),
    (error: unknown) => process.send?.({ error: String((error as Error)?.stack ?? error) }),
  );
});
process.on("disconnect", () => process.exit(0));
