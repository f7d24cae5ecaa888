/** Invariants, each violated by hand, because the code does not. */
import pg from "pg";
import { beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { createInvariants, type Violation } from "../../server/status/invariants.ts";
import { createDatabase } from "../support/database.ts";
import { eventOf } from "../support/event.ts";
import { pay, startNode, type TestNode } from "../support/node.ts";
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
const deliveredOf = (version: number, isPaid = false) => ({ id, epoch: 0, version, isPaid });
const stateOf = (version: number, status: "processing" | "succeeded" = "processing") =>
  eventOf({ id, version, status });

/** Invariants whose check in the database is `findViolations`, and what they reported and logged. */
function open(findViolations: () => Promise<readonly Violation[]> = async () => []) {
  const reported: Violation[] = [];
  const events: unknown[] = [];
  const write = (line: object): void => void events.push("event" in line && line.event);
  const invariants = createInvariants({
    findViolations,
    onViolation: (violation) => reported.push(violation),
    log: { info: write, warn: write, error: write },
    checkMs: 5,
  });
  onTestFinished(invariants.close);
  return { invariants, reported, events };
}

describe("invariants", () => {
  it("report a success that is taken back (G2) and a lower version after a higher one (G5), once each", () => {
    const { invariants, reported, events } = open();
    invariants.onNext(deliveredOf(1), stateOf(2));
    invariants.onNext(deliveredOf(2, true), stateOf(3, "succeeded"));
    invariants.onEvent(stateOf(3, "succeeded"), { status: "succeeded" });
    invariants.onEvent(stateOf(1));
    expect(reported).toEqual([]);
    invariants.onNext(deliveredOf(3), stateOf(2));
    invariants.onNext(deliveredOf(3), stateOf(1));
    invariants.onEvent(stateOf(4), { status: "succeeded" });
    invariants.onNext(deliveredOf(4, true), stateOf(5));
    expect(reported).toEqual([
      { invariant: "version_lowered", id },
      { invariant: "success_taken_back", id },
    ]);
    expect(events).toEqual(["invariant.violated", "invariant.violated"]);
  });

  it("are checked in the database again and again, until they are closed", async () => {
    vi.useFakeTimers();
    onTestFinished(() => void vi.useRealTimers());
    let checks = 0;
    const { invariants, reported } = open(async () => {
      checks += 1;
      return [{ invariant: "version_skipped", id }];
    });
    await vi.advanceTimersByTimeAsync(50);
    expect(checks).toBeGreaterThanOrEqual(3);
    expect(reported).toEqual([{ invariant: "version_skipped", id }]);
    await invariants.close();
    expect(vi.getTimerCount()).toBe(0);
  });

  it("log one line for a check that keeps failing, and one when it works again", async () => {
    let checks = 0;
    const { events } = open(async () => {
      checks += 1;
      if (checks <= 3) throw new Error("no database");
      return [];
    });
    await vi.waitUntil(() => checks >= 5);
    expect(events).toEqual(["invariant.check.failed", "invariant.check.recovered"]);
  });
});

const counted = async (node: TestNode, invariant: string): Promise<number | undefined> =>
  (await scrape(node)).value("tukio_invariant_violations_total", { invariant });

const planted = ["version_skipped", "success_taken_back", "check_missing"];

/** A node with four orders that are watched: the first stays as it is, the others are to violate an invariant each. */
async function start(checkMs: number) {
  const daraja = await startScriptedDaraja();
  const node = await startNode({ databaseUrl, env: daraja.env, checkMs });
  const payOne = async () => {
    const { order, watchToken: token } = await pay(node);
    const push = await daraja.nextPush();
    push.accept();
    const watching = watch("WebSocket", { node, orderId: order.orderId, token });
    await watching.until(({ version }) => version === 2);
    return { order, push, watching };
  };
  const [good, gap, back, lost] = [await payOne(), await payOne(), await payOne(), await payOne()];
  for (const { push } of [good, back]) await push.webhook();
  const plant = async (): Promise<void> => {
    const client = new pg.Client(databaseUrl);
    await client.connect();
    onTestFinished(() => client.end());
    await client.query("delete from event where order_uuid = $1 and version = 1", [gap.order.id]);
    await client.query(`update "order" set status = 'failed' where id = $1`, [back.order.id]);
    await client.query(
      "update payment set started_at = now() - interval '2 h', expires_at = now() - interval '1 h', check_at = null where id = $1",
      [lost.order.payment.id],
    );
  };
  return { node, good, gap, back, lost, plant };
}

describe("a node", () => {
  it("counts and logs each violation once for each order, and reports no other order", async () => {
    const { node, good, gap, back, lost, plant } = await start(20);
    for (const invariant of [...planted, "version_lowered"]) expect(await counted(node, invariant)).toBe(0);
    await plant();
    for (const invariant of planted) await vi.waitUntil(async () => (await counted(node, invariant)) === 1);
    const lines = node.log.map((line) => JSON.parse(line)).filter(({ event }) => event === "invariant.violated");
    expect(lines.map(({ level, invariant, order }) => [level, invariant, order]).toSorted()).toEqual(
      [
        [50, "check_missing", lost.order.id],
        [50, "success_taken_back", back.order.id],
        [50, "version_skipped", gap.order.id],
      ].toSorted(),
    );
    // A watcher is given a success, and then another status: the hub sees both.
    const { seen } = good.watching;
    await good.watching.until(({ status }) => status === "succeeded");
    const last = seen.at(-1);
    if (!last) throw new Error("it saw something");
    node.publish({ ...last, version: last.version + 1, status: "failed" });
    await vi.waitUntil(async () => (await counted(node, "success_taken_back")) === 2);
  });

  it("runs no check in the database for a scrape", async () => {
    const { node, plant } = await start(3_600_000);
    await plant();
    for (const invariant of planted) expect([invariant, await counted(node, invariant)]).toEqual([invariant, 0]);
  });
});
