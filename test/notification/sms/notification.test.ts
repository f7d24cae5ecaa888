/** The notification `sms`: at most one text for each request, whatever happens to the gateway, the process and the database. */
import { beforeEach, describe, expect, it, onTestFinished, vi } from "vitest";
import type { Claimed } from "../../../server/delivery/claim.ts";
import { startEngine } from "../../../server/delivery/engine.ts";
import type { Message } from "../../../server/delivery/message.ts";
import { storeNotifications } from "../../../server/delivery/notification.ts";
import { nothingToSend } from "../../../server/delivery/receiver.ts";
import { replay } from "../../../server/delivery/replay.ts";
import { createSmsNotification } from "../../../server/notification/sms/notification.ts";
import { takeSms } from "../../../server/notification/sms/take.ts";
import type { PaymentDraft } from "../../../server/order/draft.ts";
import { putResult } from "../../../server/order/result.ts";
import { createOrderStore } from "../../../server/order/store.ts";
import { useDatabase } from "../../support/database.ts";
import { type Respond, type ScriptedProvider, startScriptedProvider } from "../../support/scripted-provider.ts";
import { openGateway } from "../../support/sms.ts";
import { draftOf, paid } from "../../support/store.ts";

const file = useDatabase();

const pool = () => file.database.pool;

const query = async (text: string, values: unknown[] = []) => (await pool().query(text, values)).rows;

const accepted: Respond = () => ({ body: { accepted: true, id: "m-1", parts: 1 } });

let live: ScriptedProvider;
let sandbox: ScriptedProvider;
beforeEach(async () => {
  live = await startScriptedProvider(accepted);
  sandbox = await startScriptedProvider(accepted);
});

const warnings: object[] = [];
beforeEach(() => void warnings.splice(0));

const createSms = (withLive = true) => {
  const gateways = { live: openGateway("http", live.url), sandbox: openGateway("http", sandbox.url) };
  return createSmsNotification({
    pool: pool(),
    gatewayOf: ({ isSandbox }) => (isSandbox ? gateways.sandbox : withLive ? gateways.live : undefined),
    shopName: () => "Asha’s Books",
    log: { warn: (details: object) => warnings.push(details) },
  });
};

const store = () =>
  createOrderStore({ database: file.database, announce: () => undefined, amountlessProviders: ["daraja"] });

const voucher = { id: "v-1", kind: "voucher", title: "Hour", code: "4821-9931" } as const;

/** Opens a live order and pays it; with a code by default, so that its SMS need not wait. */
async function openPaid({ hasCode = true, ...draft }: Partial<PaymentDraft> & { hasCode?: boolean } = {}) {
  const { event, payment } = await store().open(draftOf({ live: true, ...draft }));
  await store().advance(payment?.id ?? "", paid({ receipt: `R${event.id.slice(-9)}` }));
  if (hasCode) await putResult(pool(), event.orderId, voucher);
  return event;
}

const smsOf = (orderUuid: string) =>
  query("select replays, provider, status, reference, parts from sms where order_uuid = $1 order by replays", [
    orderUuid,
  ]);

const claimOf = (subjectId: string, replays = 0): Claimed => ({
  ...{ endpointId: "00000000-0000-4000-8000-000000000001", kind: "order", subjectId, dueVersion: 2 },
  ...{ url: "notification:sms", notification: "sms", attempts: 0, isReplay: replays > 0, replays, claim: "" },
});

const message: Message = { id: "", type: "order.succeeded", occurredAt: new Date(), epoch: 0, version: 2, body: "" };

/** One attempt, as the engine makes it. */
const attempt = (orderUuid: string, { replays = 0, signal = new AbortController().signal, sms = createSms() } = {}) =>
  sms.receive(message, signal, claimOf(orderUuid, replays));

const delivered = { isDelivered: true, isGone: false };

