import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { erase } from "../../server/order/retention.ts";
import { startNode } from "../support/node.ts";
import { failed, openTestStore, paid } from "../support/store.ts";

let ground: Awaited<ReturnType<typeof openTestStore>>;
beforeAll(async () => {
  ground = await openTestStore();
});
afterAll(() => ground.close());

const row = (body: string) => ({
  provider: "daraja",
  proof: "secret" as const,
  headers: { a: "b" },
  body: Buffer.from(body),
});

describe("retention", () => {
  it("erases expired data in batches, and keeps recent data and the states of orders", async () => {
    const old = await ground.open({ idempotencyKey: "old" });
    // A reference of Daraja ends in the payer's phone number.
    const reference = "ws_CO_20112026205932104712345678";
    await ground.store.advance(old.payment.id, { status: "processing", reference, source: "reply" });
    await ground.store.advance(old.payment.id, paid({ receipt: "R-old" }), row("old and accepted"));
    await ground.inbox.refuse(row("old and refused"), "forged");
    await ground.database.pool.query(
      `insert into webhook (provider, proof, result, headers, body)
     select 'daraja', 'none', 'refused', '{}', 'x' from generate_series(1, 1200)`,
    );
    for (const statement of [
      "update payment set started_at = started_at - interval '91 days'",
      "update webhook set received_at = received_at - interval '91 days'",
      "update idempotency set created_at = created_at - interval '73 hours'",
    ]) {
      await ground.database.pool.query(statement);
    }
    const young = await ground.open({ idempotencyKey: "young" });
    await ground.store.advance(young.payment.id, { status: "processing", reference, source: "reply" });
    await ground.store.advance(young.payment.id, failed(), row("young and accepted"));
    await ground.inbox.refuse(row("young and refused"), "forged");

    await erase(ground.database);

    const { rows } = await ground.database.pool.query<{ result: string; body: string }>(
      "select result, convert_from(body, 'UTF8') as body from webhook order by id",
    );
    expect(rows).toEqual([
      { result: "applied", body: "" },
      { result: "applied", body: "young and accepted" },
      { result: "refused", body: "young and refused" },
    ]);
    const { rows: phones } = await ground.database.pool.query(
      "select phone, reference from payment order by started_at",
    );
    expect(phones).toEqual([
      { phone: "+2547*****678", reference: "ws_CO_20112026205932104******678" },
      { phone: "+254712345678", reference },
    ]);
    const { rows: keys } = await ground.database.pool.query("select key from idempotency");
    expect(keys).toEqual([{ key: "young" }]);
    const view = await ground.view(old.event.orderId);
    expect(view.order).toMatchObject({ status: "succeeded", payment: { receipt: "R-old" } });
    expect(view.payments[0]?.phone).toBe("+2547*****678");
  });

  it("runs on every node", async () => {
    await ground.inbox.refuse(row("old, on a node"), "forged");
    await ground.database.pool.query("update webhook set received_at = received_at - interval '8 days'");
    await startNode({ databaseUrl: ground.database.pool.options.connectionString ?? "" });
    const left = async () =>
      (await ground.database.pool.query("select from webhook where body = 'old, on a node'")).rowCount;
    await vi.waitUntil(async () => (await left()) === 0);
  });
});
