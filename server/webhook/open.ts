/** Wires the receiver, the spool and the redelivery of webhooks. */
import type { FastifyBaseLogger } from "fastify";
import type { Database } from "../database/pool.ts";
import type { OrderStore } from "../order/store.ts";
import type { Provider } from "../provider/provider.ts";
import { type Assign, createAssign } from "./assign.ts";
import { listWebhooks, type WebhookFilter, type WebhookPage } from "./history.ts";
import { createInbox, type Inbox } from "./inbox.ts";
import { createReceiver, type Receiver } from "./receive.ts";
import { type Redelivery, startRedelivery } from "./redelivery.ts";
import { openSpool, type Spool } from "./spool.ts";

export interface ParkingOptions {
  database: Database;
  providers: ReadonlyMap<string, Provider>;
  store: OrderStore;
  log: FastifyBaseLogger;
}

export interface Parking {
  inbox: Inbox;
  redelivery: Redelivery;
  /**
   * Applies the webhooks that are parked under a reference that was just stored. Only account-wide webhooks are parked,
   * because all others name their payment in the URL.
   */
  onReference(provider: string, reference: string): Promise<void>;
  assign: Assign;
  listWebhooks(filter: WebhookFilter): Promise<WebhookPage>;
}

/** Starts the loop that retries stored webhooks. */
export function startParking({ database, providers, store, log }: ParkingOptions): Parking {
  const inbox = createInbox(database);
  const redelivery = startRedelivery({ providers, store, inbox, log });
  const onReference = async (name: string, reference: string): Promise<void> => {
    if (providers.get(name)?.isAccountWide) await redelivery.applyParked(name, reference);
  };
  return {
    inbox,
    redelivery,
    onReference,
    assign: createAssign({ pool: database.pool, providers, store, onReference }),
    listWebhooks: (filter) => listWebhooks(database.pool, filter),
  };
}

export interface WebhooksOptions extends ParkingOptions {
  parking: Parking;
  /** Where webhooks are spooled; undefined: the spool is off. */
  spoolSettings: { readonly dir: string; readonly maxMb: number } | undefined;
  /** Asks the provider of a due payment. Never rejects. */
  check: (paymentId: string) => Promise<unknown>;
}

export interface Webhooks {
  receiver: Receiver;
  spool: Spool | undefined;
  /** Stops the receiver, the spool and the redelivery, in this order, because each may still use the next. */
  close(): Promise<void>;
}

/** Starts the loop that drains the spool. Throws when the spool's directory cannot be used. */
export function openWebhooks({ parking, spoolSettings, database, ...options }: WebhooksOptions): Webhooks {
  const { inbox, redelivery } = parking;
  const spool = spoolSettings && openSpool({ ...spoolSettings, log: options.log });
  const receiver = createReceiver({
    ...options,
    inbox,
    ...(spool && { spool }),
    isDatabaseUp: database.isUp,
    applyParked: redelivery.applyParked,
  });
  return {
    receiver,
    spool,
    async close() {
      await receiver.close();
      spool?.close();
      await redelivery.close();
    },
  };
}
