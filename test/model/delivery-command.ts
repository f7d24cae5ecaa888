/** The commands of the histories of deliveries: changes of orders, requests of the merchant, and faults. */
import fc from "fast-check";
import { vi } from "vitest";
import { replay } from "../../server/delivery/replay.ts";
import { resumeDeliveries } from "../../server/delivery/resume.ts";
import type { Outcome, Status, StatusEvent } from "../../server/order/order.ts";
import type { OrderStore } from "../../server/order/store.ts";
import { draftOf, failed, paid } from "../support/store.ts";
import {
  type Answer,
  answers,
  commitTo,
  endpointsOf,
  filters,
  type Place,
  type Process,
  startProcess,
  storeOf,
  urlOf,
  type World,
  type WorldEndpoint,
  type WorldOrder,
} from "./delivery-world.ts";

const changes = ["accepted", "failed", "paid", "receipt", "again", "result", "same result", "no result"] as const;

type Change = (typeof changes)[number];

export type DeliveryCommand =
  | { do: "change"; order: number; as: Change }
  /** A change in a transaction that is committed later, or rolled back. */
  | { do: "begin"; order: number; as: Change }
  | { do: "end"; nth: number; isCommitted: boolean }
  | { do: "answer"; endpoint: number; answer: Answer }
  | { do: "hold"; endpoint: number }
  | { do: "release" }
  | { do: "enable"; endpoint: number; enabled: boolean }
  | { do: "filter"; endpoint: number; filter: number }
  | { do: "move"; endpoint: number; to: Place }
  | { do: "replay"; endpoint: number; order?: number | undefined; status?: Status | undefined }
  | { do: "epoch" }
  | { do: "run" }
  | { do: "wake"; process: number }
  | { do: "retry" }
  | { do: "days" }
  | { do: "stall"; process: number }
  | { do: "resume"; process: number }
  /** Killed during a later statement than the next, or when it has sent all. */
  | { do: "kill"; process: number; after: number }
  | { do: "restart"; process: number }
  | { do: "lapse" };

const endpoint = fc.nat(filters.length - 1);
const order = fc.nat(2);
const process = fc.nat(1);
const as = fc.constantFrom(...changes);
const is = <T extends string>(name: T): fc.Arbitrary<T> => fc.constant(name);

export const deliveryCommand: fc.Arbitrary<DeliveryCommand> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ do: is("change"), order, as }) },
  { weight: 3, arbitrary: fc.record({ do: is("begin"), order, as }) },
  { weight: 3, arbitrary: fc.record({ do: is("end"), nth: fc.nat(2), isCommitted: fc.boolean() }) },
  { weight: 4, arbitrary: fc.record({ do: is("answer"), endpoint, answer: fc.constantFrom(...answers) }) },
  { weight: 3, arbitrary: fc.record({ do: is("hold"), endpoint }) },
  { weight: 2, arbitrary: fc.record({ do: is("release") }) },
  { weight: 2, arbitrary: fc.record({ do: is("enable"), endpoint, enabled: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ do: is("filter"), endpoint, filter: endpoint }) },
  {
    weight: 1,
    arbitrary: fc.record({ do: is("move"), endpoint, to: fc.constantFrom<Place>("first", "second", "broken") }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: is("replay"),
      endpoint,
      order: fc.option(order, { nil: undefined }),
      status: fc.constantFrom<Status | undefined>(undefined, undefined, "failed", "succeeded"),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: is("epoch") }) },
  { weight: 8, arbitrary: fc.record({ do: is("run") }) },
  { weight: 2, arbitrary: fc.record({ do: is("wake"), process }) },
  { weight: 4, arbitrary: fc.record({ do: is("retry") }) },
  { weight: 1, arbitrary: fc.record({ do: is("days") }) },
  { weight: 2, arbitrary: fc.record({ do: is("stall"), process }) },
  { weight: 2, arbitrary: fc.record({ do: is("resume"), process }) },
  { weight: 2, arbitrary: fc.record({ do: is("kill"), process, after: fc.nat(8) }) },
  { weight: 1, arbitrary: fc.record({ do: is("restart"), process }) },
  { weight: 3, arbitrary: fc.record({ do: is("lapse") }) },
);