describe("the text", () => {
  it("states amount, shop, receipt and code, to the payer's number", async () => {
    const { id } = await openPaid();
    expect(await attempt(id)).toMatchObject(delivered);
    expect(live.calls.map(({ body }) => body)).toEqual([
      {
        id: expect.any(String),
        from: "ASHA",
        to: "+254712345678",
        text: `KES 150.00 paid to Asha's Books. M-Pesa receipt R${id.slice(-9)}. Code: 4821-9931`,
      },
    ]);
    expect(await smsOf(id)).toEqual([{ replays: 0, provider: "http", status: "sent", reference: "m-1", parts: 1 }]);
  });

  it("is in the order's language", async () => {
    const { id } = await openPaid({ lang: "sw" });
    await attempt(id);
    expect(live.calls[0]?.body.text).toContain("imelipwa kwa Asha's Books");
  });

  it("counts its own parts if the gateway does not", async () => {
    live.respond = () => ({ body: { accepted: true } });
    const { id, orderId } = await openPaid({ lang: "bn" });
    await putResult(pool(), orderId, { ...voucher, id: "v-2", code: "7718-8830" });
    await attempt(id);
    expect(await smsOf(id)).toMatchObject([{ status: "sent", reference: null, parts: 2 }]);
  });

  it("has no code that has expired", async () => {
    const { id, orderId } = await openPaid();
    await putResult(pool(), orderId, { ...voucher, expiresAt: "2020-01-01T00:00:00.000Z" });
    await query("update event set occurred_at = occurred_at - interval '31 seconds' where order_uuid = $1", [id]);
    await attempt(id);
    expect(live.calls[0]?.body.text).not.toContain("Code");
  });
});

describe("an order without a code", () => {
  it("waits for one until 30 s after the success", async () => {
    const { id } = await openPaid({ hasCode: false });
    const deferred = await attempt(id);
    expect(deferred).toEqual({ deferMs: expect.any(Number) });
    expect((deferred as { deferMs: number }).deferMs).toBeGreaterThan(20_000);
    expect((deferred as { deferMs: number }).deferMs).toBeLessThanOrEqual(30_000);
    expect([live.calls, await smsOf(id)]).toEqual([[], []]);
    await query("update event set occurred_at = occurred_at - interval '30 seconds' where order_uuid = $1", [id]);
    expect(await attempt(id)).toMatchObject(delivered);
    expect(live.calls[0]?.body.text).toMatch(/receipt R\S+\.$/);
  });

  it("is sent at once when the merchant asks for it again", async () => {
    const { id } = await openPaid({ hasCode: false });
    expect(await attempt(id, { replays: 1 })).toMatchObject(delivered);
  });
});

describe("nothing is sent", () => {
  it("without a number, and about an order that is not paid", async () => {
    const { phone: _phone, ...draft } = draftOf({ live: true });
    const opened = await store().open(draft);
    await store().advance(opened.payment?.id ?? "", paid());
    const { event: unpaid } = await store().open(draftOf({ live: true }));
    for (const { id } of [opened.event, unpaid]) {
      expect(await attempt(id)).toEqual(nothingToSend);
      expect(await smsOf(id)).toEqual([]);
    }
    expect(live.calls).toEqual([]);
  });

  it("by the live gateway about a sandbox payment, and by the sandbox about a live one", async () => {
    const [test, real] = [await openPaid({ live: false }), await openPaid()];
    await attempt(test.id);
    expect([live.calls.length, sandbox.calls.length]).toEqual([0, 1]);
    await attempt(real.id);
    expect([live.calls.length, sandbox.calls.length]).toEqual([1, 1]);
  });

  it("about a live payment if only the sandbox is there", async () => {
    const { id } = await openPaid();
    expect(await attempt(id, { sms: createSms(false) })).toEqual(nothingToSend);
  });

  it("about a payment of five days ago, unless the merchant asks for it", async () => {
    const { id } = await openPaid();
    await query("update event set occurred_at = occurred_at - interval '5 days' where order_uuid = $1", [id]);
    expect(await attempt(id)).toEqual(nothingToSend);
    expect(live.calls).toEqual([]);
    expect(await attempt(id, { replays: 1 })).toMatchObject(delivered);
  });
});

