/** The calls that send every statement of the notifications, in a database of a million orders. */
import type { Database } from "../../server/database/pool.ts";
import { readNotifications, removeNotifications, storeNotifications } from "../../server/delivery/notification.ts";
import {
  beginAlertMail,
  readAlertMail,
  recordAlert,
  recordRefused,
  recordSent,
} from "../../server/notification/alert/store.ts";
import { isLiveOrder, readPaidOrder } from "../../server/notification/paid-order.ts";
import { createReceiptToken, findReceipt } from "../../server/notification/receipt-token.ts";
import { recordReport } from "../../server/notification/sms/report.ts";
import { releaseSms, settleSms, takeSms } from "../../server/notification/sms/take.ts";

/** A paid order of the million: the 5,000th newest. */
const orderUuid = "019f0000-0000-7000-8000-0000000f2eb8";

/** One SMS for each of the newest 200,000 paid orders. */
export const notificationRows: readonly string[] = [
  `insert into sms (id, order_uuid, replays, provider, status, reference, parts, at)
   select ('019f0000-0000-7000-b000-' || lpad(to_hex(n), 12, '0'))::uuid, id, 0, 'africastalking', 'sent', 'ATXid_' || n, 1, at
   from made where status = 'succeeded' and n <= 200000`,
  // As many alerts were sent, a hundred in each mail.
  `insert into alert (kind, live, subject, version, at, mail)
   select 'review', true, id::text, 2, at, 1 + n / 100 from made where n <= 200000`,
  "insert into alert_mail (kind, live, n, created_at, sent_at) select 'review', true, n, now(), now() - interval '2 hours' from generate_series(1, 2001) n",
];

/** The id of an SMS that no row has. */
const newSmsId = "019f0000-0000-7000-c000-000000000001";

const smsOf = (replays: number) => ({
  ...{ id: newSmsId, orderUuid, replays, provider: "africastalking" as const },
  ...{ from: new Date(0), until: undefined },
});

/** Named by what they do. */
export function notificationCalls({ pool }: Database): Record<string, (() => Promise<unknown>)[]> {
  return {
    paidOrder: [() => readPaidOrder(pool, orderUuid), () => isLiveOrder(pool, orderUuid)],
    takeSms: [() => takeSms(pool, smsOf(0)), () => takeSms(pool, smsOf(1))],
    settleSms: [() => settleSms(pool, newSmsId, { status: "unknown" })],
    releaseSms: [() => releaseSms(pool, newSmsId)],
    reportSms: [
      () => recordReport(pool, "africastalking", { of: { reference: "ATXid_100" }, status: "delivered" }),
      () => recordReport(pool, "africastalking", { of: { reference: "unknown" }, status: "failed" }),
      () => recordReport(pool, "http", { of: { id: newSmsId }, status: "failed" }),
    ],
    receipt: [async () => findReceipt(pool, await createReceiptToken(pool, orderUuid))],
    notifications: [() => readNotifications(pool)],
    alert: [() => sendAlerts(pool)],
  };
}

/** Stores an alert and sends its mail. */
async function sendAlerts(pool: Database["pool"]): Promise<void> {
  const group = { kind: "review", live: true } as const;
  await storeNotifications(pool, [{ name: "alert", events: ["order.review"] }]);
  await recordAlert(pool, { ...group, subject: orderUuid, version: 3 }, false);
  const { n } = await beginAlertMail(pool, group);
  if (n === null) throw new Error("an alert waits");
  await readAlertMail(pool, group, n);
  await recordRefused(pool, group, n);
  await recordSent(pool, group, n);
  await pool.query("update endpoint set seen_at = null where notification = 'alert'");
  await removeNotifications(pool);
}
