/** Creates the parts of payment links, and starts the loop that makes them paid and expired. */
import type { FastifyBaseLogger, FastifyInstance } from "fastify";
import type { Access } from "../auth/access.ts";
import { createSealer, type Sealer } from "../auth/keys.ts";
import type { WatchTokens } from "../auth/watch-token.ts";
import type { ShopBrand } from "../config/shop.ts";
import type { Database } from "../database/pool.ts";
import { reportTask } from "../log.ts";
import { startLoop } from "../loop.ts";
import type { StartPayment } from "../payment/start.ts";
import type { Terms } from "../provider/enabled.ts";
import type { Provider } from "../provider/provider.ts";
import { addressKey, type Counter, createLimit, type Limit } from "../rate-limit.ts";
import { createReservation, linkOfPayment } from "./page-order.ts";
import { pageRoutes } from "./page-routes.ts";
import type { PageStartOptions } from "./page-start.ts";
import { createPaymentLinks, type PaymentLinks, urlOf } from "./payment-link.ts";
import { resealTokens } from "./reseal.ts";
import { paymentLinkRoutes } from "./routes.ts";
import { settleDue } from "./settle.ts";

export interface OpenPaymentLinksOptions {
  database: Database;
  sealer: Sealer;
  /** The node's `TUKIO_SECRET`s. */
  secrets: readonly string[];
  providers: ReadonlyMap<string, Provider>;
  terms: (provider: string) => Pick<Terms, "live">;
  startPayment: StartPayment;
  tokens: Pick<WatchTokens, "issue">;
  counter: Counter;
  limit: PageLimits;
  shop: ShopBrand;
  /** Base of the links' URLs. */
  publicUrl: () => string;
  isDraining: () => boolean;
  /** Called after changes of links. */
  onChange: () => void;
  log: FastifyBaseLogger;
}

export interface PageLimits {
  /** Payments of one phone and of one address that the pages start in an hour, and with one provider in a minute. */
  readonly pagePhone: number;
  readonly pageIp: number;
  readonly pageProvider: number;
}

export interface OpenPaymentLinks {
  links: PaymentLinks;
  /** Adds the merchant's routes. */
  addRoutes(scope: FastifyInstance, access: Access): void;
  /** Adds the page, in a scope of its own. */
  addPage(app: FastifyInstance): Promise<void>;
  /** The address of the page on which a payment was started. Undefined for other payments. Throws `store_unavailable`. */
  pageOf(paymentId: string): Promise<URL | undefined>;
  close(): Promise<void>;
}

export function openPaymentLinks(options: OpenPaymentLinksOptions): OpenPaymentLinks {
  const { database, sealer, publicUrl, shop, limit } = options;
  const { pool } = database;
  const links = createPaymentLinks({ ...options, pool, onChange: options.onChange });
  const shopView = () => ({ ...shop, name: shop.name ?? new URL(publicUrl()).host });
  const page = {
    ...options,
    pool,
    shop: shopView,
    phoneMax: limit.pagePhone,
    admit: createAdmit(options),
    reserveOrderId: createReservation(pool),
  };
  return {
    links,
    addRoutes: (scope, access) => paymentLinkRoutes(scope, { access, links }),
    addPage: async (app) => void (await app.register((scope) => pageRoutes(scope, page))),
    async pageOf(paymentId) {
      const link = await linkOfPayment(pool, paymentId);
      const url = link && urlOf(link, { sealer, publicUrl });
      return url === undefined ? undefined : new URL(url);
    },
    close: startSettling(options).close,
  };
}

const hourMs = 3_600_000;

/** The address first: a payer who may not start a payment must not use up the provider's budget. */
function createAdmit({
  counter,
  limit,
}: Pick<OpenPaymentLinksOptions, "counter" | "limit">): PageStartOptions["admit"] {
  const addresses = createLimit(counter, { subject: "address's payments", max: limit.pageIp, windowMs: hourMs });
  const providers = createProviderLimit(counter, limit);
  return async (provider, address) => {
    await addresses.take(addressKey(address));
    await providers.take(provider);
  };
}

/** Payments with a provider that pages and plans start in a minute. */
export const createProviderLimit = (counter: Counter, { pageProvider }: Pick<PageLimits, "pageProvider">): Limit =>
  createLimit(counter, { subject: "provider on pages", max: pageProvider, windowMs: 60_000 });

/** 1 s, because a reader of a link settles it first anyway. */
const settleMs = 1_000;

function startSettling({ database: { pool }, sealer, secrets, onChange, log }: OpenPaymentLinksOptions) {
  // Only a rotation needs it.
  let isResealed = secrets.length < 2;
  let isUnfinished = false;
  return startLoop({
    async task() {
      if (!isResealed) await resealTokens(pool, { sealer, newest: createSealer(secrets.slice(0, 1)) });
      isResealed = true;
      const settled = await settleDue(pool);
      isUnfinished = settled.isUnfinished;
      if (settled.changed > 0) onChange();
    },
    delayMs: () => (isUnfinished ? 0 : settleMs),
    ...reportTask(log, "payment links"),
  });
}
