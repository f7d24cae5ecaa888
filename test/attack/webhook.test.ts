/**
 * Somebody has learnt the address of one payment's webhooks, and with it the proof: what is stored stays bounded, the
 * provider is not hammered, others are served, and the first true word about the money counts.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import type { StatusEvent } from "../../client-sdk/protocol.ts";
import { type Database, openDatabase } from "../../server/order/database.ts";
import { createDatabase } from "../support/database.ts";
import { asMerchant, pay, startNode, type TestNode } from "../support/node.ts";
import { fixture } from "../support/sandbox.ts";
import { startScript } from "../support/script.ts";
import { darajaEnv, success } from "../support/scripted-daraja.ts";
import { startWire, type Wire } from "../support/wire.ts";

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
  wire: Wire;
  open(): Promise<Target>;
  /** What Safaricom answers from now on when it is asked. */
  answer: { query: string };
  /** How often it was asked. */
  queries(): number;
}

let references = 0;

async function start(env: Record<string, string> = {}): Promise<Ground> {
  const answer = { query: "query-open" };
  const script = await startScript(({ path, body: { CheckoutRequestID: asked } }) => {
    if (path.startsWith("/oauth/")) return fixture("daraja", "token");
    if (path.includes("stkpushquery")) {
      return { body: { ...fixture("daraja", answer.query).body, CheckoutRequestID: asked } };
    }
    references += 1;
    const CheckoutRequestID = `ws_CO_${process.pid}_F${references}`;
    return { body: { ...fixture("daraja", "push-accepted").body, CheckoutRequestID } };
  });
  const wire = await startWire(databaseUrl);
  const dataDir = await mkdtemp(join(tmpdir(), "tukio-"));
  onTestFinished(() => rm(dataDir, { recursive: true, force: true }));
  const node = await startNode({ databaseUrl: wire.url, env: { ...darajaEnv(script.url), DATA_DIR: dataDir, ...env } });

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
  return { node, wire, open, answer, queries };
}

const storedOf = async ({ paymentId }: Target): Promise<{ rows: number; bytes: number }> => {
  const { rows } = await database.pool.query<{ rows: number; bytes: number }>(
    "select count(*)::int as rows, coalesce(sum(length(body)), 0)::int as bytes from webhook where payment_id = $1",
    [paymentId],
  );
  return rows[0] ?? expect.unreachable();
};

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
    expect(ground.queries()).toBeLessThanOrEqual(4);
    expect((await target.tell()).status).toBe(200);
    expect(await target.state()).toMatchObject({ status: "succeeded", payment: { amountPaidMinor: 15_000 } });
  });

  it("with repeats acknowledges them, before and after the payment is settled, and stores 20", async () => {
    const ground = await start();
    const target = await ground.open();
    const cancelled = { ResultCode: 1032 };
    await target.tell(cancelled);
    const answers = await flood(200, () => target.tell(cancelled));
    expect([...answers.keys()]).toEqual([200]);
    expect((await storedOf(target)).rows).toBeLessThanOrEqual(20);
    // Money after a failure is new evidence.
    const paid = success();
    expect((await target.tell(paid)).status).toBe(200);
    expect(await target.state()).toMatchObject({ status: "succeeded", reason: "late" });
    expect([...(await flood(100, () => target.tell(paid))).keys()]).toEqual([200]);
    expect((await storedOf(target)).rows).toBeLessThanOrEqual(21);
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
    expect(ground.queries()).toBeLessThanOrEqual(9);
    expect(await target.state()).toMatchObject({ status: "processing" });
    const other = await ground.open();
    expect(await other.tell()).toMatchObject({ status: 200 });
  });

  it("with so many forgeries that the true one is refused is asked about, and paid", async () => {
    const ground = await start();
    const target = await ground.open();
    for (let index = 0; index < 8; index += 1) {
      await target.tell({ ...success(), CheckoutRequestID: `ws_CO_forged_${index}` });
    }
    // Nothing is due any more because of those.
    await vi.waitUntil(async () => {
      const { rows } = await database.pool.query<{ due: boolean }>(
        "select check_at < clock_timestamp() + interval '2 seconds' as due from payment where id = $1",
        [target.paymentId],
      );
      return rows[0]?.due === false;
    });
    ground.answer.query = "query-success";
    const refusal = await target.tell();
    expect([refusal.status, Number(refusal.retryAfter) > 0]).toEqual([429, true]);
    await vi.waitUntil(async () => (await target.state()).status === "succeeded", { timeout: 10_000 });
  });
});

describe("a payment's address that is flooded while the database is away", () => {
  it("leaves room in the spool for others, and for the first success of its own", async () => {
    const ground = await start({ SPOOL: "on", SPOOL_MAX_MB: "1" });
    const [target, other] = [await ground.open(), await ground.open()];
    ground.wire.cut();
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
      target.tell({ ResultCode: 1, CheckoutRequestID: `ws_CO_${index}${"x".repeat(9_000)}` }),
    );
    expect((await other.tell()).status).toBe(200);
    ground.wire.mend();
    await vi.waitUntil(async () => (await other.state().catch(() => undefined))?.status === "succeeded", {
      timeout: 10_000,
    });
  });

  it("applies its own first success after junk", async () => {
    const ground = await start({ SPOOL: "on", SPOOL_MAX_MB: "1" });
    const target = await ground.open();
    ground.wire.cut();
    await flood(300, (index) => target.post(`${index}${"x".repeat(60_000)}`));
    expect((await target.tell()).status).toBe(200);
    ground.wire.mend();
    await vi.waitUntil(async () => (await target.state().catch(() => undefined))?.status === "succeeded", {
      timeout: 10_000,
    });
    expect((await storedOf(target)).rows).toBe(3);
  });
});
