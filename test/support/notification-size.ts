/** The calls that send every statement of the notifications, in a database of a million orders. */
import type { Database } from "../../server/database/pool.ts";
import { readNotifications } from "../../server/delivery/notification.ts";
import { readPaidOrder } from "../../server/notification/paid-order.ts";
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
    paidOrder: [() => readPaidOrder(pool, orderUuid)],
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
  };
}
