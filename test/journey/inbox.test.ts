/** A webhook that was answered 2xx is on disk and is applied in the end, even when its statement fails. */
import { beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { type Database, openDatabase } from "../../server/database/pool.ts";
import { createDatabase } from "../support/database.ts";
import { asMerchant, pay, startNode } from "../support/node.ts";
import { startScriptedDaraja, success } from "../support/scripted-daraja.ts";

let databaseUrl: string;
let database: Database;
beforeAll(async () => {
  const own = await createDatabase();
  databaseUrl = own.url;
  database = openDatabase(databaseUrl, () => undefined);
  return async () => {
    await database.close();
    await own.drop();
  };
});

describe("a webhook whose payment is locked for longer than the lock timeout", () => {
  it("is stored, acknowledged, and applied when the lock is released (G1)", async () => {
    const daraja = await startScriptedDaraja();
    const node = await startNode({ databaseUrl, env: daraja.env });
    const { order } = await pay(node);
    const push = await daraja.nextPush();
    push.accept();
    await vi.waitUntil(() => node.log.some((line) => line.includes('"event":"provider.initiate.answered"')));
    const holder = await database.pool.connect();
    onTestFinished(() => holder.release());
    await holder.query("begin");
    await holder.query("select from payment where id = $1 for update", [order.payment.id]);
    expect((await push.webhook()).status).toBe(200);
    expect((await fetch(push.callbackUrl, { method: "POST", body: "not json" })).status).toBe(400);
    const { rows: unread } = await database.pool.query(
      "select from webhook where payment_id = $1 and result = 'unreadable'",
      [order.payment.id],
    );
    expect(unread).toHaveLength(1);
    // Older webhooks that match no payment must not delay it.
    await database.pool.query(
      `insert into webhook (provider, payment_id, proof, result, headers, body, offer_at, received_at)
       select 'daraja', gen_random_uuid(), 'secret', 'unmatched', '{}', 'x', clock_timestamp() - interval '8 days', clock_timestamp() - interval '8 days'
       from generate_series(1, 60)`,
    );
    const { rows } = await database.pool.query(
      "select result, offer_at is not null as due from webhook where payment_id = $1 and result <> 'unreadable'",
      [order.payment.id],
    );
    expect(rows).toEqual([{ result: "error", due: true }]);
    await holder.query("rollback");
    await database.pool.query("update webhook set offer_at = clock_timestamp() where result = 'error'");
    await vi.waitUntil(
      async () => (await asMerchant(node, `/v1/orders/${order.orderId}`)).body.order?.status === "succeeded",
      15_000,
    );
    await vi.waitUntil(
      async () =>
        (await database.pool.query("select from webhook where offer_at is not null and result = 'error'")).rowCount ===
        0,
      15_000,
    );
    const offered = node.log.map((line) => JSON.parse(line)).filter(({ event }) => event === "webhook.redelivery.done");
    expect(offered).toMatchObject([{ paymentId: order.payment.id, traceId: expect.any(String) }]);
  });
});

describe("the webhooks of two attempts of one order with the same receipt and different amounts", () => {
  it("do not deadlock, in either order", async () => {
    const daraja = await startScriptedDaraja();
    const node = await startNode({ databaseUrl, env: { ...daraja.env, LIMIT_PHONE: "1000" } });
    for (let round = 0; round < 20; round += 1) {
      const { order } = await pay(node);
      const first = await daraja.nextPush();
      first.accept();
      await first.webhook({ ResultCode: 1032 });
      await pay(node, { orderId: order.orderId });
      const second = await daraja.nextPush();
      second.accept();
      const receipt = `DL${process.pid}R${round}`;
      const answers = await Promise.all([first.webhook(success(100, receipt)), second.webhook(success(150, receipt))]);
      expect(answers.map(({ status }) => status)).toEqual([200, 200]);
    }
    const { rows } = await database.pool.query(
      "select count(*)::int as failed from webhook where result = 'error' and error is not null and offer_at is not null",
    );
    expect(rows).toEqual([{ failed: 0 }]);
  });
});

describe("a webhook with an `Upgrade` header", () => {
  it("is applied as an ordinary request", async () => {
    const daraja = await startScriptedDaraja();
    const node = await startNode({ databaseUrl, env: daraja.env });
    const { order } = await pay(node);
    const push = await daraja.nextPush();
    push.accept();
    const { hostname, port, pathname } = new URL(push.callbackUrl);
    const { connect } = await import("node:net");
    const body = JSON.stringify({ Body: { stkCallback: { CheckoutRequestID: push.reference, ResultCode: 1032 } } });
    const socket = connect(Number(port), hostname === "localhost" ? "127.0.0.1" : hostname);
    onTestFinished(() => void socket.destroy());
    socket.write(
      `POST ${pathname} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    );
    const answer = await new Promise<string>((resolve) => socket.once("data", (data) => resolve(String(data))));
    expect(answer).toMatch(/^HTTP\/1\.1 200/);
    expect((await asMerchant(node, `/v1/orders/${order.orderId}`)).body.order.reason).toBe("cancelled");
  });
});
