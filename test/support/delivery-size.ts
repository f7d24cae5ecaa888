/** Deliveries in a database of a million orders, and the calls that send every statement about them. */
import { createSealer } from "../../server/auth/keys.ts";
import type { Database } from "../../server/database/pool.ts";
import { claimDeliveries } from "../../server/delivery/claim.ts";
import { disableFailing, disableGone, removeDeleted } from "../../server/delivery/disable.ts";
import { createEndpoints } from "../../server/delivery/endpoint.ts";
import { resealSecrets, storeEnvironmentEndpoint } from "../../server/delivery/environment.ts";
import { fanOut, lookForEndpoints } from "../../server/delivery/fan-out.ts";
import { currentPlace, placeSince, readFeed, readOrderFeed, removeForeign } from "../../server/delivery/feed.ts";
import { deliveryStatuses, listDeliveries } from "../../server/delivery/history.ts";
import { prepareMessages } from "../../server/delivery/message.ts";
import { removeNotifications, storeNotifications } from "../../server/delivery/notification.ts";
import { clearDelivery, deferDelivery, recordAttempt, releaseDelivery } from "../../server/delivery/record.ts";
import { replay } from "../../server/delivery/replay.ts";
import { resumeDeliveries } from "../../server/delivery/resume.ts";
import { createSecret, sealSecret } from "../../server/delivery/secret.ts";
import { readDeliveryBacklog } from "../../server/delivery/statistics.ts";

const sealer = createSealer(["a secret of more than thirty-two characters"]);

const endpointId = (n: number): string => `00000000-0000-4000-8000-00000000010${n}`;

/** The hundredth newest order of the million. */
const orderUuid = "019f0000-0000-7000-8000-0000000f41dc";

/** A secret as PostgreSQL reads it in an array of texts. */
const sealed = (n: number): string => `"\\\\x${sealSecret(sealer, endpointId(n), createSecret()).toString("hex")}"`;

/** Endpoint 1 is behind with 100,000 orders and has given up 5,000, 2 has everything, 3 is disabled, 4 is deleted. */
export const deliveryRows: readonly string[] = [
  `insert into endpoint (id, url, secret, enabled, is_deleted, created_at)
   select ('00000000-0000-4000-8000-00000000010' || n)::uuid, 'https://shop.example.com/', secret::bytea, n < 3, n = 4, now() - interval '90 days'
   from unnest('{${[1, 2, 3, 4].map(sealed).join(",")}}'::text[]) with ordinality sealed (secret, n)`,
  `insert into delivery (endpoint_id, kind, subject_id, acked_epoch, acked_version, due_version, attempts, attempt_at)
   select ('00000000-0000-4000-8000-00000000010' || e)::uuid, 'order', id, case e when 2 then 0 end, case e when 2 then 2 end, case when e <> 2 then 2 end,
     case when e <> 2 and n <= 5000 then 10 else 0 end,
     case when e = 2 then null when n <= 5000 then 'infinity' else now() - n * interval '1 second' end
   from made cross join generate_series(1, 4) e where n <= 100000`,
  `insert into delivery_attempt (endpoint_id, subject_id, epoch, version, type, result, attempt, http_status, answer, at)
   select ('00000000-0000-4000-8000-00000000010' || e)::uuid, id, 0, 2, 'order.succeeded', case when e = 2 then 'delivered' else 'failed' end, 1, 200, 'ok', at
   from made cross join generate_series(1, 4) e where n <= 50000`,
  // A few orders with events that are older than the transaction's column.
  `insert into event (order_uuid, version, status, payment, also_paid, occurred_at, xid)
   select id, version, case version when 1 then 'pending' else status end, payment, '{}', at + version * interval '4 seconds', null
   from made join payment_of using (provider) cross join generate_series(1, 2) version
   where n between 206000 and 208000`,
  // The million's events have 600 transactions, of which the last ten are to be fanned out.
  "update fan_out set seen = '593:593:'",
];

/** Rows that a method's statements may read besides those of the result, because a limit of the statement bounds them. */
export const deliveryReads: Record<string, number> = {
  // 1,000 events and those of their last transaction, for each of the endpoints with its delivery; or 500 orders.
  fanOut: 40_000,
  // One page of 500 events, each with its order and the event before it.
  feed: 3_500,
  history: 2_100,
  // The first 51 that are due and the first 51 that are exhausted.
  pending: 300,
  // One page of 500 events and those of their last transaction, each with the event before it, and for each order what a fan-out reads.
  replay: 10_000,
  prepare: 400,
  removeDeleted: 2_000,
};

const daysAgo = (days: number): Date => new Date(Date.now() - days * 86_400_000);

