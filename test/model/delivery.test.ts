/**
 * Random changes of orders and faults of receivers, under two engines of which either may be replaced. Receivers are functions here,
 * so that a test decides each answer.
 */
import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import { createSealer } from "../../server/auth/keys.ts";
import { type Database, openDatabase } from "../../server/database/pool.ts";
import { createEndpoints } from "../../server/delivery/endpoint.ts";
import { type DeliveryEngine, startEngine } from "../../server/delivery/engine.ts";
import type { Message } from "../../server/delivery/message.ts";
import type { Receiver } from "../../server/delivery/receiver.ts";
import { createOrderStore } from "../../server/order/store.ts";
import { createDatabase } from "../support/database.ts";
import { testSecret } from "../support/node.ts";
import { draftOf, failed, paid } from "../support/store.ts";

let database: Database;

beforeAll(async () => {
  const { url, drop } = await createDatabase();
  database = openDatabase(url, () => undefined);
  return async () => {
    await database.close();
    await drop();
  };
});

const filters = [
  null,
  ["order.succeeded"],
  ["order.failed", "order.pending"],
  ["order.updated"],
  ["order.pending", "order.processing", "order.succeeded", "order.failed", "order.updated"],
];

type Command =
  | { do: "change"; order: number; as: "accepted" | "failed" | "paid" | "receipt" | "again" }
  | { do: "answer"; endpoint: number; ok: boolean }
  | { do: "hold"; endpoint: number }
  | { do: "release" }
  | { do: "run" }
  | { do: "enable"; endpoint: number; enabled: boolean }
  | { do: "restart"; engine: number }
  | { do: "time" }
  | { do: "wake"; engine: number };

const nth = fc.nat(1);
const endpoint = fc.nat(filters.length - 1);
const command: fc.Arbitrary<Command> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant("change" as const),
      order: nth,
      as: fc.constantFrom("accepted", "failed", "paid", "receipt", "again") as fc.Arbitrary<"paid">,
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("answer" as const), endpoint, ok: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("enable" as const), endpoint, enabled: fc.boolean() }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("hold" as const), endpoint }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("release" as const) }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant("run" as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("restart" as const), engine: nth }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("time" as const) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("wake" as const), engine: nth }) },
);

interface Sent {
  orderId: string;
  version: number;
  status: string;
  type: string;
  isOk: boolean;
}

interface World {
  /** Requests to an endpoint wait for this before they are answered. */
  holds: (PromiseWithResolvers<void> | undefined)[];
  endpointIds: string[];
  isOk: boolean[];
  sent: Sent[][];
  engines: DeliveryEngine[];
  orders: { orderId: string; paymentIds: string[] }[];
}

const store = () => createOrderStore({ database, announce: () => undefined, amountlessProviders: ["daraja"] });

const endpoints = () =>
  createEndpoints({ pool: database.pool, sealer: createSealer([testSecret]), onUnreadable: () => undefined });

function receiverOf(world: World, index: number): Receiver {
  return async (message: Message) => {
    // The state counts when the request begins, the answer when it ends.
    const isOk = world.isOk[index] ?? true;
    const { order } = (
      JSON.parse(message.body) as { data: { order: { orderId: string; version: number; status: string } } }
    ).data;
    world.sent[index]?.push({
      orderId: order.orderId,
      version: order.version,
      status: order.status,
      type: message.type,
      isOk,
    });
    await world.holds[index]?.promise;
    return { isDelivered: isOk, isGone: false, durationMs: 1, status: isOk ? 200 : 500 };
  };
}

const startOne = (world: World): DeliveryEngine =>
  startEngine({
    pool: database.pool,
    receivers: async (ids) =>
      new Map(
        ids.flatMap((id) => {
          const index = world.endpointIds.indexOf(id);
          return index < 0 ? [] : [[id, receiverOf(world, index)] as const];
        }),
      ),
    onResult: () => undefined,
    onError: (error) => {
      throw error;
    },
    onRecovered: () => undefined,
    log: { info: () => undefined, warn: () => undefined, error: () => undefined },
  });

async function openWorld(): Promise<World> {
  await database.pool.query("update endpoint set is_deleted = true, enabled = false");
  const world: World = { holds: [], endpointIds: [], isOk: [], sent: [], engines: [], orders: [] };
  for (const events of filters) {
    const { endpoint: created } = await endpoints().create({ url: "https://shop.example.com/", events });
    world.endpointIds.push(created.id);
    world.isOk.push(true);
    world.sent.push([]);
  }
  world.engines = [startOne(world), startOne(world)];
  for (let count = 0; count < 2; count += 1) {
    const { event, payment } = await store().open(draftOf());
    world.orders.push({ orderId: event.orderId, paymentIds: [payment?.id ?? ""] });
  }
  return world;
}