describe("one request", () => {
  it("is one text, however often it is attempted", async () => {
    const { id } = await openPaid();
    for (let n = 0; n < 3; n += 1) expect(await attempt(id)).toMatchObject(delivered);
    expect(live.calls).toHaveLength(1);
  });

  it("is one text when two nodes attempt it at the same time", async () => {
    const { id } = await openPaid();
    const held = Promise.withResolvers<void>();
    live.respond = async (call) => {
      await held.promise;
      return accepted(call) as Awaited<ReturnType<typeof accepted>>;
    };
    const first = attempt(id);
    await vi.waitUntil(() => live.calls.length === 1);
    const second = await attempt(id);
    expect(second).toEqual({ deferMs: expect.any(Number) });
    held.resolve();
    expect(await first).toMatchObject(delivered);
    expect(await attempt(id)).toMatchObject(delivered);
    expect(live.calls).toHaveLength(1);
    const { id: other } = await openPaid();
    await Promise.all(Array.from({ length: 8 }, () => attempt(other)));
    expect(live.calls).toHaveLength(2);
  });

  it("is one more text for each time that the merchant asks for it", async () => {
    const { id } = await openPaid();
    for (const replays of [0, 1, 1, 2]) await attempt(id, { replays });
    expect(live.calls).toHaveLength(3);
    expect(new Set(live.calls.map(({ body }) => body.id)).size).toBe(3);
    expect((await smsOf(id)).map(({ replays }) => replays)).toEqual([0, 1, 2]);
  });
});

describe("an unknown answer", () => {
  const final = { isDelivered: false, isFinal: true, error: expect.stringMatching(/^unknown: /) };

  const expectNoSecond = async (id: string) => {
    live.respond = accepted;
    expect(await attempt(id)).toMatchObject(final);
    expect(live.calls).toHaveLength(1);
    expect(await smsOf(id)).toMatchObject([{ status: "unknown" }]);
    expect(await attempt(id, { replays: 1 })).toMatchObject(delivered);
  };

  it.each([
    ["breaks off the connection", () => "drop"],
    ["answers with HTML", () => ({ status: 200, text: "<html>" })],
    ["answers with 502", () => ({ status: 502, text: "<html>" })],
    ["answers with another JSON", () => ({ status: 200, body: { ok: true } })],
  ] as [string, Respond][])("is final if the gateway %s", async (_what, respond) => {
    live.respond = respond;
    const { id, orderId } = await openPaid();
    expect(await attempt(id)).toMatchObject(final);
    expect(warnings).toMatchObject([{ event: "sms.answer.unknown", orderId, provider: "http" }]);
    expect(JSON.stringify(warnings)).not.toContain("712345678");
    await expectNoSecond(id);
  });

  it("is final if the gateway is too slow", async () => {
    const slow = new AbortController();
    live.respond = () => {
      slow.abort(new DOMException("It took too long", "TimeoutError"));
      return new Promise(() => undefined);
    };
    const { id } = await openPaid();
    expect(await attempt(id, { signal: slow.signal })).toMatchObject(final);
    await expectNoSecond(id);
  });

  it("is final if the process shuts down while it waits", async () => {
    const closing = new AbortController();
    live.respond = () => {
      closing.abort();
      return new Promise(() => undefined);
    };
    const { id } = await openPaid();
    expect(await attempt(id, { signal: closing.signal })).toMatchObject(final);
    await expectNoSecond(id);
  });

  it("is final if PostgreSQL could not store it", async () => {
    const { id } = await openPaid();
    const broken = {
      ...pool(),
      query: (...given: Parameters<ReturnType<typeof pool>["query"]>) =>
        JSON.stringify(given).includes("settle-sms")
          ? Promise.reject(Object.assign(new Error("connection lost"), { code: "ECONNRESET" }))
          : pool().query(...given),
    };
    const gateway = openGateway("http", live.url);
    const sms = createSmsNotification({
      ...{ pool: broken as unknown as ReturnType<typeof pool>, gatewayOf: () => gateway, shopName: () => "Asha" },
      log: { warn: () => undefined },
    });
    await expect(attempt(id, { sms })).rejects.toThrow();
    expect(await attempt(id)).toEqual({ deferMs: expect.any(Number) });
    await query("update sms set at = at - interval '36 seconds' where order_uuid = $1", [id]);
    await expectNoSecond(id);
  });
});

