/** Random histories of deliveries: changes of orders, requests of the merchant and faults, under two engines. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { useDatabase } from "../support/database.ts";
import {
  accepts,
  type DeliveryCommand,
  deliveryCommand,
  enableAll,
  everyDelivery,
  play,
  played,
  settle,
} from "./delivery-command.ts";
import { closeWorld, openWorld, type World, type WorldEndpoint, type WorldOrder } from "./delivery-world.ts";
import { isLong, runProperty, timeout } from "./history.ts";

const file = useDatabase();

/** The messages that an endpoint acknowledged about an order, in the order of their requests. */
const acknowledged = ({ attempts }: World, endpoint: WorldEndpoint, { id }: WorldOrder) =>
  attempts.filter((one) => one.endpoint === endpoint && one.subjectId === id && one.isAcknowledged);

/** What endpoint and order show that they must not, when nothing is due. */
function faultsOf(world: World, endpoint: WorldEndpoint, order: WorldOrder): string[] {
  const { epoch } = world;
  const type = `order.${order.status}`;
  // A filter counts for what happens after its change.
  if (endpoint.filteredAt > order.changedAt || !accepts(endpoint, type)) return [];
  const found = acknowledged(world, endpoint, order);
  const last = found.at(-1);
  const name = `${order.orderId} at ${JSON.stringify(endpoint.events)}`;
  const faults: string[] = [];
  if (last?.status !== order.status) faults.push(`${name}: ended with ${last?.status} instead of ${order.status}`);
  if (last?.epoch !== epoch) faults.push(`${name}: ended in the epoch ${last?.epoch} instead of ${epoch}`);
  if (accepts(endpoint, "order.updated") && last?.version !== order.version) {
    faults.push(`${name}: ended with version ${last?.version} instead of ${order.version}`);
  }
  for (const replay of endpoint.replays) {
    if (replay.order !== order || replay.at < endpoint.filteredAt) continue;
    const isRepeated = found.some((one) => one.at > replay.at && one.type === `order.${one.status}`);
    if (!isRepeated) faults.push(`${name}: not sent again after ${replay.at}`);
  }
  return faults;
}

/** The pairs of endpoint and order, by their ids, whose schedule has ended. */
async function exhausted({ endpoints }: World): Promise<Set<string>> {
  const { rows } = await file.database.pool.query(
    "select endpoint_id || subject_id::text as pair from delivery where endpoint_id = any ($1) and attempt_at = 'infinity'",
    [endpoints.map(({ id }) => id)],
  );
  return new Set(rows.map(({ pair }) => pair));
}

async function check(world: World): Promise<void> {
  const ended = await exhausted(world);
  const { rows: disabled } = await file.database.pool.query("select id from endpoint where not enabled");
  const isDisabled = new Set(disabled.map(({ id }) => id));
  const faults = world.endpoints
    .filter(({ id }) => !isDisabled.has(id))
    .flatMap((endpoint) =>
      world.orders
        .filter(({ id }) => !ended.has(endpoint.id + id))
        .flatMap((order) => faultsOf(world, endpoint, order)),
    );
  expect([...world.violations, ...faults]).toEqual([]);
}

async function live(commands: readonly DeliveryCommand[]): Promise<void> {
  const world = await openWorld(file.database);
  try {
    for (const one of commands) await play(world, one);
    await settle(world);
    await check(world);
    await enableAll(world);
    await settle(world);
    expect(await exhausted(world)).toEqual(new Set());
    await check(world);
  } finally {
    await closeWorld(world);
  }
}

describe("a random history of deliveries", () => {
  it("sends nothing older after something newer, nothing twice at once, and ends with the current state at every endpoint that wants it", {
    timeout,
  }, async () => {
    const commands = fc.array(deliveryCommand, { minLength: 5, maxLength: isLong ? 80 : 40, size: "max" });
    await runProperty({
      first: everyDelivery.map((commands) => fc.asyncProperty(fc.constant([...commands]), live)),
      property: fc.asyncProperty(commands, live),
      shortMs: 12_000,
    });
    console.info([...played].map(([name, times]) => `${name} ${times}`).join(", "));
    expect(played.get("kill")).toBeGreaterThan(0);
  });
});
