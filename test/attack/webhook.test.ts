/**
 * An attacker knows the URL of one payment's webhooks, and with it the proof. The node stores a bounded amount, sends a bounded
 * number of queries, serves other payments, and applies the first true success.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import type { StatusEvent } from "../../client-sdk/protocol.ts";
import { type Database, openDatabase } from "../../server/database/pool.ts";
import { createDatabase } from "../support/database.ts";
import { asMerchant, pay, startNode, type TestNode } from "../support/node.ts";
import { fixture } from "../support/sandbox.ts";
import { darajaEnv, success } from "../support/scripted-daraja.ts";
import { startScriptedProvider } from "../support/scripted-provider.ts";
import { startTcpProxy, type TcpProxy } from "../support/tcp-proxy.ts";

let databaseUrl: string;
let database: Database;
beforeAll(async () => {
  const { url, drop } = await createDatabase();
  databaseUrl = url;
  database = openDatabase(url, () => undefined);
  return async () => {
    await database.close();
    await drop();
  };
});

interface Target {
  paymentId: string;
  /** Posts to the payment's own URL. */
  post(body: string): Promise<{ status: number; retryAfter: string | null }>;
  /** Posts a callback in Safaricom's form; a success by default. */
  postCallback(callback?: object): Promise<{ status: number; retryAfter: string | null }>;
  state(): Promise<StatusEvent>;
}

interface Ground {
  node: TestNode;
  proxy: TcpProxy;
  open(): Promise<Target>;
  /** The fixture that Safaricom answers to queries. */
  answer: { query: string };
  /** The number of queries so far. */
  queries(): number;
}

let references = 0;

async function start(env: Record<string, string> = {}): Promise<Ground> {
  const answer = { query: "query-open" };
  const script = await startScriptedProvider(({ path, body: { CheckoutRequestID: queried } }) => {
    if (path.startsWith("/oauth/")) return fixture("daraja", "token");
    if (path.includes("stkpushquery")) {
      return { body: { ...fixture("daraja", answer.query).body, CheckoutRequestID: queried } };
    }
    references += 1;
    const CheckoutRequestID = `ws_CO_${process.pid}_F${references}`;
    return { body: { ...fixture("daraja", "push-accepted").body, CheckoutRequestID } };
  });
  const proxy = await startTcpProxy(databaseUrl);
  const dataDir = await mkdtemp(join(tmpdir(), "tukio-"));
  onTestFinished(() => rm(dataDir, { recursive: true, force: true }));
  const node = await startNode({
    databaseUrl: proxy.url,
    env: { ...darajaEnv(script.url), DATA_DIR: dataDir, ...env },
  });

  const open = async (): Promise<Target> => {
    const { order } = await pay(node);
    const state = async () => (await asMerchant(node, `/v1/orders/${order.orderId}`)).body.order;
    await vi.waitUntil(async () => (await state()).status === "processing");
    const push = script.calls.filter(({ path }) => path.includes("processrequest")).at(-1);
    const post = async (body: string) => {
      const { status, headers } = await fetch(String(push?.body.CallBackURL), { method: "POST", body });
      return { status, retryAfter: headers.get("retry-after") };
    };
    const ids = { MerchantRequestID: "1-2-3", CheckoutRequestID: `ws_CO_${process.pid}_F${references}` };
    const postCallback = (callback: object = success()) =>
      post(JSON.stringify({ Body: { stkCallback: { ...ids, ...callback } } }));
    // The schedule must not check the payment, so that only webhooks do.
    await database.pool.query("update payment set check_at = clock_timestamp() + interval '1 hour' where id = $1", [
      order.payment.id,
    ]);
    return { paymentId: order.payment.id, post, postCallback, state };
  };
  const queries = (): number => script.calls.filter(({ path }) => path.includes("stkpushquery")).length;
  return { node, proxy, open, answer, queries };
}

const storedOf = async ({ paymentId }: Target): Promise<{ rows: number; bytes: number }> => {
  const { rows } = await database.pool.query<{ rows: number; bytes: number }>(
    "select count(*)::int as rows, coalesce(sum(length(body)), 0)::int as bytes from webhook where payment_id = $1",
    [paymentId],
  );
  return rows[0] ?? expect.unreachable();
};