describe("a process that is killed", () => {
  /** What is left of an attempt that ended after it took the right to send. */
  const taken = async (id: string) => {
    const options = {
      id: crypto.randomUUID(),
      orderUuid: id,
      replays: 0,
      provider: "http",
      from: new Date(0),
    } as const;
    expect(await takeSms(pool(), { ...options, until: undefined })).toEqual({ outcome: "taken" });
    return options.id;
  };

  it("between the row and the request leaves no text, and none follows", async () => {
    const { id } = await openPaid();
    await taken(id);
    const waiting = await attempt(id);
    expect(waiting).toEqual({ deferMs: expect.any(Number) });
    expect((waiting as { deferMs: number }).deferMs).toBeLessThanOrEqual(35_000);
    await query("update sms set at = at - interval '35 seconds' where order_uuid = $1", [id]);
    expect(await attempt(id)).toMatchObject({
      isFinal: true,
      error: expect.stringMatching(/^unknown: the process ended/),
    });
    expect([live.calls, await smsOf(id)]).toMatchObject([[], [{ status: "unknown" }]]);
  });

  it("between the request and the record leaves one text", async () => {
    const { id } = await openPaid();
    const smsId = await taken(id);
    await openGateway("http", live.url).send(
      { id: smsId, to: "+254712345678", text: "x" },
      new AbortController().signal,
    );
    await query("update sms set at = at - interval '35 seconds' where order_uuid = $1", [id]);
    expect(await attempt(id)).toMatchObject({ isFinal: true });
    expect(live.calls).toHaveLength(1);
  });

  it("between the record of the text and that of the delivery leaves one text, which counts as delivered", async () => {
    const { id } = await openPaid();
    await attempt(id);
    expect(await attempt(id)).toMatchObject(delivered);
    expect(live.calls).toHaveLength(1);
  });
});

describe("a refusal", () => {
  it("is followed by another attempt, which may send", async () => {
    live.respond = () => ({
      status: 503,
      body: { accepted: false, error: "no balance" },
      headers: { "retry-after": "90" },
    });
    const { id } = await openPaid();
    const refused = await attempt(id);
    expect(refused).toMatchObject({
      isDelivered: false,
      error: "refused: by the gateway",
      answer: "no balance",
      retryAfterS: 90,
    });
    expect(refused).not.toHaveProperty("isFinal");
    expect(await smsOf(id)).toEqual([]);
    live.respond = accepted;
    expect(await attempt(id)).toMatchObject(delivered);
    expect(await smsOf(id)).toMatchObject([{ status: "sent" }]);
  });

  it("for good ends the attempts", async () => {
    live.respond = () => ({ body: { accepted: false, error: "barred", permanent: true } });
    const { id } = await openPaid();
    expect(await attempt(id)).toMatchObject({ isFinal: true, error: "refused: by the gateway", answer: "barred" });
    expect(await attempt(id)).toMatchObject({ isFinal: true });
    expect(live.calls).toHaveLength(1);
    expect(await smsOf(id)).toMatchObject([{ status: "failed" }]);
  });

  it("is certain for a gateway that is down", async () => {
    const { id } = await openPaid();
    const gateway = openGateway("http", "http://127.0.0.1:1");
    const sms = createSmsNotification({
      ...{ pool: pool(), gatewayOf: () => gateway, shopName: () => "Asha", log: { warn: () => undefined } },
    });
    expect(await attempt(id, { sms })).toMatchObject({ error: expect.stringMatching(/^refused: POST 127.0.0.1:1: /) });
    expect(await attempt(id)).toMatchObject(delivered);
  });

  it("is no failure if the process shuts down before the request", async () => {
    const closed = new AbortController();
    closed.abort();
    const { id } = await openPaid();
    await expect(attempt(id, { signal: closed.signal })).rejects.toThrow();
    expect([live.calls, await smsOf(id)]).toEqual([[], []]);
    expect(await attempt(id)).toMatchObject(delivered);
  });
});

