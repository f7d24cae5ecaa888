/** A merchant's backend that is down: for a day, and for longer than Tukio goes on to try. */
import { describe, expect, it, vi } from "vitest";
import { delaysS } from "../../server/delivery/schedule.ts";
import { addEndpoint, type Backend, startBackend } from "../support/backend.ts";
import {
  beginPayment,
  type DeliveryDeployment,
  historyOf,
  openDeliveryDeployment,
  passTime,
  patchEndpoint,
  retryNow,
  succeeded,
  typesOf,
} from "../support/delivery.ts";
import { asMerchant } from "../support/node.ts";
import { type NodeProcess, startTestProcess } from "../support/process.ts";
import { scrape } from "../support/scrape.ts";

vi.setConfig({ testTimeout: 240_000 });

interface Ground extends DeliveryDeployment {
  node: NodeProcess;
  /** The endpoint whose backend is down, and where that backend listens when it is up. */
  endpointId: string;
  port: number;
  /** The backend of another endpoint, which is up all the time. */
  other: Backend;
  secrets: string[];
}

async function start(): Promise<Ground> {
  const deployment = await openDeliveryDeployment();
  const node = await startTestProcess(deployment.env);
  const [down, other] = [await startBackend(), await startBackend()];
  const endpointId = await addEndpoint(node, down);
  await addEndpoint(node, other);
  await down.close();
  return { ...deployment, node, endpointId, port: Number(new URL(down.url).port), other, secrets: down.secrets };
}

/** The backend listens again. */
async function comeBack({ port, secrets }: Ground): Promise<Backend> {
  const backend = await startBackend({ port });
  backend.secrets.push(...secrets);
  return backend;
}

async function open({ node, pushLog }: Ground) {
  const { order, succeed, fail } = await beginPayment(node, pushLog);
  return { order, orderId: order.orderId, id: order.id, succeed: () => succeed(node), fail: () => fail(node) };
}

/**
 * Waits until the newest version of an order has had this many attempts. Returns the seconds from the last one to the next; undefined
 * if there were more attempts already.
 */
async function attempted(
  { database, endpointId }: Ground,
  orderUuid: string,
  attempts: number,
): Promise<number | undefined> {
  const found = await vi.waitUntil(async () => {
    const { rows } = await database.query<{ attempts: number; in_s: number }>(
      `select d.attempts, case when d.attempt_at < 'infinity' then extract(epoch from d.attempt_at - a.at)::float8 end as in_s
       from delivery d join "order" o on o.id = d.subject_id and o.version = d.due_version
         join lateral (select at from delivery_attempt where endpoint_id = d.endpoint_id and subject_id = d.subject_id and result = 'failed'
           order by id desc limit 1) a on true
       where d.endpoint_id = $1 and d.subject_id = $2 and d.attempts >= $3 and d.claim is null`,
      [endpointId, orderUuid, attempts],
    );
    return rows[0];
  });
  return found.attempts === attempts ? found.in_s : undefined;
}

/** Makes everything due now, and waits until the endpoint has acknowledged it. */
const acknowledged = ({ database, endpointId }: Ground) =>
  vi.waitUntil(async () => {
    await retryNow(database, endpointId);
    const { rows } = await database.query("select from delivery where endpoint_id = $1 and due_version is not null", [
      endpointId,
    ]);
    return rows.length === 0;
  });

/** Follows the schedule of an order from its first attempt to number `last`. Returns the seconds that passed. */
async function follow(ground: Ground, orderUuid: string, { from, to }: { from: number; to: number }): Promise<number> {
  let passedS = 0;
  for (let attempt = from; attempt < to; attempt += 1) {
    const inS = await attempted(ground, orderUuid, attempt);
    // A busy machine may have needed the first five seconds.
    if (inS === undefined) continue;
    const delayS = delaysS[attempt] ?? 0;
    expect(inS, `after attempt ${attempt}`).toBeGreaterThanOrEqual(delayS * 0.9 - 0.01);
    expect(inS, `after attempt ${attempt}`).toBeLessThanOrEqual(delayS * 1.1 + 0.01);
    await passTime(ground.database, inS);
    passedS += inS;
  }
  await attempted(ground, orderUuid, to);
  return passedS;
}

const countOf = (output: string, event: string): number => output.split(`"event":"${event}"`).length - 1;