/** When the payment is due. */
async function checkOf({ paymentId }: Target): Promise<"soon" | "later"> {
  const { rows } = await database.pool.query<{ soon: boolean }>(
    "select check_at < clock_timestamp() + interval '2 seconds' as soon from payment where id = $1",
    [paymentId],
  );
  return rows[0]?.soon ? "soon" : "later";
}

/** Posts `count` times, 50 at once. Returns how often each status was answered. */
async function flood(
  count: number,
  post: (index: number) => Promise<{ status: number }>,
): Promise<Map<number, number>> {
  const answers = new Map<number, number>();
  for (let index = 0; index < count; index += 50) {
    const some = Array.from({ length: Math.min(50, count - index) }, (_, more) => post(index + more));
    for (const { status } of await Promise.all(some)) answers.set(status, (answers.get(status) ?? 0) + 1);
  }
  return answers;
}

describe("webhook URL that is flooded", () => {
  it("stores only 128 KiB of junk, and applies the first success after it (G12)", async () => {
    const ground = await start();
    const target = await ground.open();
    const answers = await flood(300, (index) => target.post(`${index}${"x".repeat(30_000)}`));
    expect(answers).toEqual(
      new Map([
        [400, 4],
        [429, 296],
      ]),
    );
    expect(Number((await target.post("x".repeat(30_000))).retryAfter)).toBeGreaterThan(0);
    expect(await storedOf(target)).toMatchObject({ rows: 4 });
    expect(ground.queries()).toBeLessThanOrEqual(10);
    expect((await target.postCallback()).status).toBe(200);
    expect(await target.state()).toMatchObject({ status: "succeeded", payment: { amountPaidMinor: 15_000 } });
  });

  it("acknowledges repeats before and after the payment is settled, and stores 5 of them (G12)", async () => {
    const ground = await start();
    const target = await ground.open();
    const cancelled = { ResultCode: 1032 };
    await target.postCallback(cancelled);
    const answers = await flood(200, () => target.postCallback(cancelled));
    expect([...answers.keys()]).toEqual([200]);
    expect((await storedOf(target)).rows).toBe(5);
    // A success after a failure is new evidence.
    const paid = success();
    expect((await target.postCallback(paid)).status).toBe(200);
    expect(await target.state()).toMatchObject({ status: "succeeded", reason: "late" });
    expect([...(await flood(100, () => target.postCallback(paid))).keys()]).toEqual([200]);
    expect((await storedOf(target)).rows).toBe(6);
  });

  it("stores 8 different forgeries, checks the payment, and serves other payments (G12)", async () => {
    const ground = await start();
    const target = await ground.open();
    // They name another request, so none is applied.
    const forge = (index: number) => target.postCallback({ ...success(), CheckoutRequestID: `ws_CO_forged_${index}` });
    const answers = await flood(100, forge);
    expect(answers).toEqual(
      new Map([
        [200, 8],
        [429, 92],
      ]),
    );
    expect(await storedOf(target)).toMatchObject({ rows: 8 });
    expect(ground.queries()).toBeLessThanOrEqual(15);
    expect(await target.state()).toMatchObject({ status: "processing" });
    const other = await ground.open();
    expect(await other.postCallback()).toMatchObject({ status: 200 });
  });

  it("checks the payment when forgeries have used up the room for the true failure", async () => {
    const ground = await start();
    const target = await ground.open();
    for (let index = 0; index < 8; index += 1) {
      await target.postCallback({ ...success(), CheckoutRequestID: `ws_CO_forged_${index}` });
    }
    // The checks because of the forgeries are over.
    await vi.waitUntil(async () => (await checkOf(target)) === "later");
    ground.answer.query = "query-success";
    const refusal = await target.postCallback({ ResultCode: 1032 });
    expect([refusal.status, Number(refusal.retryAfter) > 0]).toEqual([429, true]);
    await vi.waitUntil(async () => (await target.state()).status === "succeeded", { timeout: 25_000 });
  });
});

