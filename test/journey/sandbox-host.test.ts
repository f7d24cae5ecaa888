/** Two processes with sandboxes on one database: one holds the sandboxes' state for both. */
import { beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { createDatabase } from "../support/database.ts";
import { asMerchant, call, pay, type TestNode } from "../support/node.ts";
import { startProcess, startTestProcess } from "../support/process.ts";
import { redisUrl } from "../support/redis.ts";
import { scrape } from "../support/scrape.ts";

// 120 s, because several processes start slowly on a busy machine.
vi.setConfig({ testTimeout: 120_000 });

let env: Record<string, string>;
beforeAll(async () => {
  const database = await createDatabase();
  env = { DATABASE_URL: database.url, REDIS_URL: redisUrl(), LIMIT_IP: "1000000", LIMIT_PHONE: "1000" };
  return database.drop;
});

const stateOf = async (node: TestNode, orderId: string) => (await asMerchant(node, `/v1/orders/${orderId}`)).body.order;

const settled = async (node: TestNode, orderId: string) => {
  await vi.waitUntil(async () => (await stateOf(node, orderId)).settled, { timeout: 30_000, interval: 100 });
  const { status, reason } = await stateOf(node, orderId);
  return { status, reason };
};

const payers = {
  daraja: { phone: "+254712345606", currency: "KES" },
  payhero: { phone: "+254712345606", currency: "KES" },
  lipana: { phone: "+254712345606", currency: "KES" },
  zenopay: { phone: "+255712345606", currency: "TZS" },
  mtn: { phone: "+256771234506", currency: "UGX" },
};

/** Answers the phone's prompt through this node. */
async function answer(node: TestNode, phone: string, as: string): Promise<void> {
  const prompts = async () => (await call(`${node.url}/sandbox/phone/${phone}/prompts`)).body.prompts;
  const [prompt] = await vi.waitUntil(async () => ((await prompts()).length > 0 ? await prompts() : undefined));
  const init = {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ answer: as }),
  };
  const answered = await call(`${node.url}/sandbox/phone/prompts/${prompt?.id}`, init);
  expect(answered.status).toBe(200);
}

describe("two nodes with sandboxes on one database", () => {
  it("end payments right, whichever opens one, shows its prompt, and queries it, and after one was killed", async () => {
    const [one, other] = [await startTestProcess(env), await startTestProcess(env)];
    const opened = await Promise.all(
      [one, other].flatMap((node) =>
        Object.entries(payers).flatMap(([provider, payer]) =>
          // Several, so that each node queries some of the other's.
          Array.from({ length: 4 }, () => pay(node, { provider, ...payer })),
        ),
      ),
    );
    const ends = await Promise.all(opened.map(({ order }) => settled(one, order.orderId)));
    expect(ends).toEqual(opened.map(() => ({ status: "succeeded" })));
    for (const node of [one, other]) {
      const queries = (await scrape(node)).value("tukio_provider_call_seconds_count", { verb: "confirm" });
      expect(queries).toBeGreaterThan(0);
    }
    for (const [opener, phoneNode, phone] of [
      [one, other, "+254712345700"],
      [other, one, "+254712345800"],
    ] as const) {
      const { order } = await pay(opener, { phone });
      await answer(phoneNode, phone, "cancel");
      expect(await settled(phoneNode, order.orderId)).toEqual({ status: "failed", reason: "cancelled" });
    }
    await one.end("SIGKILL");
    const next = await startTestProcess(env);
    const { order } = await pay(next, { phone: "+254712345900" });
    await answer(other, "+254712345900", "approve");
    expect(await settled(next, order.orderId)).toEqual({ status: "succeeded" });
  });

  it("do not start with different sandboxes of which some are the same", async () => {
    const database = await createDatabase();
    onTestFinished(database.drop);
    const both = { DATABASE_URL: database.url, REDIS_URL: redisUrl() };
    await startTestProcess({ ...both, SANDBOX: "daraja,mtn" });
    await startTestProcess({ ...both, SANDBOX: "zenopay" });
    await expect(startProcess({ ...both, SANDBOX: "daraja" })).rejects.toThrow("Set the same SANDBOX on all nodes");
  });
});
