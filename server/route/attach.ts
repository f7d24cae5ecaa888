/** Adds the routes of this folder to a node. */
import type { FastifyInstance } from "fastify";
import type { UrlSecrets } from "../auth/keys.ts";
import { createCsv } from "../http/csv.ts";
import { refuseWhileDraining } from "../http/scope.ts";
import { faviconRoute } from "../http/static-files.ts";
import { type AskRoutesOptions, askRoutes } from "./ask.ts";
import { deskRoutes } from "./desk.ts";
import { type DoctorRouteOptions, doctorRoute } from "./doctor.ts";
import { type HealthRoutesOptions, healthRoutes } from "./health.ts";
import { type InboxRoutesOptions, inboxRoutes } from "./inbox.ts";
import { type MetricsRouteOptions, metricsRoute } from "./metrics.ts";
import { type OrderListOptions, orderListRoutes } from "./order-list.ts";
import { type OrderRoutesOptions, orderRoutes } from "./orders.ts";
import { type PaymentListOptions, paymentListRoutes } from "./payment-list.ts";
import { type PaymentRoutesOptions, paymentRoutes } from "./payments.ts";
import { type ProviderRoutesOptions, providerRoutes } from "./providers.ts";
import { type ReportRoutesOptions, reportRoutes } from "./report.ts";
import { type ResultRoutesOptions, resultRoutes } from "./results.ts";
import { type ReturnRoutesOptions, returnRoutes } from "./returns.ts";
import { sdkRoutes } from "./sdk.ts";
import { type WebhookRoutesOptions, webhookRoutes } from "./webhooks.ts";

export interface OpenRoutesOptions
  extends HealthRoutesOptions,
    MetricsRouteOptions,
    Omit<WebhookRoutesOptions, "secrets">,
    Omit<ReturnRoutesOptions, "secrets"> {
  urlSecrets: { webhook: UrlSecrets; return: UrlSecrets };
}

/** Adds the routes that any origin may call and that work while the node drains. */
export async function addOpenRoutes(
  app: FastifyInstance,
  { urlSecrets, ...options }: OpenRoutesOptions,
): Promise<void> {
  faviconRoute(app);
  sdkRoutes(app);
  deskRoutes(app);
  healthRoutes(app, options);
  metricsRoute(app, options);
  webhookRoutes(app, { ...options, secrets: urlSecrets.webhook });
  // In a scope, so that the API docs list it after the webhooks, which have a scope too.
  await app.register(async (scope) => returnRoutes(scope, { ...options, secrets: urlSecrets.return }));
}

export interface ApiRoutesOptions
  extends Omit<PaymentRoutesOptions, "store">,
    Omit<OrderRoutesOptions & OrderListOptions & PaymentListOptions, "query" | "sendCsv">,
    Omit<AskRoutesOptions & InboxRoutesOptions & ReportRoutesOptions, "query" | "store">,
    Omit<ResultRoutesOptions, "store">,
    ProviderRoutesOptions,
    DoctorRouteOptions {
  store: PaymentRoutesOptions["store"] & ResultRoutesOptions["store"];
  query: OrderRoutesOptions["query"];
  isDraining: () => boolean;
}

/** Adds the merchant's API. While the node drains, orders can still be read, but no payment can be started. */
export async function addApiRoutes(scope: FastifyInstance, options: ApiRoutesOptions): Promise<void> {
  await scope.register(async (payments) => {
    refuseWhileDraining(payments, options.isDraining);
    paymentRoutes(payments, options);
  });
  orderRoutes(scope, options);
  const lists = { ...options, sendCsv: createCsv(scope) };
  orderListRoutes(scope, lists);
  paymentListRoutes(scope, lists);
  reportRoutes(scope, options);
  askRoutes(scope, options);
  inboxRoutes(scope, options);
  resultRoutes(scope, options);
  providerRoutes(scope, options);
  doctorRoute(scope, options);
}