/** Named as the keys of `deliveryReads`. */
export function deliveryCalls({ pool }: Database): Record<string, (() => Promise<unknown>)[]> {
  const endpoints = createEndpoints({ pool, sealer, onUnreadable: () => undefined });
  const [behind, complete] = [endpointId(1), endpointId(2)];
  const since = daysAgo(1 / 24);
  return {
    endpoints: [
      () => lookForEndpoints(pool),
      () => endpoints.create({ url: "https://shop.example.com/" }),
      () => endpoints.list(),
      () => endpoints.read(behind),
      () => endpoints.addresses([behind, complete]),
      () => endpoints.rotateSecret(complete),
      () => endpoints.epoch(),
      () => endpoints.remove(endpointId(3)),
    ],
    environment: [
      () => storeEnvironmentEndpoint(pool, sealer, { url: "https://shop.example.com/", secret: "whsec_" }),
      () => storeEnvironmentEndpoint(pool, sealer, undefined),
      () =>
        resealSecrets(pool, { sealer, newest: createSealer(["another secret of more than thirty-two characters"]) }),
    ],
    notifications: [
      () => storeNotifications(pool, [{ name: "receipt", events: ["order.succeeded"] }]),
      () => pool.query("update endpoint set seen_at = null where notification = 'receipt'"),
      () => removeNotifications(pool),
    ],
    fanOut: [() => fanOut(pool), () => pool.query("select start_epoch()").then(() => fanOut(pool)), () => fanOut(pool)],
    prepare: [() => attempt(pool)],
    resume: [() => endpoints.change(behind, { enabled: true }).then(() => resumeDeliveries(pool))],
    removeForeign: [() => removeForeign(pool)],
    replay: [
      () => replay(pool, complete, { since }),
      () => replay(pool, complete, { since, orderId: "MILLION-100", status: "succeeded" }),
      () => replay(pool, complete, { orderId: "MILLION-100" }),
      // The orders that are older than any event of a transaction.
      () => replay(pool, complete, { since: daysAgo(24), until: daysAgo(23.95) }),
    ],
    history: [
      () => listDeliveries(pool, complete, { limit: 50 }),
      () => listDeliveries(pool, complete, { limit: 50, orderId: "MILLION-100" }),
      () => listDeliveries(pool, behind, { limit: 50, status: deliveryStatuses[1] }),
    ],
    pending: [
      () => listDeliveries(pool, behind, { limit: 50, status: "pending" }),
      () => listDeliveries(pool, behind, { limit: 50, status: "pending", orderId: "MILLION-100" }),
    ],
    feed: [
      async () => readFeed(pool, { cursor: await placeSince(pool, since), limit: 50 }),
      () => readFeed(pool, { limit: 50, type: "order.review" }),
      async () => readFeed(pool, { cursor: await currentPlace(pool), limit: 50 }),
    ],
    orderFeed: [0, 1].map((after) => () => readOrderFeed(pool, orderUuid, after)),
    backlogOfDeliveries: [() => readDeliveryBacklog(pool)],
    disable: [() => disableFailing(pool), () => disableGone(pool, behind, "https://shop.example.com/")],
    removeDeleted: [() => removeDeleted(pool), () => removeEmpty(pool, endpoints)],
    withoutEndpoints: [
      () => pool.query("update endpoint set is_deleted = true where not is_deleted").then(() => lookForEndpoints(pool)),
    ],
  };
}

/** Removes a deleted endpoint that has no deliveries left. */
async function removeEmpty(pool: Database["pool"], endpoints: ReturnType<typeof createEndpoints>): Promise<void> {
  await pool.query("update endpoint set is_deleted = false");
  const { endpoint } = await endpoints.create({ url: "https://shop.example.com/" });
  await endpoints.remove(endpoint.id);
  await removeDeleted(pool);
}

/** Claims what is due, and ends one attempt in each way. */
async function attempt(pool: Database["pool"]): Promise<void> {
  const claimed = await claimDeliveries(pool, new Map([[endpointId(2), 1]]));
  const [first, second, third, fourth] = await prepareMessages(pool, [
    ...claimed,
    ...claimed.slice(0, 1).map((one) => ({ ...one, kind: "endpoint" as const, subjectId: endpointId(3) })),
  ]);
  if (!first?.message || !second || !third || !fourth) throw new Error("nothing was due");
  const reply = { isDelivered: true, isGone: false, durationMs: 1, status: 200 };
  await recordAttempt(pool, { claimed: first.claimed, message: first.message, reply, delayMs: undefined });
  await clearDelivery(pool, second.claimed, second.known);
  await releaseDelivery(pool, third.claimed);
  await deferDelivery(pool, fourth.claimed, { version: 2, deferMs: 1_000 });
}
