import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createReview } from "../../server/order/review.ts";
import { createInbox, type StoredWebhook } from "../../server/webhook/inbox.ts";
import { openTestStore, paid } from "../support/store.ts";

let ground: Awaited<ReturnType<typeof openTestStore>>;
beforeAll(async () => {
  ground = await openTestStore();
});
afterAll(() => ground.close());

const row = { provider: "daraja", proof: "none", headers: {}, body: Buffer.from("x".repeat(5_000)) } as const;

const isDue = async (paymentId: string): Promise<boolean> => {
  const { rows } = await ground.database.pool.query<{ due: boolean }>(
    "select check_at < clock_timestamp() + interval '1 minute' as due from payment where id = $1",
    [paymentId],
  );
  return rows[0]?.due ?? false;
};

describe("inbox: a hint", () => {
  it("makes its payment due, 60 times a minute and provider at most, and is always stored (G12)", async () => {
    let nowMs = 0;
    const inbox = createInbox(ground.database, () => nowMs);
    const payments: string[] = [];
    while (payments.length < 31) payments.push((await ground.open()).payment.id);
    const [first = ""] = payments;
    const hint = async (provider = "daraja", isUnbudgeted = false, paymentId = first): Promise<boolean> => {
      await ground.database.pool.query("update payment set check_at = clock_timestamp() + interval '1 hour'");
      const may = await inbox.insert({ ...row, provider, result: "hint", paymentId, isUnbudgeted });
      expect(await isDue(paymentId)).toBe(may);
      return may;
    };
    const allowed: boolean[] = [];
    for (let times = 0; times < 62; times += 1) allowed.push(await hint("daraja", false, payments[times % 31]));
    expect(allowed.filter(Boolean)).toHaveLength(60);
    expect(allowed.slice(60)).toEqual([false, false]);
    // A payment's own address is secret, so it has no limit.
    expect(await hint("daraja", true)).toBe(true);
    expect(await hint("lipana", false, (await ground.open()).payment.id)).toBe(true);
    nowMs = 60_000;
    expect(await hint()).toBe(true);
    const { rows } = await ground.database.pool.query(
      "select count(*)::int as kept from webhook where result = 'hint'",
    );
    expect(rows).toEqual([{ kept: 65 }]);
  });

  it("makes one payment due twice a minute at most (G12)", async () => {
    const inbox = createInbox(ground.database, () => 0);
    const [one, other] = [await ground.open(), await ground.open()];
    const hint = (paymentId: string) => inbox.insert({ ...row, result: "hint", paymentId });
    const allowed: boolean[] = [];
    for (let times = 0; times < 10; times += 1) allowed.push(await hint(one.payment.id));
    expect(allowed.filter(Boolean)).toHaveLength(2);
    expect(await hint(other.payment.id)).toBe(true);
  });

  it("has a separate budget where it is signed", async () => {
    const inbox = createInbox(ground.database, () => 0);
    const [one, other] = [await ground.open(), await ground.open()];
    const signed = { ...row, provider: "signing", proof: "signature", result: "hint" } as const;
    const insert = (paymentId: string, hint: Omit<StoredWebhook, "paymentId">) => inbox.insert({ ...hint, paymentId });
    for (let times = 0; times < 299; times += 1) await insert(one.payment.id, { ...signed, proof: "none" });
    const allowed: boolean[] = [];
    for (let times = 0; times < 12; times += 1) allowed.push(await insert(one.payment.id, signed));
    expect(allowed.filter(Boolean)).toHaveLength(10);
    expect(await insert(other.payment.id, signed)).toBe(true);
  });

  it("does not make a rejected payment due", async () => {
    const inbox = createInbox(ground.database);
    const { event, payment } = await ground.open();
    await ground.store.advance(payment.id, paid({ amountMinor: 1n }));
    const review = createReview({ database: ground.database, store: ground.store, announce: () => undefined });
    await review.resolve({ orderId: event.orderId, paymentId: payment.id, as: "failed", note: "not ours" });
    await inbox.insert({ ...row, result: "hint", paymentId: payment.id, isUnbudgeted: true });
    expect(await isDue(payment.id)).toBe(false);
  });
});

describe("inbox: a webhook from an unauthenticated client", () => {
  it("is stored 300 times a minute and provider at most, its first 4 KiB; any other always and whole (G12)", async () => {
    let nowMs = 0;
    const inbox = createInbox(ground.database, () => nowMs);
    const unproven = { ...row, provider: "bkash" } as const;
    for (let times = 0; times < 150; times += 1) {
      await inbox.insert({ ...unproven, result: "unmatched" });
      await inbox.insert({ ...unproven, result: "unreadable" });
    }
    await expect(inbox.insert({ ...unproven, result: "hint" })).rejects.toMatchObject({ code: "rate_limited" });
    await inbox.insert({ ...unproven, result: "hint", isUnbudgeted: true });
    await inbox.insert({ ...unproven, proof: "signature", result: "unmatched" });
    await inbox.insert({ ...unproven, result: "error" });
    nowMs = 60_000;
    await inbox.insert({ ...unproven, result: "unmatched" });
    const { rows } = await ground.database.pool.query(
      `select length(body) as bytes, count(*)::int as kept from webhook where provider = 'bkash' group by 1 order by 1`,
    );
    expect(rows).toEqual([
      { bytes: 4_096, kept: 301 },
      { bytes: 5_000, kept: 3 },
    ]);
  });
});

describe("inbox: a refused webhook", () => {
  it("is stored with at most 4 KiB of its headers", async () => {
    const inbox = createInbox(ground.database, () => 0);
    const headers = { "user-agent": "one", ...Object.fromEntries([1, 2, 3].map((n) => [`x-${n}`, "y".repeat(3_000)])) };
    await inbox.refuse({ ...row, provider: "mtn", headers }, "wrong");
    const { rows } = await ground.database.pool.query("select headers from webhook where provider = 'mtn'");
    expect(rows.map(({ headers }) => Object.keys(headers).toSorted())).toEqual([["user-agent", "x-1"]]);
  });

  it("is stored 60 times a minute and provider at most, its first 4 KiB (G12)", async () => {
    const inbox = createInbox(ground.database, () => 0);
    for (let times = 0; times < 70; times += 1) await inbox.refuse(row, "forged");
    const { rows } = await ground.database.pool.query(
      "select count(*)::int as kept, max(length(body)) as bytes from webhook where result = 'refused' and provider = 'daraja'",
    );
    expect(rows).toEqual([{ kept: 60, bytes: 4_096 }]);
  });
});
