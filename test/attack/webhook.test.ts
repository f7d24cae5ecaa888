/**
 * Somebody has learnt the address of one payment's webhooks, and with it the proof: what is stored stays bounded, the
 * provider is not hammered, others are served, and the first true word about the money counts.
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
  /** Posts to the payment's own address, and says what it was answered. */
  post(body: string): Promise<{ status: number; retryAfter: string | null }>;
  /** As Safaricom would: by default that it was paid. */
  tell(callback?: object): Promise<{ status: number; retryAfter: string | null }>;
  state(): Promise<StatusEvent>;
}

interface Ground {
  node: TestNode;
  proxy: TcpProxy;
  open(): Promise<Target>;
  /** What Safaricom answers from now on when it is asked. */
  answer: { query: string };
  /** How often it was asked. */
  queries(): number;
}

let references = 0;

async function start(env: Record<string, string> = {}): Promise<Ground> {
  const answer = { query: "query-open" };
  const script = await startScriptedProvider(({ path, body: { CheckoutRequestID: asked } }) => {
    if (path.startsWith("/oauth/")) return fixture("daraja", "token");
    if (path.includes("stkpushquery")) {
      return { body: { ...fixture("daraja", answer.query).body, CheckoutRequestID: asked } };
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
    const tell = (callback: object = success()) =>
      post(JSON.stringify({ Body: { stkCallback: { ...ids, ...callback } } }));
    // No schedule asks: only webhooks do.
    await database.pool.query("update payment set check_at = clock_timestamp() + interval '1 hour' where id = $1", [
      order.payment.id,
    ]);
    return { paymentId: order.payment.id, post, tell, state };
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

/** When the payment's provider is to be asked. */
async function checkOf({ paymentId }: Target): Promise<"soon" | "later"> {
  const { rows } = await database.pool.query<{ soon: boolean }>(
    "select check_at < clock_timestamp() + interval '2 seconds' as soon from payment where id = $1",
    [paymentId],
  );
  return rows[0]?.soon ? "soon" : "later";
}

/** How often each answer came to so many posts, 50 at a time. */
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

describe("a payment's address that is flooded", () => {
  it("with junk fills no table, and the first success after it is applied", async () => {
    const ground = await start();
    const target = await ground.open();
    const answers = await flood(300, (index) => target.post(`${index}${"x".repeat(30_000)}`));
    // 128 KiB.
    expect(answers).toEqual(
      new Map([
        [400, 4],
        [429, 296],
      ]),
    );
    expect(Number((await target.post("x".repeat(30_000))).retryAfter)).toBeGreaterThan(0);
    expect(await storedOf(target)).toMatchObject({ rows: 4 });
    expect(ground.queries()).toBeLessThanOrEqual(10);
    expect((await target.tell()).status).toBe(200);
    expect(await target.state()).toMatchObject({ status: "succeeded", payment: { amountPaidMinor: 15_000 } });
  });

  it("with repeats acknowledges them, before and after the payment is settled, and stores 5 of what changes nothing", async () => {
    const ground = await start();
    const target = await ground.open();
    const cancelled = { ResultCode: 1032 };
    await target.tell(cancelled);
    const answers = await flood(200, () => target.tell(cancelled));
    expect([...answers.keys()]).toEqual([200]);
    expect((await storedOf(target)).rows).toBe(5);
    // Money after a failure is new evidence.
    const paid = success();
    expect((await target.tell(paid)).status).toBe(200);
    expect(await target.state()).toMatchObject({ status: "succeeded", reason: "late" });
    expect([...(await flood(100, () => target.tell(paid))).keys()]).toEqual([200]);
    expect((await storedOf(target)).rows).toBe(6);
  });

  it("with forgeries that all differ makes us ask, and tells an honest sender to come again", async () => {
    const ground = await start();
    const target = await ground.open();
    // Of another request than ours, so that none is believed.
    const forge = (index: number) => target.tell({ ...success(), CheckoutRequestID: `ws_CO_forged_${index}` });
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
    expect(await other.tell()).toMatchObject({ status: 200 });
  });

  it("with so many forgeries that the true failure is refused is asked about", async () => {
    const ground = await start();
    const target = await ground.open();
    for (let index = 0; index < 8; index += 1) {
      await target.tell({ ...success(), CheckoutRequestID: `ws_CO_forged_${index}` });
    }
    // Nothing is due any more because of those.
    await vi.waitUntil(async () => (await checkOf(target)) === "later");
    ground.answer.query = "query-success";
    const refusal = await target.tell({ ResultCode: 1032 });
    expect([refusal.status, Number(refusal.retryAfter) > 0]).toEqual([429, true]);
    await vi.waitUntil(async () => (await target.state()).status === "succeeded", { timeout: 25_000 });
  });
});

/** A success of another amount than was agreed. */
const paidOf = (shillings: number): object => {
  const { CallbackMetadata, ...callback } = success() as { CallbackMetadata: { Item: { Name: string }[] } };
  const Item = CallbackMetadata.Item.map((one) => (one.Name === "Amount" ? { ...one, Value: shillings } : one));
  return { ...callback, CallbackMetadata: { Item } };
};

/** As many forgeries as there are different ones allowed, and one more. */
async function forgeAmounts({ tell }: Target, from = 1): Promise<number[]> {
  const answers: number[] = [];
  for (let more = 0; more < 9; more += 1) answers.push((await tell(paidOf(from + more))).status);
  return answers;
}

describe("the true success", () => {
  it("lifts the review that forged amounts led to, however many they were, and repeats store no more", async () => {
    const ground = await start();
    const target = await ground.open();
    expect(await forgeAmounts(target)).toEqual([...Array(8).fill(200), 429]);
    expect(await target.state()).toMatchObject({ status: "review", reason: "amount_mismatch" });
    // What differs from what was agreed takes no turn of the true one's.
    await flood(50, (index) => target.tell(paidOf(1_000 + index)));
    const paid = success();
    expect((await target.tell(paid)).status).toBe(200);
    expect(await target.state()).toMatchObject({ status: "succeeded", payment: { amountPaidMinor: 15_000 } });
    const { rows } = await storedOf(target);
    await flood(50, () => target.tell(success()));
    expect((await storedOf(target)).rows).toBe(rows);
    expect((await target.tell(paid)).status).toBe(200);
  });

  it("is let in after forgeries of other requests, and where it is larger than any provider's", async () => {
    const ground = await start();
    const target = await ground.open();
    await flood(9, (index) => target.tell({ ...success(), CheckoutRequestID: `ws_CO_forged_${index}` }));
    expect((await target.tell({ ...success(), ResultDesc: "x".repeat(20_000) })).status).toBe(200);
    expect(await target.state()).toMatchObject({ status: "succeeded" });
  });

  it("brings its receipt after the provider's bare answer, however many forgeries came first", async () => {
    const ground = await start();
    const target = await ground.open();
    ground.answer.query = "query-success";
    await flood(9, (index) => target.tell({ ...success(), CheckoutRequestID: `ws_CO_forged_${index}` }));
    await vi.waitUntil(async () => (await target.state()).status === "succeeded", { timeout: 25_000 });
    expect((await target.state()).payment.receipt).toBeUndefined();
    expect((await target.tell()).status).toBe(200);
    expect((await target.state()).payment).toMatchObject({ amountPaidMinor: 15_000, receipt: expect.any(String) });
  });

  it("with a receipt that paid another payment is not let in beyond the budget", async () => {
    const ground = await start();
    const [other, target] = [await ground.open(), await ground.open()];
    const used = success();
    const CheckoutRequestID = (
      await database.pool.query("select reference from payment where id = $1", [other.paymentId])
    ).rows[0].reference;
    await other.tell({ ...used, CheckoutRequestID });
    expect(await other.state()).toMatchObject({ status: "succeeded" });
    await forgeAmounts(target);
    expect((await target.tell(used)).status).toBe(429);
    // Nor does it keep the true one from its turn, however often it comes.
    const isLetIn = async (): Promise<boolean> => {
      await flood(5, () => target.tell(used));
      return (await target.tell()).status === 200;
    };
    await vi.waitUntil(isLetIn, { timeout: 25_000 });
    expect(await target.state()).toMatchObject({ status: "succeeded" });
  });

  it("that could not be weighed within the second is told to come again in one", async () => {
    const ground = await start();
    const target = await ground.open();
    await forgeAmounts(target);
    const other = { ...success(), CheckoutRequestID: undefined };
    const answers = await Promise.all(
      Array.from({ length: 8 }, () => target.tell({ ...other, CallbackMetadata: { Item: [] } })),
    );
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([429]));
    expect(answers.map(({ retryAfter }) => retryAfter)).toContain("1");
  });
});

describe("a flood of what cannot be read", () => {
  it("has the provider asked all the same", async () => {
    const ground = await start();
    const target = await ground.open();
    await flood(20, () => target.post("{"));
    await vi.waitUntil(async () => (await checkOf(target)) === "later");
    ground.answer.query = "query-success";
    expect((await target.post("{")).status).toBe(429);
    await vi.waitUntil(async () => (await target.state()).status === "succeeded", { timeout: 25_000 });
  });
});

describe("a payment's address that is flooded while the database is away", () => {
  it("keeps its true success after forged amounts, and the review is lifted", async () => {
    const ground = await start({ SPOOL: "on", SPOOL_MAX_MB: "1" });
    const target = await ground.open();
    await forgeAmounts(target);
    ground.proxy.cut();
    // It finds out itself that the database is away, and nobody can weigh it.
    expect((await target.tell()).status).toBe(200);
    ground.proxy.restore();
    await vi.waitUntil(async () => (await target.state().catch(() => undefined))?.status === "succeeded", {
      timeout: 25_000,
    });
  });

  it("keeps its true success after forged amounts that came meanwhile, too", async () => {
    const ground = await start({ SPOOL: "on", SPOOL_MAX_MB: "1" });
    const target = await ground.open();
    ground.proxy.cut();
    expect(await forgeAmounts(target)).toEqual(Array(9).fill(200));
    // Of other requests, so large that they fill all but what successes alone may have.
    await flood(40, (index) =>
      target.tell({ ResultCode: 1, CheckoutRequestID: `ws_CO_${index}`, ResultDesc: "x".repeat(15_000) }),
    );
    expect((await target.tell()).status).toBe(200);
    ground.proxy.restore();
    await vi.waitUntil(async () => (await target.state().catch(() => undefined))?.status === "succeeded", {
      timeout: 25_000,
    });
  });

  it("has the provider asked when the database is back", async () => {
    const ground = await start({ SPOOL: "off" });
    const target = await ground.open();
    await flood(20, () => target.post("{"));
    await vi.waitUntil(async () => (await checkOf(target)) === "later");
    ground.answer.query = "query-success";
    ground.proxy.cut();
    const failures = { ResultCode: 1032 };
    expect((await target.tell(failures)).status).toBe(503);
    expect((await target.post("{")).status).toBe(429);
    ground.proxy.restore();
    await vi.waitUntil(async () => (await target.state().catch(() => undefined))?.status === "succeeded", {
      timeout: 25_000,
    });
  });

  it("leaves room in the spool for others, and for the first success of its own", async () => {
    const ground = await start({ SPOOL: "on", SPOOL_MAX_MB: "1" });
    const [target, other] = [await ground.open(), await ground.open()];
    ground.proxy.cut();
    // The first finds out that the database is away.
    expect((await other.post("{")).status).toBe(400);
    const answers = await flood(300, (index) => target.post(`${index}${"x".repeat(60_000)}`));
    expect(answers).toEqual(
      new Map([
        [400, 2],
        [429, 298],
      ]),
    );
    await flood(100, (index) =>
      target.tell({ ResultCode: 1, CheckoutRequestID: `ws_CO_${index}`, ResultDesc: "x".repeat(9_000) }),
    );
    expect((await other.tell()).status).toBe(200);
    expect((await target.tell()).status).toBe(200);
    ground.proxy.restore();
    for (const one of [other, target]) {
      await vi.waitUntil(async () => (await one.state().catch(() => undefined))?.status === "succeeded", {
        timeout: 25_000,
      });
    }
  });

  it("applies its own first success after junk", async () => {
    const ground = await start({ SPOOL: "on", SPOOL_MAX_MB: "1" });
    const target = await ground.open();
    ground.proxy.cut();
    await flood(300, (index) => target.post(`${index}${"x".repeat(60_000)}`));
    expect((await target.tell()).status).toBe(200);
    ground.proxy.restore();
    await vi.waitUntil(async () => (await target.state().catch(() => undefined))?.status === "succeeded", {
      timeout: 25_000,
    });
    expect((await storedOf(target)).rows).toBe(3);
  });
});
