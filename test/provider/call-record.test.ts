/** The counts of calls that all nodes share, and when calls to a provider fail. */
import { describe, expect, it, onTestFinished } from "vitest";
import { openDatabase } from "../../server/database/pool.ts";
import { type CallRecord, createCallRecord, twoDigits } from "../../server/provider/call-record.ts";
import type { FinishedCall } from "../../server/provider/call-stats.ts";
import { createDatabase } from "../support/database.ts";
import { connect } from "../support/delivery.ts";
import { startTcpProxy } from "../support/tcp-proxy.ts";

interface Node {
  record: CallRecord;
  failing: string[];
  add(count: number, call?: Partial<FinishedCall>): void;
}

async function newDatabase(): Promise<string> {
  const { url, drop } = await createDatabase();
  onTestFinished(drop);
  return url;
}

function open(url: string, nowMs?: () => number): Node {
  const database = openDatabase(url, () => undefined);
  const failing: string[] = [];
  const record = createCallRecord({
    pool: database.pool,
    onFailing: (provider) => failing.push(provider),
    onError: () => undefined,
    onRecovered: () => undefined,
    ...(nowMs && { nowMs }),
  });
  onTestFinished(async () => {
    await record.close();
    await database.close();
  });
  const add: Node["add"] = (count, call = {}) => {
    for (let n = 0; n < count; n += 1) {
      record.add({ provider: "daraja", verb: "initiate", outcome: "answered", tookMs: 100, ...call });
    }
  };
  return { record, failing, add };
}

const initiated = async ({ record }: Node, provider = "daraja") => (await record.recent())(provider).initiate;

/** Moves all counted calls into the past. */
async function pass(url: string, minutes: number): Promise<void> {
  const client = await connect(url);
  await client.query("update provider_call set minute = minute - $1 * interval '1 minute'", [minutes]);
}

describe("the record of calls", () => {
  it("adds up the calls of two nodes, by verb and provider, and counts only failures as errors", async () => {
    const url = await newDatabase();
    const [one, other] = [open(url), open(url)];
    one.add(60, { tookMs: 100 });
    one.add(1, { verb: "token", outcome: "declined", tookMs: 7.6 });
    other.add(39, { tookMs: 204 });
    other.add(1, { outcome: "failed", tookMs: 30_400 });
    other.add(2, { provider: "mtn" });
    await Promise.all([one.record.recent(), other.record.recent()]);
    const none = { count: 0, errors: 0, p50Ms: null, p99Ms: null };
    for (const { record } of [one, other]) {
      expect((await record.recent())("daraja")).toEqual({
        initiate: { count: 100, errors: 1, p50Ms: 100, p99Ms: 200 },
        complete: none,
        confirm: none,
        token: { count: 1, errors: 0, p50Ms: 8, p99Ms: 8 },
      });
    }
    expect(await initiated(one, "mtn")).toMatchObject({ count: 2 });
    await other.record.close();
    expect(await initiated(one)).toMatchObject({ count: 100 });
  });

  it("covers 15 minutes, and keeps the counts for an hour", async () => {
    const url = await newDatabase();
    const node = open(url);
    node.add(1);
    await node.record.recent();
    await pass(url, 13);
    expect(await initiated(node)).toMatchObject({ count: 1 });
    await pass(url, 3);
    expect(await initiated(node)).toMatchObject({ count: 0 });
    await pass(url, 46);
    node.add(1);
    await node.record.recent();
    expect((await (await connect(url)).query("select calls from provider_call")).rows).toEqual([{ calls: 1 }]);
  });

  it("keeps calls while PostgreSQL is away, adds them once when it is back, and forgets them after 15 minutes", async () => {
    const proxy = await startTcpProxy(await newDatabase());
    const clock = { nowMs: 0 };
    const node = open(proxy.url, () => clock.nowMs);
    const outage = async (ms: number): Promise<void> => {
      proxy.cut();
      node.add(3);
      await expect(node.record.recent()).rejects.toMatchObject({ code: "store_unavailable" });
      node.add(2);
      clock.nowMs += ms;
      await expect(node.record.recent()).rejects.toMatchObject({ code: "store_unavailable" });
      proxy.restore();
    };
    await outage(900_000);
    expect(await initiated(node)).toMatchObject({ count: 5 });
    await outage(900_001);
    node.add(1);
    expect(await initiated(node)).toMatchObject({ count: 6 });
  });

  it("rounds durations to two digits, so that their number is bounded", () => {
    expect([0.2, 7.6, 99.6, 104, 996, 1_250, 30_499].map(twoDigits)).toEqual([0, 8, 100, 100, 1_000, 1_300, 30_000]);
    expect(new Set(Array.from({ length: 100_001 }, (_, ms) => twoDigits(ms))).size).toBe(371);
  });
});

describe("a provider is failing", () => {
  it("when ten calls of all nodes, and half of them, failed", async () => {
    const url = await newDatabase();
    const [one, other] = [open(url), open(url)];
    one.add(9, { outcome: "failed" });
    one.add(10);
    one.add(50, { provider: "mtn", outcome: "failed" });
    await one.record.recent();
    expect([one.failing, other.failing]).toEqual([["mtn"], []]);
    other.add(1, { outcome: "failed" });
    await other.record.recent();
    expect([one.failing, other.failing]).toEqual([["mtn"], ["daraja"]]);
  });

  it("not by refusals of payers, answers without evidence, or fewer failures than answers", async () => {
    const node = open(await newDatabase());
    node.add(50, { outcome: "declined" });
    node.add(50, { outcome: "nothing" });
    node.add(99, { outcome: "failed" });
    await node.record.recent();
    expect(node.failing).toEqual([]);
  });

  it("by the newest minutes with 20 calls, and not by those before", async () => {
    const url = await newDatabase();
    const node = open(url);
    node.add(500);
    await node.record.recent();
    await pass(url, 5);
    node.add(20, { outcome: "failed" });
    await node.record.recent();
    expect(node.failing).toEqual(["daraja"]);
    await pass(url, 5);
    node.add(19);
    node.add(1, { outcome: "failed" });
    await node.record.recent();
    expect(node.failing).toEqual(["daraja"]);
  });

  it("also if its calls are few in an hour", async () => {
    const url = await newDatabase();
    const node = open(url);
    for (let n = 0; n < 10; n += 1) {
      expect(node.failing).toEqual([]);
      await pass(url, 5);
      node.add(1, { outcome: "failed" });
      await node.record.recent();
    }
    expect(node.failing).toEqual(["daraja"]);
  });
});
