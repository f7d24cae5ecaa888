/**
 * Checks payments because of webhooks: makes a payment due in PostgreSQL, and asks its provider through the reconciler.
 *
 * While PostgreSQL is away, up to 10,000 payments are remembered and made due when it is back; the schedule checks the
 * others. A restart forgets them, and the schedule checks those too. Any number of checks may run at once.
 */

import { waitAtMost } from "../in-flight.ts";
import type { OrderStore } from "../order/store.ts";

/** Shared by the receiver's parts, which all change it. */
export interface DatabaseState {
  /**
   * PostgreSQL failed a webhook and has not answered since: the next webhooks go to the spool without waiting for it.
   */
  isAway: boolean;
}

export interface PaymentChecks {
  /**
   * Checks a payment that is due. With `waits`, resolves when the provider's answer is stored, after 1 s at the latest;
   * otherwise resolves at once. Never rejects.
   */
  checkDue(paymentId: string, waits: boolean): Promise<void>;
  /** Makes the payment due and checks it, in the background. While PostgreSQL is away, postpones the check. */
  checkNow(paymentId: string): void;
  /** Remembers the payment, to check it once PostgreSQL is back. */
  postpone(paymentId: string): void;
  readonly hasPostponed: boolean;
  /** Makes the postponed payments due. Throws `store_unavailable` while PostgreSQL is away; the rest stays postponed. */
  resume(): Promise<void>;
}

export interface PaymentChecksOptions {
  store: Pick<OrderStore, "checkNow">;
  database: Readonly<DatabaseState>;
  /** Asks the provider of a due payment, and resolves when the answer is stored. Never rejects. */
  check: (paymentId: string) => Promise<unknown>;
}

const postponedMax = 10_000;

/** 1 s, because the watchers should see the new state by the time the provider has its reply, and no provider waits long. */
const checkFirstMs = 1_000;

export function createPaymentChecks({ store, database, check }: PaymentChecksOptions): PaymentChecks {
  const postponed = new Set<string>();

  const postpone = (paymentId: string): void => {
    if (postponed.size < postponedMax) postponed.add(paymentId);
  };

  return {
    postpone,
    get hasPostponed() {
      return postponed.size > 0;
    },
    async checkDue(paymentId, waits) {
      const checked = check(paymentId);
      if (waits) await waitAtMost(checkFirstMs, checked);
    },
    checkNow(paymentId) {
      if (database.isAway) return postpone(paymentId);
      store.checkNow(paymentId).then(
        () => check(paymentId),
        () => postpone(paymentId),
      );
    },
    async resume() {
      for (const paymentId of postponed) {
        await store.checkNow(paymentId);
        postponed.delete(paymentId);
      }
    },
  };
}