async function change({ orders }: World, order: number, as: (Command & { do: "change" })["as"]): Promise<void> {
  const chosen = orders[order];
  const paymentId = chosen?.paymentIds.at(-1);
  if (!chosen || paymentId === undefined) return;
  const outcomes = {
    accepted: { status: "processing" as const, reference: `REF-${paymentId}`, source: "reply" as const },
    failed: failed(),
    paid: paid(),
    receipt: paid({ receipt: `R-${paymentId}` }),
  };
  if (as !== "again") {
    await store().advance(paymentId, outcomes[as]);
    return;
  }
  const opened = await store()
    .open(draftOf({ orderId: chosen.orderId }))
    .catch(() => undefined);
  if (opened?.payment) chosen.paymentIds.push(opened.payment.id);
}

async function play(world: World, one: Command): Promise<void> {
  if (one.do === "change") await change(world, one.order, one.as);
  if (one.do === "hold") world.holds[one.endpoint] ??= Promise.withResolvers();
  if (one.do === "release" || one.do === "restart") release(world);
  if (one.do === "run") await run(world);
  if (one.do === "answer") world.isOk[one.endpoint] = one.ok;
  if (one.do === "enable") await endpoints().change(world.endpointIds[one.endpoint] ?? "", { enabled: one.enabled });
  if (one.do === "time")
    await database.pool.query("update delivery set attempt_at = now() where claim is null and attempt_at < 'infinity'");
  if (one.do === "wake") world.engines[one.engine]?.wake();
  if (one.do === "restart") {
    await world.engines[one.engine]?.close();
    world.engines[one.engine] = startOne(world);
  }
}

/** Waits until the engines have begun everything that is due. */
const run = ({ engines }: World): Promise<void> =>
  expect
    .poll(
      async () => {
        for (const engine of engines) engine.wake();
        const { rows } = await database.pool.query(
          `select from delivery d join endpoint e on e.id = d.endpoint_id where e.enabled and d.claim is null and d.attempt_at <= now()
           union all select from fan_out where exists (select from event where xid >= pg_snapshot_xmax(seen))`,
        );
        return rows.length;
      },
      { interval: 5 },
    )
    .toBe(0);

function release({ holds }: World): void {
  for (const hold of holds) hold?.resolve();
  holds.length = 0;
}

/** Ends every fault and waits until nothing is due. */
async function settle(world: World): Promise<void> {
  release(world);
  world.isOk.fill(true);
  // Not the enabled ones, because that would resume deliveries that a fault has left behind.
  const disabled = (await endpoints().list()).filter(({ enabled }) => !enabled);
  for (const { id } of disabled) await endpoints().change(id, { enabled: true });
  await expect
    .poll(async () => {
      await database.pool.query(
        "update delivery set attempt_at = now() where claim is null and attempt_at > now() and attempt_at < 'infinity'",
      );
      for (const engine of world.engines) engine.wake();
      const { rows } = await database.pool.query(
        `select from delivery where endpoint_id = any ($1) and (due_version is not null or claim is not null)
         union all select from fan_out where exists (select from event where xid >= pg_snapshot_xmax(seen))`,
        [world.endpointIds],
      );
      return rows.length;
    })
    .toBe(0);
}

async function check(world: World): Promise<void> {
  for (const { orderId } of world.orders) {
    const { rows } = await database.pool.query('select status, version from "order" where order_id = $1', [orderId]);
    for (const [index, events] of filters.entries()) {
      const sent = (world.sent[index] ?? []).filter((one) => one.orderId === orderId);
      const versions = sent.map(({ version }) => version);
      expect(versions, "no older version is sent after a newer one").toEqual(versions.toSorted((a, b) => a - b));
      const types = events ?? ["order.succeeded", "order.failed", "order.expired", "order.review", "order.updated"];
      expect(
        sent.filter(({ type }) => !types.includes(type)),
        "only the wanted types",
      ).toEqual([]);
      const acknowledged = sent.filter(({ isOk }) => isOk).at(-1);
      if (types.includes(`order.${rows[0].status}`))
        expect(acknowledged?.status, `the last acknowledged status of ${index}`).toBe(rows[0].status);
    }
  }
}

describe("deliveries under random changes and faults", () => {
  it("end with the current status at every endpoint that wants it, and send nothing older after something newer", {
    timeout: 300_000,
  }, async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(command, { minLength: 5, maxLength: 30 }), async (commands) => {
        const world = await openWorld();
        try {
          for (const one of commands) await play(world, one);
          await settle(world);
          await check(world);
        } finally {
          release(world);
          for (const engine of world.engines) await engine.close();
        }
      }),
      { numRuns: 60 },
    );
  });
});