const pay = (order: number): DeliveryCommand => ({ do: "change", order, as: "paid" });
const receipt = (order: number): DeliveryCommand => ({ do: "change", order, as: "receipt" });
const accept = (order: number): DeliveryCommand => ({ do: "change", order, as: "accepted" });
const holdAll: DeliveryCommand[] = filters.map((_, endpoint) => ({ do: "hold", endpoint }));
const answerAll = (answer: Answer): DeliveryCommand[] =>
  filters.map((_, endpoint) => ({ do: "answer", endpoint, answer }));
const everyProcess = (act: "stall" | "resume" | "kill"): DeliveryCommand[] =>
  [0, 1].map((process) => ({ do: act, process, after: 9 }));

/** Histories that random commands rarely reach. They run first. */
export const everyDelivery: readonly (readonly DeliveryCommand[])[] = [
  // Killed while requests are in flight.
  [pay(0), ...holdAll, { do: "run" }, ...everyProcess("kill"), receipt(0), { do: "lapse" }, { do: "run" }],
  // Killed between the answer and its record.
  [...everyProcess("stall"), pay(0), { do: "run" }, ...everyProcess("kill"), { do: "lapse" }, { do: "run" }],
  // A record that comes when the lease has ended, while the next attempt is in flight.
  [
    ...everyProcess("stall"),
    pay(0),
    { do: "run" },
    ...holdAll,
    receipt(0),
    { do: "lapse" },
    { do: "run" },
    ...everyProcess("resume"),
    { do: "change", order: 0, as: "result" },
    { do: "run" },
    { do: "release" },
  ],
  // Transactions that end in another order than they began, with reads in between.
  [
    { do: "begin", order: 0, as: "paid" },
    { do: "begin", order: 1, as: "paid" },
    accept(2),
    { do: "run" },
    { do: "end", nth: 1, isCommitted: true },
    { do: "run" },
    pay(2),
    { do: "run" },
    { do: "end", nth: 0, isCommitted: true },
    { do: "run" },
  ],
  // What was acknowledged before an epoch is sent again, also what was in flight.
  [
    pay(0),
    { do: "run" },
    pay(1),
    ...holdAll,
    { do: "run" },
    { do: "epoch" },
    { do: "run" },
    { do: "release" },
    { do: "run" },
  ],
  // Asked for again, and changed before that was delivered.
  [
    pay(0),
    { do: "run" },
    ...answerAll("error"),
    { do: "replay", endpoint: 1, order: 0 },
    { do: "run" },
    receipt(0),
    { do: "run" },
  ],
  // Gone, enabled, exhausted, moved and asked for again.
  [
    pay(0),
    ...answerAll("gone"),
    { do: "run" },
    ...answerAll("error"),
    ...filters.map((_, endpoint): DeliveryCommand => ({ do: "enable", endpoint, enabled: true })),
    { do: "days" },
    receipt(0),
    { do: "move", endpoint: 1, to: "broken" },
    { do: "replay", endpoint: 1, order: 0 },
    { do: "run" },
    { do: "replay", endpoint: 4 },
  ],
];

/** Number of runs per command. A test checks it, because a history without commands proves nothing. */
export const played = new Map<DeliveryCommand["do"], number>();

export async function play(world: World, one: DeliveryCommand): Promise<void> {
  played.set(one.do, (played.get(one.do) ?? 0) + 1);
  world.clock += 1;
  if ("endpoint" in one) await playAtEndpoint(world, one);
  else if ("process" in one) await playAtProcess(world, one);
  else await playElsewhere(world, one);
}

async function playElsewhere(
  world: World,
  one: Exclude<DeliveryCommand, { endpoint: number } | { process: number }>,
): Promise<void> {
  switch (one.do) {
    case "change":
      return change(world, one);
    case "begin":
      return begin(world, one);
    case "end":
      return end(world, one);
    case "release":
      return release(world);
    case "epoch":
      return startEpoch(world);
    case "run":
      return run(world);
    case "retry":
      return retry(world);
    case "days":
      // More attempts than the schedule has.
      for (let attempt = 0; attempt < 11; attempt += 1) await retry(world).then(() => run(world));
      return;
    case "lapse":
      return lapse(world);
  }
}

