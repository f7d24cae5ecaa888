/**
 * Two delivery engines on a real database, and receivers that answer as a history wants. Each engine stands for a process: it can be
 * killed at any statement, and stopped between an answer and its record. Leases end because the database's times are moved.
 */
import type pg from "pg";
import { createSealer } from "../../server/auth/keys.ts";
import type { Database } from "../../server/database/pool.ts";
import { createEndpoints, type Endpoints } from "../../server/delivery/endpoint.ts";
import { type DeliveryEngine, startEngine } from "../../server/delivery/engine.ts";
import type { Message } from "../../server/delivery/message.ts";
import type { Receiver, Reply } from "../../server/delivery/receiver.ts";
import type { Status, StatusEvent } from "../../server/order/order.ts";
import { createOrderStore, type OrderStore } from "../../server/order/store.ts";
import { testSecret } from "../support/node.ts";
import { draftOf } from "../support/store.ts";

/** The filters of the endpoints at the start. */
export const filters: readonly (string[] | null)[] = [
  null,
  ["order.succeeded"],
  ["order.failed", "order.pending"],
  ["order.succeeded", "order.updated"],
  ["order.pending", "order.processing", "order.succeeded", "order.failed", "order.updated"],
];

/** The answers of a receiver. After `timeout` and `reset` the engine has none. */
export const answers = ["ok", "error", "redirect", "later", "gone", "timeout", "reset"] as const;

export type Answer = (typeof answers)[number];

const replies: Record<Answer, Partial<Reply>> = {
  ok: { isDelivered: true, status: 200 },
  error: { status: 500 },
  redirect: { status: 302 },
  later: { status: 503, retryAfterS: 3_600 },
  gone: { status: 410, isGone: true },
  timeout: { error: "no answer within 15 s" },
  reset: { error: "ECONNRESET" },
};

export interface WorldEndpoint {
  id: string;
  events: string[] | null;
  /** When `events` changed, by the world's clock. */
  filteredAt: number;
  answer: Answer;
  /** Requests that begin now are answered when this resolves. */
  hold?: PromiseWithResolvers<void>;
  /** The orders that must be sent again, and since when. */
  replays: { order: WorldOrder; at: number }[];
}

export interface WorldOrder {
  id: string;
  orderId: string;
  paymentIds: string[];
  /** The newest committed state, as far as this test has waited for it. */
  version: number;
  status: Status;
  /** When the newest version was committed. */
  changedAt: number;
  /** The status of each committed version. */
  statuses: Map<number, Status>;
}

/** One request to a receiver. */
export interface Attempt {
  endpoint: WorldEndpoint;
  subjectId: string;
  epoch: number;
  version: number;
  type: string;
  status: Status | undefined;
  process: Process;
  at: number;
  isEnded: boolean;
  isAcknowledged: boolean;
}

/** A transaction that has changed one order and is not committed. */
export interface OpenTransaction {
  client: pg.PoolClient;
  order: WorldOrder;
  event: StatusEvent | undefined;
}

export interface Process {
  engine: DeliveryEngine;
  isKilled: boolean;
  isEnding: boolean;
  ending: PromiseWithResolvers<void>;
  /** While it is there, answers are not recorded. */
  stall?: PromiseWithResolvers<void> | undefined;
  /** The process is killed during the statement after these. */
  statementsLeft: number;
  claims: Set<string>;
  /** When the current pass, and the last pass that found nothing due, began. */
  passAt: number;
  idleAt: number;
  /** The version that each order had when the engine last read messages. */
  known: Map<string, number>;
}

export interface World {
  database: Database;
  endpoints: WorldEndpoint[];
  orders: WorldOrder[];
  processes: Process[];
  transactions: OpenTransaction[];
  attempts: Attempt[];
  /** Claims whose lease may be ended: those of killed processes, and those of answers that are not recorded. */
  lapsed: Set<string>;
  violations: string[];
  /** Counts up with everything that the history's order matters for. */
  clock: number;
  epoch: number;
  epochAt: number;
  startedAt: Date;
}

