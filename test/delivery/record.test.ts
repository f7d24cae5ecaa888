/** What the results of attempts change, without an engine. */
import { beforeAll, describe, expect, it } from "vitest";
import { createSealer } from "../../server/auth/keys.ts";
import { type Database, openDatabase } from "../../server/database/pool.ts";
import { type Claimed, claimDeliveries } from "../../server/delivery/claim.ts";
import { createEndpoints, type Endpoints } from "../../server/delivery/endpoint.ts";
import { fanOut } from "../../server/delivery/fan-out.ts";
import { prepareMessages } from "../../server/delivery/message.ts";
import { recordAttempt } from "../../server/delivery/record.ts";
import { createOrderStore } from "../../server/order/store.ts";
import { createDatabase } from "../support/database.ts";
import { testSecret } from "../support/node.ts";
import { draftOf, paid } from "../support/store.ts";

let database: Database;
let endpoints: Endpoints;

beforeAll(async () => {
  const { url, drop } = await createDatabase();
  database = openDatabase(url, () => undefined);
  endpoints = createEndpoints({
    pool: database.pool,
    sealer: createSealer([testSecret]),
    onUnreadable: () => undefined,
  });
  return async () => {
    await database.close();
    await drop();
  };
});

const query = async (text: string, values: unknown[] = []) => (await database.pool.query(text, values)).rows;

const store = () => createOrderStore({ database, announce: () => undefined, amountlessProviders: ["daraja"] });

/** Opens an order and returns its id and ways to change it. */
async function openOrder() {
  const { event, payment } = await store().open(draftOf());
  const paymentId = payment?.id ?? "";
  return {
    id: event.id,
    pay: () => store().advance(paymentId, paid()),
    addReceipt: () => store().advance(paymentId, paid({ receipt: `R-${event.id}` })),
  };
}

/** The only endpoint that there is. */
async function createOnly(events?: string[]): Promise<string> {
  await query("update endpoint set is_deleted = true, enabled = false");
  return (await endpoints.create({ url: "https://shop.example.com/", events })).endpoint.id;
}

async function fanOutAll(): Promise<void> {
  while ((await fanOut(database.pool)).isUnfinished);
}

const claim = (): Promise<Claimed[]> => claimDeliveries(database.pool, new Map());

/** Sends the newest state for each claim, with this answer. Returns what changed about the endpoint each time. */
async function send(claimed: readonly Claimed[], status: number) {
  const changes = [];
  for (const { claimed: one, message } of await prepareMessages(database.pool, claimed)) {
    if (!message) throw new Error("nothing to send");
    const reply = { isDelivered: status === 200, isGone: false, durationMs: 1, status };
    changes.push(await recordAttempt(database.pool, { claimed: one, message, reply, delayMs: 5_000 }));
  }
  return changes;
}

describe("an endpoint that fails half of the attempts", () => {
  /** An endpoint with 20 claimed deliveries. */
  async function begin() {
    const endpointId = await createOnly();
    for (let n = 0; n < 20; n += 1) await (await openOrder()).pay();
    await fanOutAll();
    return { endpointId, claimed: await claim() };
  }

  const row = async (endpointId: string) =>
    (await query("select xmin::text, failing_since, recovered_at from endpoint where id = $1", [endpointId]))[0];

  it("begins to fail once in a minute, and changes its row no more in between", async () => {
    const { endpointId, claimed } = await begin();
    const [first, second, ...others] = claimed;
    expect(await send([first as Claimed], 500)).toEqual(["failing"]);
    expect(await send([second as Claimed], 200)).toEqual(["recovered"]);
    const before = await row(endpointId);
    for (const [nth, one] of others.entries()) expect(await send([one], nth % 2 ? 200 : 500)).toEqual([undefined]);
    expect(await row(endpointId)).toEqual(before);
    expect(before.failing_since).toBeNull();
  });

  it("begins to fail again a minute after it recovered", async () => {
    const { endpointId, claimed } = await begin();
    expect(await send(claimed.slice(0, 1), 500)).toEqual(["failing"]);
    expect(await send(claimed.slice(1, 2), 200)).toEqual(["recovered"]);
    await query("update endpoint set recovered_at = recovered_at - interval '1 minute' where id = $1", [endpointId]);
    expect(await send(claimed.slice(2, 4), 500)).toEqual(["failing", undefined]);
    expect(await send(claimed.slice(4, 6), 200)).toEqual(["recovered", undefined]);
  });
});