/** Changes an order, unless a transaction that is not committed has locked it. */
async function change(world: World, { order, as }: { order: number; as: Change }): Promise<void> {
  const chosen = world.orders[order];
  if (!chosen || world.transactions.some((one) => one.order === chosen)) return;
  commitTo(world, chosen, await changeIn(storeOf(world.database), chosen, as));
}

let texts = 0;

/** Returns the new state, or undefined if nothing changed. */
async function changeIn(store: OrderStore, order: WorldOrder, as: Change): Promise<StatusEvent | undefined> {
  const paymentId = order.paymentIds.at(-1) ?? "";
  const outcomes: Partial<Record<Change, Outcome>> = {
    accepted: { status: "processing", reference: `REF-${paymentId}`, source: "reply" },
    failed: failed(),
    paid: paid(),
    receipt: paid({ receipt: `R-${paymentId}` }),
  };
  const outcome = outcomes[as];
  const result = { id: "one", kind: "text" as const, title: "One" };
  if (as === "result") texts += 1;
  try {
    if (outcome) return (await store.advance(paymentId, outcome)).event;
    if (as === "no result") return await store.removeResult(order.orderId, result.id);
    if (as !== "again") return (await store.putResult(order.orderId, { ...result, text: `${texts}` })).event;
    const { event, payment } = await store.open(draftOf({ orderId: order.orderId }));
    if (payment) order.paymentIds.push(payment.id);
    return event;
  } catch {
    // The order does not allow this change now.
    return undefined;
  }
}

async function begin(world: World, { order, as }: { order: number; as: Change }): Promise<void> {
  const chosen = world.orders[order];
  // Another attempt makes a payment, which a rollback would remove.
  if (!chosen || as === "again" || world.transactions.some((one) => one.order === chosen)) return;
  const client = await world.database.pool.connect();
  await client.query("begin");
  const pool = client as unknown as World["database"]["pool"];
  const event = await changeIn(storeOf({ pool, webhookPool: pool }), chosen, as);
  world.transactions.push({ client, order: chosen, event });
}

export async function end(world: World, { nth, isCommitted }: { nth: number; isCommitted: boolean }): Promise<void> {
  const [transaction] = world.transactions.splice(nth % Math.max(1, world.transactions.length), 1);
  if (!transaction) return;
  const { client, order, event } = transaction;
  await client.query(isCommitted ? "commit" : "rollback");
  client.release();
  commitTo(world, order, isCommitted ? event : undefined);
}

async function playAtEndpoint(world: World, one: Extract<DeliveryCommand, { endpoint: number }>): Promise<void> {
  const chosen = world.endpoints[one.endpoint];
  if (!chosen) return;
  const endpoints = endpointsOf(world.database.pool);
  if (one.do === "answer") chosen.answer = one.answer;
  if (one.do === "hold") chosen.hold ??= Promise.withResolvers();
  if (one.do === "enable") await endpoints.change(chosen.id, { enabled: one.enabled });
  if (one.do === "move") await endpoints.change(chosen.id, { url: urlOf(one.endpoint, one.to) });
  if (one.do === "replay") await askAgain(world, chosen, one);
  if (one.do === "filter") {
    const events = filters[one.filter] ?? null;
    await endpoints.change(chosen.id, { events });
    world.clock += 1;
    Object.assign(chosen, { events, filteredAt: world.clock });
  }
}

export const accepts = ({ events }: WorldEndpoint, type: string): boolean =>
  events ? events.includes(type) : type !== "order.pending" && type !== "order.processing";

async function askAgain(
  world: World,
  endpoint: WorldEndpoint,
  { order, status }: { order?: number | undefined; status?: Status | undefined },
): Promise<void> {
  const { pool } = world.database;
  const chosen = order === undefined ? undefined : world.orders[order];
  const asked = chosen ? { orderId: chosen.orderId, status } : { since: world.startedAt, status };
  const count = await replay(pool, endpoint.id, asked);
  const matches = world.orders.filter(
    (one) =>
      (!chosen || one === chosen) &&
      (status === undefined || one.status === status) &&
      accepts(endpoint, `order.${one.status}`),
  );
  if (count !== matches.length) world.violations.push(`a replay counted ${count} of ${matches.length} orders`);
  endpoint.replays.push(...matches.map((one) => ({ order: one, at: world.clock })));
}

