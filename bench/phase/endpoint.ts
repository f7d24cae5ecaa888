/**
 * The way to the merchant's backend: from the sending of a provider's webhook to the handler of an endpoint, beside the way to a
 * watcher on a WebSocket, of the same webhooks. One process sends, watches and is the backend, so that all times are on one clock.
 */
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as wait } from "node:timers/promises";
import { WebSocket } from "ws";
import type { Job } from "../message.ts";
import { quantile, random, type Spread, spreadOf } from "../statistic.ts";
import { apiKey, startTukio, type Tukio } from "../target/tukio.ts";
import type { Bench, Phase } from "./compare.ts";

/** Milliseconds of one round, by webhook. */
export interface Latencies {
  watcherMs: number[];
  handlerMs: number[];
  /** From the webhook to its answer. */
  answerMs: number[];
}

/** The times at which the backend received each order's success, by uuid. */
export interface Backend {
  url: string;
  server: Server;
  receivedAtMs: Map<string, number>;
}

export const endpoint: Phase = async (bench) => {
  const { machine, daraja, root } = bench;
  // Outside production, because only there an endpoint may be on this machine.
  const env = { NODE_ENV: "development" };
  const tukio = await startTukio({ machine, daraja, root, name: "tukio_endpoint", env });
  const backend = await startBackend();
  try {
    reportOn(bench, await measureRounds(bench, tukio, backend));
  } finally {
    backend.server.close();
    backend.server.closeAllConnections();
    await tukio.program.stop();
  }
};

/** Returns the rounds without the first one, which warms up. */
async function measureRounds(bench: Bench, tukio: Tukio, backend: Backend): Promise<Latencies[]> {
  await createEndpoint(tukio, backend.url);
  const rounds: Latencies[] = [];
  for (let round = 0; round <= bench.settings.rounds; round += 1) {
    rounds.push(await measure(bench, { tukio, backend, seed: round + 1 }));
  }
  return rounds.slice(1);
}

function reportOn({ report }: Bench, rounds: readonly Latencies[]): void {
  const p50 = (values: number[]): number => quantile(values, 0.5);
  const spread = (figure: (one: Latencies) => number): Spread => spreadOf(rounds.map(figure));
  const add = (what: string, value: number): void =>
    void report.facts.push({ phase: "endpoint", what, value, unit: "ms" });
  add("webhook → handler, p50", spread(({ handlerMs }) => p50(handlerMs)).median);
  add("webhook → handler, p99", spread(({ handlerMs }) => quantile(handlerMs, 0.99)).median);
  add("webhook → watcher, p50", spread(({ watcherMs }) => p50(watcherMs)).median);
  report.ratios.push({
    phase: "endpoint",
    what: "p50 from the webhook",
    of: "handler",
    to: "watcher",
    spread: spread(({ handlerMs, watcherMs }) => p50(handlerMs) / p50(watcherMs)),
  });
}

export async function startBackend(): Promise<Backend> {
  const receivedAtMs = new Map<string, number>();
  const server = createServer((request, response) => {
    const atMs = performance.now();
    const id = String(request.headers["webhook-id"]).split(".")[0] ?? "";
    if (!receivedAtMs.has(id)) receivedAtMs.set(id, atMs);
    request.resume();
    request.once("end", () => response.writeHead(204).end());
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}/`, server, receivedAtMs };
}

/** Returns the endpoint's id. */
export async function createEndpoint({ program }: Tukio, url: string): Promise<string> {
  const response = await fetch(`${program.url}/v1/endpoints`, {
    method: "POST",
    headers: { authorization: `Bearer ${apiKey}`, "content-type": "application/json" },
    body: JSON.stringify({ url, events: ["order.succeeded"] }),
  });
  if (response.status !== 201) throw new Error(`endpoint: ${response.status} ${await response.text()}`);
  return ((await response.json()) as { endpoint: { id: string } }).endpoint.id;
}

interface Round {
  tukio: Tukio;
  backend: Backend;
  seed: number;
}

/** 10 s, after which an event counts as lost. */
const lostMs = 10_000;

export async function measure({ settings }: Bench, { tukio, backend, seed }: Round): Promise<Latencies> {
  const count = settings.ratePerS * settings.seconds;
  const jobs = await tukio.prepare(count, "websocket");
  const sentAtMs = new Map<string, number>();
  const watchedAtMs = new Map<string, number>();
  const answeredAtMs = new Map<string, number>();
  const sockets = await Promise.all(jobs.map((job) => watch(tukio, job, watchedAtMs)));
  const next = random(seed);
  let dueMs = performance.now();
  for (const job of jobs) {
    dueMs += (-Math.log(1 - next()) * 1_000) / settings.ratePerS;
    if (dueMs > performance.now()) await wait(dueMs - performance.now());
    sentAtMs.set(job.id, performance.now());
    void send(tukio, job).then(() => answeredAtMs.set(job.id, performance.now()));
  }
  const isComplete = (): boolean =>
    jobs.every(({ id }) => [watchedAtMs, answeredAtMs, backend.receivedAtMs].every((times) => times.has(id)));
  for (const endMs = performance.now() + lostMs; !isComplete() && performance.now() < endMs; ) await wait(20);
  if (!isComplete()) {
    const missing = (times: Map<string, number>): number => jobs.filter(({ id }) => !times.has(id)).length;
    const lost = `${missing(answeredAtMs)} answers, ${missing(watchedAtMs)} at the watcher, ${missing(backend.receivedAtMs)} at the handler`;
    throw new Error(`did not arrive within 10 s: ${lost}`);
  }
  for (const socket of sockets) socket.terminate();
  const since = (times: Map<string, number>): number[] =>
    jobs.map(({ id }) => (times.get(id) ?? Number.NaN) - (sentAtMs.get(id) ?? Number.NaN));
  return { watcherMs: since(watchedAtMs), handlerMs: since(backend.receivedAtMs), answerMs: since(answeredAtMs) };
}

async function watch({ program, expects }: Tukio, job: Job, watchedAtMs: Map<string, number>): Promise<WebSocket> {
  const socket = new WebSocket(job.watchUrl.replace("@", program.url).replace("http", "ws"));
  socket.on("message", (data: Buffer) => {
    if (!watchedAtMs.has(job.id) && data.toString().includes(expects)) watchedAtMs.set(job.id, performance.now());
  });
  await once(socket, "message");
  return socket;
}

async function send({ program }: Tukio, { webhookUrl, body }: Job): Promise<void> {
  const response = await fetch(webhookUrl.replace("@", program.url), {
    method: "POST",
    headers: { "content-type": "application/json" },
    body,
  });
  await response.arrayBuffer();
}
