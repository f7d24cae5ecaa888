/** What must never happen is noticed where it would pass by: each broken by hand, for the code does not. */

import pg from "pg";
import { beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { type Broken, watchPromises } from "../../server/status/invariants.ts";
import { createDatabase } from "../support/database.ts";
import { eventOf } from "../support/event.ts";
import { pay, startNode } from "../support/node.ts";
import { scrape } from "../support/scrape.ts";
import { startScriptedDaraja } from "../support/scripted-daraja.ts";
import { watch } from "../support/watch.ts";

let databaseUrl: string;
beforeAll(async () => {
  const database = await createDatabase();
  databaseUrl = database.url;
  return database.drop;
});

const id = "0199f2c4-0000-7000-8000-000000000001";
const givenOf = (version: number, isPaid = false) => ({ id, version, isPaid });
const stateOf = (version: number, status: "processing" | "succeeded" = "processing") =>
  eventOf({ id, version, status });

describe("the watch over promises", () => {
  it("tells of a lower version after a higher, and of a success taken back, once each", () => {
    const told: Broken[] = [];
    const promises = watchPromises((broken) => told.push(broken));
    promises.onNext(givenOf(1), stateOf(2));
    promises.onNext(givenOf(2, true), stateOf(3, "succeeded"));
    promises.onEvent(stateOf(3, "succeeded"), { status: "succeeded" });
    promises.onEvent(stateOf(1));
    expect(told).toEqual([]);
    promises.onNext(givenOf(3), stateOf(2));
    promises.onNext(givenOf(3), stateOf(1));
    promises.onEvent(stateOf(4), { status: "succeeded" });
    promises.onNext(givenOf(4, true), stateOf(5));
    expect(told).toEqual([
      { promise: "version_lowered", id },
      { promise: "success_taken_back", id },
    ]);
  });
});

describe("a node", () => {
  it("counts and logs what it sees, once for each order, and is silent about orders that are as they should be", async () => {
    const daraja = await startScriptedDaraja();
    const node = await startNode({ databaseUrl, env: daraja.env });
    const start = async () => {
      const { order, watchToken: token } = await pay(node);
      const push = await daraja.nextPush();
      push.accept();
      const watching = watch("WebSocket", { node, orderId: order.orderId, token });
      await watching.until(({ version }) => version === 2);
      return { order, push, watching };
    };
    const [good, gap, back, lost] = [await start(), await start(), await start(), await start()];
    for (const { push } of [good, back]) await push.webhook();
    const count = async (promise: string) => (await scrape(node)).value("tukio_broken_promises_total", { promise });
    for (const promise of ["version_skipped", "success_taken_back", "check_missing", "version_lowered"]) {
      expect(await count(promise)).toBe(0);
    }
    const client = new pg.Client(databaseUrl);
    await client.connect();
    onTestFinished(() => client.end());
    await client.query("delete from event where order_uuid = $1 and version = 1", [gap.order.id]);
    await client.query(`update "order" set status = 'failed' where id = $1`, [back.order.id]);
    await client.query(
      "update payment set started_at = now() - interval '2 h', expires_at = now() - interval '1 h', check_at = null where id = $1",
      [lost.order.payment.id],
    );
    for (const promise of ["version_skipped", "success_taken_back", "check_missing"]) {
      expect([promise, await count(promise)]).toEqual([promise, 1]);
      expect([promise, await count(promise)]).toEqual([promise, 1]);
    }
    const lines = node.log
      .filter((line) => line.includes('"msg":"a promise is broken"'))
      .map((line) => JSON.parse(line));
    expect(lines.map(({ level, promise, order }) => [level, promise, order]).toSorted()).toEqual(
      [
        [50, "check_missing", lost.order.id],
        [50, "success_taken_back", back.order.id],
        [50, "version_skipped", gap.order.id],
      ].toSorted(),
    );
    // A watcher is told of a success that ends: the hub has seen both.
    const { seen } = good.watching;
    await good.watching.until(({ status }) => status === "succeeded");
    const last = seen.at(-1);
    if (!last) throw new Error("it saw something");
    node.publish({ ...last, version: last.version + 1, status: "failed" });
    await vi.waitUntil(async () => (await count("success_taken_back")) === 2);
  });
});
