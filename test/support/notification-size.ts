/** The calls that send every statement of the notifications, in a database of a million orders. */
import type { Database } from "../../server/database/pool.ts";
import { readPaidOrder } from "../../server/notification/paid-order.ts";

/** A paid order of the million. */
const orderUuid = "019f0000-0000-7000-8000-0000000f41dc";

/** Named by what they do. */
export function notificationCalls({ pool }: Database): Record<string, (() => Promise<unknown>)[]> {
  return {
    paidOrder: [() => readPaidOrder(pool, orderUuid)],
  };
}
