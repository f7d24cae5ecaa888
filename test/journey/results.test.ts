/** Results on two nodes: from the merchant's request to watchers on every transport, while the bus is up and while it is down. */
import { beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import type { Result } from "../../client-sdk/protocol.ts";
import { createDatabase } from "../support/database.ts";
import { apiKey, asMerchant, call, pay, startNode, type TestNode } from "../support/node.ts";
import { startRedis } from "../support/redis.ts";
import { startScriptedDaraja } from "../support/scripted-daraja.ts";
import { transportNames, watch } from "../support/watch.ts";

let databaseUrl: string;
beforeAll(async () => {
  const database = await createDatabase();
  databaseUrl = database.url;
  return database.drop;
});

const isBusUp = async (node: TestNode): Promise<boolean> =>
  ((await call(`${node.url}/readyz`)).body as unknown as { bus: string }).bus === "up";

async function openPaidOnTwoNodes() {
  const redis = await startRedis();
  onTestFinished(redis.stop);
  const daraja = await startScriptedDaraja();
  const a = await startNode({ databaseUrl, redisUrl: redis.url, env: daraja.env });
  const b = await startNode({ databaseUrl, redisUrl: redis.url, env: daraja.env });
  await vi.waitUntil(async () => (await isBusUp(a)) && (await isBusUp(b)));
  const { order, watchToken: token } = await pay(a);
  const push = await daraja.nextPush();
  push.accept();
  await push.webhook();
  const { orderId } = order;
  const watches = [a, b].flatMap((node) => transportNames.map((name) => watch(name, { node, orderId, token })));
  await Promise.all(watches.map((one) => one.until(({ status }) => status === "succeeded")));
  const { version } = (await asMerchant(a, `/v1/orders/${orderId}`)).body.order;
  return { redis, a, b, orderId, watches, version };
}

const voucher = (id: string): Result => ({ id, kind: "voucher", title: `Voucher ${id}`, code: `4821-${id}` });

const idsOf = (results: readonly Result[] | undefined): string[] | undefined => results?.map(({ id }) => id);

describe("results that are posted to two nodes at once", () => {
  it("all reach the watchers of every transport on both nodes, and each is removed for all (G3, G4, G5)", async () => {
    const { a, b, orderId, watches, version } = await openPaidOnTwoNodes();
    const ids = Array.from({ length: 10 }, (_, index) => `v${index}`);
    const answers = await Promise.all(
      ids.map((id, index) => asMerchant(index % 2 === 0 ? a : b, `/v1/orders/${orderId}/results`, voucher(id))),
    );
    expect(answers.map(({ status }) => status)).toEqual(ids.map(() => 201));
    const ends = await Promise.all(watches.map((one) => one.until((event) => event.version === version + ids.length)));
    const { order, events } = (await asMerchant(b, `/v1/orders/${orderId}`)).body;
    for (const end of ends) expect(end).toEqual(order);
    expect(idsOf(order.results)?.toSorted()).toEqual(ids);
    expect(events.map((event) => event.version)).toEqual(events.map((_, index) => index + 1));
    for (const { seen } of watches) {
      const versions = seen.map((event) => event.version);
      expect(versions).toEqual([...new Set(versions)].toSorted((one, other) => one - other));
    }
    const authorization = { authorization: `Bearer ${apiKey}` };
    const removed = await call(`${b.url}/v1/orders/${orderId}/results/v3`, {
      method: "DELETE",
      headers: authorization,
    });
    expect(removed.status).toBe(200);
    const after = await Promise.all(watches.map((one) => one.until((event) => event.version === order.version + 1)));
    for (const end of after) expect(idsOf(end.results)).toEqual(idsOf(order.results)?.filter((id) => id !== "v3"));
  });

  it("reach the other node's watchers while Redis is down (G4)", async () => {
    const { redis, a, b, orderId, watches, version } = await openPaidOnTwoNodes();
    await redis.stop();
    await vi.waitUntil(async () => !(await isBusUp(a)) && !(await isBusUp(b)));
    expect((await asMerchant(a, `/v1/orders/${orderId}/results`, voucher("one"))).status).toBe(201);
    const ends = await Promise.all(watches.map((one) => one.until((event) => event.version === version + 1)));
    for (const end of ends) expect(end.results).toEqual([voucher("one")]);
  });
});
