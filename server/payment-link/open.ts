/** Creates the parts of payment links, and starts the loop that makes them paid and expired. */
import type { FastifyBaseLogger, FastifyInstance } from "fastify";
import type { Access } from "../auth/access.ts";
import { createSealer, type Sealer } from "../auth/keys.ts";
import type { Database } from "../database/pool.ts";
import { reportTask } from "../log.ts";
import { startLoop } from "../loop.ts";
import type { Provider } from "../provider/provider.ts";
import { createPaymentLinks, type PaymentLinks } from "./payment-link.ts";
import { resealTokens } from "./reseal.ts";
import { paymentLinkRoutes } from "./routes.ts";
import { settleDue } from "./settle.ts";

export interface OpenPaymentLinksOptions {
  database: Database;
  sealer: Sealer;
  /** The node's `TUKIO_SECRET`s. */
  secrets: readonly string[];
  providers: ReadonlyMap<string, Provider>;
  /** Base of the links' URLs. */
  publicUrl: () => string;
  log: FastifyBaseLogger;
}

export interface OpenPaymentLinks {
  links: PaymentLinks;
  /** Adds the merchant's routes. */
  addRoutes(scope: FastifyInstance, access: Access): void;
  close(): Promise<void>;
}

/** 1 s, because a reader of a link settles it first anyway. */
const settleMs = 1_000;

export function openPaymentLinks(options: OpenPaymentLinksOptions): OpenPaymentLinks {
  const { database, sealer, secrets, log } = options;
  const { pool } = database;
  // Only a rotation needs it.
  let isResealed = secrets.length < 2;
  let isUnfinished = false;
  const settling = startLoop({
    async task() {
      if (!isResealed) await resealTokens(pool, { sealer, newest: createSealer(secrets.slice(0, 1)) });
      isResealed = true;
      ({ isUnfinished } = await settleDue(pool));
    },
    delayMs: () => (isUnfinished ? 0 : settleMs),
    ...reportTask(log, "payment links"),
  });
  const links = createPaymentLinks({ ...options, pool, onChange: () => undefined });
  return {
    links,
    addRoutes: (scope, access) => paymentLinkRoutes(scope, { access, links }),
    close: settling.close,
  };
}