export const endpointsOf = (pool: pg.Pool): Endpoints =>
  createEndpoints({ pool, sealer: createSealer([testSecret]), onUnreadable: () => undefined });

/** A store that announces nothing, like a node whose announcements are lost. */
export const storeOf = (database: Pick<Database, "pool" | "webhookPool">): OrderStore =>
  createOrderStore({
    database: database as Database,
    announce: () => undefined,
    amountlessProviders: ["daraja"],
  });

export async function openWorld(database: Database): Promise<World> {
  const { pool } = database;
  await pool.query("update endpoint set is_deleted = true, enabled = false");
  const { rows } = await pool.query("select clock_timestamp() as at, epoch from timeline");
  const world: World = {
    database,
    endpoints: [],
    orders: [],
    processes: [],
    transactions: [],
    attempts: [],
    lapsed: new Set(),
    violations: [],
    clock: 1,
    epoch: rows[0].epoch,
    epochAt: 0,
    startedAt: rows[0].at,
  };
  for (const [slot, events] of filters.entries()) {
    const { endpoint } = await endpointsOf(pool).create({ url: urlOf(slot, "first"), events });
    world.endpoints.push({ id: endpoint.id, events, filteredAt: 0, answer: "ok", replays: [] });
  }
  world.processes = [startProcess(world), startProcess(world)];
  for (let count = 0; count < 3; count += 1) {
    const { event, payment } = await storeOf(database).open(draftOf());
    const { id, orderId, version, status } = event;
    const statuses = new Map([[version, status]]);
    world.orders.push({
      id,
      orderId,
      version,
      status,
      statuses,
      paymentIds: [payment?.id ?? ""],
      changedAt: world.clock,
    });
  }
  return world;
}

/** The URLs of one endpoint. At the broken one no message is accepted. */
export type Place = "first" | "second" | "broken";

export const urlOf = (slot: number, place: Place): string => `https://shop.example.com/${slot}/${place}`;

/** The committed change of an order. */
export function commitTo(world: World, order: WorldOrder, event: StatusEvent | undefined): void {
  world.clock += 1;
  if (!event || event.version <= order.version) return;
  order.version = event.version;
  order.status = event.status;
  order.changedAt = world.clock;
  order.statuses.set(event.version, event.status);
}

export function startProcess(world: World): Process {
  const process: Process = {
    engine: { wake: () => undefined, close: async () => undefined },
    isKilled: false,
    isEnding: false,
    ending: Promise.withResolvers(),
    statementsLeft: Number.POSITIVE_INFINITY,
    claims: new Set(),
    passAt: 0,
    idleAt: 0,
    known: new Map(),
  };
  const pool = poolOf(world, process);
  const endpoints = endpointsOf(pool);
  process.engine = startEngine({
    pool,
    receivers: async (ids) => {
      const found = await endpoints.addresses(ids);
      return new Map([...found].map(([id, { row }]) => [id, receiverAt(world, process, row.url)]));
    },
    onResult: () => undefined,
    onError: (error) => {
      if (!process.isKilled) world.violations.push(`an engine failed: ${String(error)}`);
    },
    onRecovered: () => undefined,
    log: { info: () => undefined, warn: () => undefined, error: () => undefined },
  });
  return process;
}

interface Query {
  name: string;
  text: string;
  values: unknown[];
}

/** The connections of one process. A killed process sends no statement and gets no result, although PostgreSQL may have run its last one. */
function poolOf(world: World, process: Process): pg.Pool {
  const requireAlive = (): void => {
    if (process.isKilled) throw new Error("the process was killed");
  };
  const query = async (statement: Query): Promise<pg.QueryResult> => {
    await beforeStatement(world, process, statement);
    requireAlive();
    process.statementsLeft -= 1;
    process.isKilled = process.statementsLeft < 0;
    const result = await world.database.deliveryPool.query(statement);
    afterStatement(process, statement, result.rows);
    requireAlive();
    return result;
  };
  return { query } as unknown as pg.Pool;
}