/** A success with this amount. */
const successOf = (shillings: number): object => {
  const { CallbackMetadata, ...callback } = success() as { CallbackMetadata: { Item: { Name: string }[] } };
  const Item = CallbackMetadata.Item.map((one) => (one.Name === "Amount" ? { ...one, Value: shillings } : one));
  return { ...callback, CallbackMetadata: { Item } };
};

/** Posts nine different forgeries, one more than the budget admits. Returns the statuses. */
async function forgeAmounts({ postCallback }: Target, from = 1): Promise<number[]> {
  const answers: number[] = [];
  for (let more = 0; more < 9; more += 1) answers.push((await postCallback(successOf(from + more))).status);
  return answers;
}

describe("true success after a flood", () => {
  it("resolves the review that forged amounts caused, and its repeats store nothing more (G12)", async () => {
    const ground = await start();
    const target = await ground.open();
    expect(await forgeAmounts(target)).toEqual([...Array(8).fill(200), 429]);
    expect(await target.state()).toMatchObject({ status: "review", reason: "amount_mismatch" });
    // A success that contradicts the agreed terms does not delay the true one.
    await flood(50, (index) => target.postCallback(successOf(1_000 + index)));
    const paid = success();
    expect((await target.postCallback(paid)).status).toBe(200);
    expect(await target.state()).toMatchObject({ status: "succeeded", payment: { amountPaidMinor: 15_000 } });
    const { rows } = await storedOf(target);
    await flood(50, () => target.postCallback(success()));
    expect((await storedOf(target)).rows).toBe(rows);
    expect((await target.postCallback(paid)).status).toBe(200);
  });

  it("is applied after forgeries of other requests, also when it is unusually large", async () => {
    const ground = await start();
    const target = await ground.open();
    await flood(9, (index) => target.postCallback({ ...success(), CheckoutRequestID: `ws_CO_forged_${index}` }));
    expect((await target.postCallback({ ...success(), ResultDesc: "x".repeat(20_000) })).status).toBe(200);
    expect(await target.state()).toMatchObject({ status: "succeeded" });
  });

  it("adds its receipt to the provider's bare answer", async () => {
    const ground = await start();
    const target = await ground.open();
    ground.answer.query = "query-success";
    await flood(9, (index) => target.postCallback({ ...success(), CheckoutRequestID: `ws_CO_forged_${index}` }));
    await vi.waitUntil(async () => (await target.state()).status === "succeeded", { timeout: 25_000 });
    expect((await target.state()).payment.receipt).toBeUndefined();
    expect((await target.postCallback()).status).toBe(200);
    expect((await target.state()).payment).toMatchObject({ amountPaidMinor: 15_000, receipt: expect.any(String) });
  });

  it("is not delayed by successes with another payment's receipt, which are refused", async () => {
    const ground = await start();
    const [other, target] = [await ground.open(), await ground.open()];
    const used = success();
    const CheckoutRequestID = (
      await database.pool.query("select reference from payment where id = $1", [other.paymentId])
    ).rows[0].reference;
    await other.postCallback({ ...used, CheckoutRequestID });
    expect(await other.state()).toMatchObject({ status: "succeeded" });
    await forgeAmounts(target);
    expect((await target.postCallback(used)).status).toBe(429);
    // The refused success does not delay the true one, however often it comes.
    const isAccepted = async (): Promise<boolean> => {
      await flood(5, () => target.postCallback(used));
      return (await target.postCallback()).status === 200;
    };
    await vi.waitUntil(isAccepted, { timeout: 25_000 });
    expect(await target.state()).toMatchObject({ status: "succeeded" });
  });

  it("gets 429 with 1 s when another success was checked within the second", async () => {
    const ground = await start();
    const target = await ground.open();
    await forgeAmounts(target);
    const other = { ...success(), CheckoutRequestID: undefined };
    const answers = await Promise.all(
      Array.from({ length: 8 }, () => target.postCallback({ ...other, CallbackMetadata: { Item: [] } })),
    );
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([429]));
    expect(answers.map(({ retryAfter }) => retryAfter)).toContain("1");
  });
});

