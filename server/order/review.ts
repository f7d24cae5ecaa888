/** A person decides on a payment whose facts disagree. Rare, so it is plain statements in one transaction. */

import { asHubError, type Database } from "../database/pool.ts";
import { HubError } from "../errors.ts";
import { rejectStatement } from "./decide.ts";
import type { StatusEvent } from "./order.ts";
import { type OrderRow, type StateRow, toEvent } from "./row.ts";
import type { OrderStore } from "./store.ts";
import type { Tables } from "./tables.ts";

export interface Decision {
  orderId: string;
  paymentId: string;
  as: "succeeded" | "failed";
  /** Why; kept in the order's history. */
  note: string;
}

/** A decision that was recorded, and whose payment it was about. */
export interface ResolvedReview extends Pick<Decision, "as"> {
  provider: string;
}

export interface Review {
  /**
   * Records the decision and answers with the order's state after it. `failed` carries `rejected` and allows another
   * try. Throws `order_unknown`, `payment_unknown` or `not_in_review` (with `order`).
   */
  resolve(decision: Decision): Promise<StatusEvent>;
}

export interface ReviewOptions {
  database: Database;
  store: Pick<OrderStore, "advance">;
  announce: (event: StatusEvent) => void;
  /** Hears of every decision once, after its commit. */
  onResolved?: (resolved: ResolvedReview) => void;
}

export function createReview({ database, store, announce, onResolved }: ReviewOptions): Review {
  const { pool } = database;

  const orderOf = async (orderId: string): Promise<OrderRow> => {
    const { rows } = await pool.query<OrderRow>('select * from "order" where order_id = $1', [orderId]);
    if (!rows[0]) throw new HubError("order_unknown");
    return rows[0];
  };

  const paymentOf = async (order: OrderRow, paymentId: string): Promise<{ provider: string; status: string }> => {
    const { rows } = await pool.query<Pick<Tables["payment"], "provider" | "status">>(
      "select provider, status from payment where id = $1 and order_uuid = $2",
      [paymentId, order.id],
    );
    if (!rows[0]) throw new HubError("payment_unknown");
    return rows[0];
  };

  /** Whether this call did it; false when the payment is not in review any more. */
  const reject = async (orderUuid: string, { paymentId, note }: Decision): Promise<boolean> => {
    const client = await pool.connect();
    try {
      await client.query("begin");
      const locked = await client.query("select from payment where id = $1 and status = 'review' for update", [
        paymentId,
      ]);
      if (locked.rowCount === 0) {
        await client.query("rollback");
        return false;
      }
      await client.query('select from "order" where id = $1 for update', [orderUuid]);
      const { rows } = await client.query<StateRow>({ ...rejectStatement, values: [paymentId, note] });
      await client.query("commit");
      if (rows[0]) announce(toEvent(rows[0]));
      return true;
    } catch (error) {
      await client.query("rollback").catch(() => undefined);
      throw error;
    } finally {
      client.release();
    }
  };

  const accept = async ({ paymentId, note }: Decision): Promise<boolean> =>
    (await store.advance(paymentId, { status: "succeeded", source: "person", note })).result === "applied";

  const decide = async (decision: Decision): Promise<StatusEvent> => {
    const { orderId, paymentId, as } = decision;
    const order = await orderOf(orderId);
    const { provider, status } = await paymentOf(order, paymentId);
    // Somebody else may decide in between: one decision is taken, and whoever comes second is told.
    const isTaken = status === "review" && (await (as === "failed" ? reject(order.id, decision) : accept(decision)));
    if (isTaken) onResolved?.({ provider, as });
    const event = toEvent(await orderOf(orderId));
    if (!isTaken) throw new HubError("not_in_review", undefined, { order: event });
    return event;
  };

  return {
    async resolve(decision) {
      try {
        return await decide(decision);
      } catch (error) {
        throw asHubError(error);
      }
    },
  };
}