describe("on the delivery engine", () => {
  async function start() {
    const sms = createSms();
    await storeNotifications(pool(), [sms]);
    const [endpoint] = await query("select id from endpoint where notification = 'sms' and not is_deleted");
    const results: string[] = [];
    const engines = [1, 2].map(() =>
      startEngine({
        pool: pool(),
        notifications: ["sms"],
        receivers: async () => new Map([[endpoint.id, sms.receive]]),
        onResult: (result) => results.push(result),
        onError: (error) => expect.unreachable(String(error)),
        onRecovered: () => undefined,
        log: { info: () => undefined, warn: () => undefined, error: () => undefined },
      }),
    );
    for (const engine of engines) onTestFinished(engine.close);
    const wake = () => {
      for (const engine of engines) engine.wake();
    };
    return { endpointId: String(endpoint.id), results, wake };
  }

  it("two nodes send each order's text once, and a code that comes within 30 s at once", async () => {
    const { endpointId, wake } = await start();
    const orders = await Promise.all(Array.from({ length: 20 }, () => openPaid({ hasCode: false })));
    const rows = () => query("select attempt_at from delivery where endpoint_id = $1 and claim is null", [endpointId]);
    await vi.waitUntil(async () => (await rows()).length === 20, { timeout: 20_000 });
    expect(live.calls).toEqual([]);
    for (const { orderId } of orders) await putResult(pool(), orderId, voucher);
    wake();
    await vi.waitUntil(() => live.calls.length === 20, { timeout: 20_000 });
    for (const { orderId } of orders) await putResult(pool(), orderId, { ...voucher, code: "9999" });
    wake();
    const isDone = async () =>
      (await query("select from delivery where endpoint_id = $1 and due_version is not null", [endpointId])).length ===
      0;
    await vi.waitUntil(isDone, { timeout: 20_000 });
    expect(live.calls).toHaveLength(20);
    expect(live.calls.every(({ body }) => String(body.text).endsWith("Code: 4821-9931"))).toBe(true);
  });

  it("a text whose answer is unknown ends as a failed delivery, and is sent when the merchant asks for it", async () => {
    const { endpointId, results, wake } = await start();
    live.respond = () => "drop";
    const { id, orderId } = await openPaid();
    wake();
    await vi.waitUntil(() => results.includes("exhausted"), { timeout: 20_000 });
    const failures = "select result, error from delivery_attempt where subject_id = $1 and result <> 'superseded'";
    expect(await query(failures, [id])).toMatchObject([
      { result: "failed", error: expect.stringMatching(/^unknown: /) },
    ]);
    live.respond = accepted;
    await putResult(pool(), orderId, { ...voucher, code: "9999" });
    await replay(pool(), endpointId, { orderId });
    wake();
    await vi.waitUntil(() => results.includes("delivered"), { timeout: 20_000 });
    expect(await smsOf(id)).toMatchObject([
      { replays: 0, status: "unknown" },
      { replays: expect.any(Number), status: "sent" },
    ]);
    expect(live.calls).toHaveLength(2);
  });
});