describe("flood of unreadable webhooks", () => {
  it("makes the node check the payment", async () => {
    const ground = await start();
    const target = await ground.open();
    await flood(20, () => target.post("{"));
    await vi.waitUntil(async () => (await checkOf(target)) === "later");
    ground.answer.query = "query-success";
    expect((await target.post("{")).status).toBe(429);
    await vi.waitUntil(async () => (await target.state()).status === "succeeded", { timeout: 25_000 });
  });
});

describe("webhook URL that is flooded while PostgreSQL is away", () => {
  it("spools the true success after forged amounts, and resolves the review", async () => {
    const ground = await start({ SPOOL: "on", SPOOL_MAX_MB: "1" });
    const target = await ground.open();
    await forgeAmounts(target);
    ground.proxy.cut();
    // This webhook detects the outage, so PostgreSQL cannot check it.
    expect((await target.postCallback()).status).toBe(200);
    ground.proxy.restore();
    await vi.waitUntil(async () => (await target.state().catch(() => undefined))?.status === "succeeded", {
      timeout: 25_000,
    });
  });

  it("spools the true success after forged amounts that came during the outage", async () => {
    const ground = await start({ SPOOL: "on", SPOOL_MAX_MB: "1" });
    const target = await ground.open();
    ground.proxy.cut();
    expect(await forgeAmounts(target)).toEqual(Array(9).fill(200));
    // They name other requests, and fill the part of the payment's share that is not for successes.
    await flood(40, (index) =>
      target.postCallback({ ResultCode: 1, CheckoutRequestID: `ws_CO_${index}`, ResultDesc: "x".repeat(15_000) }),
    );
    expect((await target.postCallback()).status).toBe(200);
    ground.proxy.restore();
    await vi.waitUntil(async () => (await target.state().catch(() => undefined))?.status === "succeeded", {
      timeout: 25_000,
    });
  });

  it("checks the payment when PostgreSQL is back", async () => {
    const ground = await start({ SPOOL: "off" });
    const target = await ground.open();
    await flood(20, () => target.post("{"));
    await vi.waitUntil(async () => (await checkOf(target)) === "later");
    ground.answer.query = "query-success";
    ground.proxy.cut();
    const failures = { ResultCode: 1032 };
    expect((await target.postCallback(failures)).status).toBe(503);
    expect((await target.post("{")).status).toBe(429);
    ground.proxy.restore();
    await vi.waitUntil(async () => (await target.state().catch(() => undefined))?.status === "succeeded", {
      timeout: 25_000,
    });
  });

  it("leaves room in the spool for other payments and for its own success (G12)", async () => {
    const ground = await start({ SPOOL: "on", SPOOL_MAX_MB: "1" });
    const [target, other] = [await ground.open(), await ground.open()];
    ground.proxy.cut();
    // The first webhook detects the outage.
    expect((await other.post("{")).status).toBe(400);
    const answers = await flood(300, (index) => target.post(`${index}${"x".repeat(60_000)}`));
    expect(answers).toEqual(
      new Map([
        [400, 2],
        [429, 298],
      ]),
    );
    await flood(100, (index) =>
      target.postCallback({ ResultCode: 1, CheckoutRequestID: `ws_CO_${index}`, ResultDesc: "x".repeat(9_000) }),
    );
    expect((await other.postCallback()).status).toBe(200);
    expect((await target.postCallback()).status).toBe(200);
    ground.proxy.restore();
    for (const one of [other, target]) {
      await vi.waitUntil(async () => (await one.state().catch(() => undefined))?.status === "succeeded", {
        timeout: 25_000,
      });
    }
  });

  it("applies the first success after junk", async () => {
    const ground = await start({ SPOOL: "on", SPOOL_MAX_MB: "1" });
    const target = await ground.open();
    ground.proxy.cut();
    await flood(300, (index) => target.post(`${index}${"x".repeat(60_000)}`));
    expect((await target.postCallback()).status).toBe(200);
    ground.proxy.restore();
    await vi.waitUntil(async () => (await target.state().catch(() => undefined))?.status === "succeeded", {
      timeout: 25_000,
    });
    expect((await storedOf(target)).rows).toBe(3);
  });
});