async function playAtProcess(world: World, one: Extract<DeliveryCommand, { process: number }>): Promise<void> {
  const chosen = world.processes[one.process];
  if (!chosen) return;
  if (one.do === "wake") chosen.engine.wake();
  if (one.do === "stall") chosen.stall ??= Promise.withResolvers();
  if (one.do === "resume" || one.do === "restart") {
    chosen.stall?.resolve();
    chosen.stall = undefined;
  }
  if (one.do === "kill") await kill(world, chosen, one.after);
  if (one.do === "restart") await endProcess(world, chosen);
}

/** Wakes the process, and kills it during its next statement but `after`, at the latest when it has found nothing due. */
async function kill(world: World, chosen: Process, after: number): Promise<void> {
  const from = ++world.clock;
  chosen.statementsLeft = after;
  chosen.engine.wake();
  await vi.waitUntil(() => chosen.isKilled || chosen.idleAt >= from, { interval: 1 });
  chosen.isKilled = true;
  await endProcess(world, chosen);
  for (const claim of chosen.claims) world.lapsed.add(claim);
}

/** Ends the process, and starts another one in its place. */
async function endProcess(world: World, chosen: Process): Promise<void> {
  chosen.isEnding = true;
  chosen.ending.resolve();
  chosen.stall?.resolve();
  await chosen.engine.close();
  world.processes.splice(world.processes.indexOf(chosen), 1, startProcess(world));
}

/** Ends the leases that may end. */
async function lapse({ database, lapsed }: World): Promise<void> {
  await database.pool.query(
    "update delivery set attempt_at = now(), claimed_until = now() - interval '1 second' where claim = any ($1)",
    [[...lapsed]],
  );
}

async function startEpoch(world: World): Promise<void> {
  const { rows } = await world.database.pool.query("select start_epoch() as epoch");
  world.clock += 1;
  Object.assign(world, { epoch: rows[0].epoch, epochAt: world.clock });
}

/** Makes every later attempt due now. */
async function retry({ database, endpoints }: World): Promise<void> {
  await database.pool.query(
    "update delivery set attempt_at = now() where endpoint_id = any ($1) and claim is null and attempt_at < 'infinity'",
    [endpoints.map(({ id }) => id)],
  );
}

/** Resumes what was enabled, because engines look for that once a second, and waits until each engine has begun what is due now. */
export async function run(world: World): Promise<void> {
  while (await resumeDeliveries(world.database.pool));
  const from = ++world.clock;
  await vi.waitUntil(
    () => {
      for (const { engine } of world.processes) engine.wake();
      return world.processes.every(({ idleAt }) => idleAt >= from);
    },
    { interval: 2 },
  );
}

function release({ endpoints }: World): void {
  for (const one of endpoints) {
    one.hold?.resolve();
    delete one.hold;
  }
}

/** Ends every fault but disabled endpoints, and waits until nothing is due. */
export async function settle(world: World): Promise<void> {
  release(world);
  for (const one of world.endpoints) one.answer = "ok";
  for (const index of world.processes.keys()) await playAtProcess(world, { do: "resume", process: index });
  while (world.transactions.length > 0) await end(world, { nth: 0, isCommitted: true });
  const endpoints = endpointsOf(world.database.pool);
  for (const [slot, { id }] of world.endpoints.entries()) await endpoints.change(id, { url: urlOf(slot, "first") });
  await vi.waitUntil(async () => {
    await lapse(world);
    await retry(world);
    await run(world);
    const { rows } = await world.database.pool.query(
      `select from delivery d join endpoint e on e.id = d.endpoint_id
       where e.id = any ($1) and e.enabled and (d.attempt_at < 'infinity' or d.claim is not null)`,
      [world.endpoints.map(({ id }) => id)],
    );
    return rows.length === 0;
  });
}

/** Enables every endpoint, which resumes what had no attempt left. */
export async function enableAll(world: World): Promise<void> {
  const endpoints = endpointsOf(world.database.pool);
  for (const { id } of world.endpoints) await endpoints.change(id, { enabled: true });
}