describe("an endpoint whose backend is down", () => {
  it("has the newest state of every order once, when the backend is back after a day", async () => {
    const ground = await start();
    const { node, database, endpointId, other } = ground;
    const paidFirst = await open(ground);
    await paidFirst.succeed();
    // Attempts at 0, 5 s, 5 min and 30 min.
    let passedS = await follow(ground, paidFirst.id, { from: 1, to: 4 });

    // New states arrive meanwhile: each is tried at once, with a schedule of its own.
    const paidLate = await open(ground);
    await paidLate.fail();
    await attempted(ground, paidLate.id, 1);
    const failedOne = await open(ground);
    await failedOne.fail();
    await attempted(ground, failedOne.id, 1);
    passedS += await follow(ground, paidFirst.id, { from: 4, to: 6 });
    await paidLate.succeed();
    await attempted(ground, paidLate.id, 1);
    const rewarded = await open(ground);
    await rewarded.succeed();
    await attempted(ground, rewarded.id, 1);
    await succeeded(other, rewarded.orderId);
    const result = { id: "one", kind: "text", title: "Ticket", text: "A1" };
    await asMerchant(node, `/v1/orders/${rewarded.orderId}/results`, result);
    await vi.waitUntil(async () => (await historyOf(node, endpointId, "status=superseded")).length === 2);
    await attempted(ground, rewarded.id, 1);
    passedS += await follow(ground, paidFirst.id, { from: 6, to: 7 });
    // 5 s, 5 min, 30 min, 2 h, 5 h and 10 h.
    expect(passedS / 3_600).toBeGreaterThan(15);

    await passTime(database, 86_400 - passedS);
    const { value } = await scrape(node);
    expect(value("tukio_deliveries_total", { delivery: "failed" })).toBeGreaterThanOrEqual(11);
    expect(countOf(node.output(), "delivery.endpoint.failing")).toBe(1);
    const backend = await comeBack(ground);
    // The rest of the longest delay, which is 14 h.
    await passTime(database, 14 * 3_600 * 1.1);
    await acknowledged(ground);

    const orders = [paidFirst, paidLate, failedOne, rewarded];
    const received = orders.map(({ orderId }) => typesOf(backend, orderId));
    expect(received).toEqual([["order.succeeded"], ["order.succeeded"], ["order.failed"], ["order.succeeded"]]);
    expect(backend.received.map(({ id }) => id).toSorted()).toEqual(
      [`${paidFirst.id}.0.3`, `${paidLate.id}.0.4`, `${failedOne.id}.0.3`, `${rewarded.id}.0.4`].toSorted(),
    );
    expect(backend.received.every(({ isVerified }) => isVerified)).toBe(true);
    expect((await historyOf(node, endpointId, `orderId=${paidFirst.orderId}`)).map(({ status }) => status)).toEqual([
      "delivered",
      ...Array(7).fill("failed"),
    ]);
    // The other endpoint received each state when it began.
    expect(orders.map(({ orderId }) => typesOf(other, orderId))).toEqual([
      ["order.succeeded"],
      ["order.failed", "order.succeeded"],
      ["order.failed"],
      ["order.succeeded", "order.updated"],
    ]);
    expect(await vi.waitUntil(() => countOf(node.output(), "delivery.endpoint.recovered"))).toBe(1);
    expect((await scrape(node)).value("tukio_deliveries_oldest_seconds")).toBe(0);
  });

  it("is disabled after five days, and has everything when it is enabled", async () => {
    const ground = await start();
    const { node, endpointId, other } = ground;
    const exhausted = await open(ground);
    await exhausted.succeed();
    await follow(ground, exhausted.id, { from: 1, to: delaysS.length });
    const [pending] = await historyOf(node, endpointId, "status=pending");
    expect(pending).toMatchObject({ orderId: exhausted.orderId, attempt: 10 });
    expect(pending).not.toHaveProperty("nextAttemptAt");
    expect((await scrape(node)).value("tukio_deliveries_total", { delivery: "exhausted" })).toBe(1);

    const waiting = await open(ground);
    await waiting.succeed();
    await attempted(ground, waiting.id, 1);
    await passTime(ground.database, 2.5 * 86_400);
    await vi.waitUntil(() => typesOf(other, waiting.orderId).length > 0);
    // A node looks for failing endpoints once a minute.
    const disabled = await vi.waitUntil(() => other.received.find(({ type }) => type === "endpoint.disabled"), {
      timeout: 120_000,
    });
    expect(disabled).toMatchObject({
      isVerified: true,
      body: { data: { endpoint: { id: endpointId, enabled: false, disabledBecause: "failing" } } },
    });
    expect((await scrape(node)).value("tukio_endpoints_disabled")).toBe(1);
    // The process writes its log a moment later.
    expect(await vi.waitUntil(() => countOf(node.output(), "delivery.endpoint.disabled"))).toBe(1);

    // What happens while it is disabled is due too.
    const meanwhile = await open(ground);
    await meanwhile.succeed();
    await succeeded(other, meanwhile.orderId);
    const backend = await comeBack(ground);
    expect(backend.received).toEqual([]);
    expect(await patchEndpoint(node, endpointId, { enabled: true })).toMatchObject({ enabled: true });
    await acknowledged(ground);
    expect(backend.received.map(({ id }) => id).toSorted()).toEqual(
      [exhausted, waiting, meanwhile].map(({ id }) => `${id}.0.3`).toSorted(),
    );
    expect((await scrape(node)).value("tukio_endpoints_disabled")).toBe(0);
  });
});