async function beforeStatement(world: World, process: Process, { name, values }: Query): Promise<void> {
  if (name === "fan-out") process.passAt = world.clock;
  if (name === "order-messages") process.known = new Map(world.orders.map(({ id, version }) => [id, version]));
  if (name !== "record-attempt" || !process.stall) return;
  world.lapsed.add((JSON.parse(String(values[0])) as { claim: string }).claim);
  await process.stall.promise;
}

function afterStatement(process: Process, { name }: Query, rows: { claim: string }[]): void {
  // Another process has the lock: this pass has not looked for events.
  if (name === "fan-out" && rows.length === 0) process.passAt = 0;
  if (name !== "claim-deliveries") return;
  for (const { claim } of rows) process.claims.add(claim);
  if (rows.length === 0) process.idleAt = process.passAt;
}

function receiverAt(world: World, process: Process, url: string): Receiver {
  const [, slot, place] = new URL(url).pathname.split("/");
  const endpoint = world.endpoints[Number(slot)];
  if (!endpoint) throw new Error(`no endpoint at ${url}`);
  return async (message) => {
    const { hold } = endpoint;
    const answer = place === "broken" ? "error" : endpoint.answer;
    const attempt = beginAttempt(world, { endpoint, process, message });
    if (hold) await Promise.race([hold.promise, process.ending.promise]);
    attempt.isEnded = true;
    // The end of a process aborts its requests.
    if (process.isEnding) throw new Error("the process ended");
    attempt.isAcknowledged = answer === "ok";
    return { isDelivered: false, isGone: false, durationMs: 1, ...replies[answer] };
  };
}

/** Records a request, and what it violates. */
function beginAttempt(
  world: World,
  { endpoint, process, message }: { endpoint: WorldEndpoint; process: Process; message: Message },
): Attempt {
  const [subjectId = "", epoch, version] = message.id.split(".");
  const { data } = JSON.parse(message.body) as { data: { order?: { status: Status } } };
  world.clock += 1;
  const attempt: Attempt = {
    endpoint,
    process,
    subjectId,
    epoch: Number(epoch),
    version: Number(version),
    type: message.type,
    status: data.order?.status,
    at: world.clock,
    isEnded: false,
    isAcknowledged: false,
  };
  const before = world.attempts.filter((one) => one.endpoint === endpoint && one.subjectId === subjectId);
  world.violations.push(...violationsOf(world, attempt, before));
  world.attempts.push(attempt);
  return attempt;
}

function violationsOf({ orders }: World, attempt: Attempt, before: readonly Attempt[]): string[] {
  const { subjectId, version, epoch, status, process } = attempt;
  const order = orders.find(({ id }) => id === subjectId);
  const name = `version ${version} of ${order?.orderId ?? "an endpoint"}`;
  const found: string[] = [];
  if (before.some((one) => !one.isEnded && !one.process.isKilled)) found.push(`two attempts at once: ${name}`);
  if (before.some((one) => one.version > version)) found.push(`an older version begun after a newer one: ${name}`);
  if (before.some((one) => one.epoch > epoch)) found.push(`an older epoch begun after a newer one: ${name}`);
  if (order && version < (process.known.get(order.id) ?? 0)) found.push(`not the newest state: ${name}`);
  const committed = order?.statuses.get(version);
  if (committed && committed !== status) found.push(`the status ${status} instead of ${committed}: ${name}`);
  return found;
}

export async function closeWorld({ endpoints, transactions, processes }: World): Promise<void> {
  for (const { hold } of endpoints) hold?.resolve();
  for (const { client } of transactions) client.release(true);
  for (const { stall } of processes) stall?.resolve();
  for (const { engine } of processes) await engine.close();
}
