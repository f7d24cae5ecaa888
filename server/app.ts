/**
 * The composition root: creates the parts of a node and connects them. It takes no decisions.
 *
 * Parts are created from the lower layers to the upper ones. If two need each other, the first one gets a function that
 * reads the second one when it is called, which is after all parts exist.
 */
import type { FastifyBaseLogger, FastifyRequest } from "fastify";
import { apiDocsRoutes } from "./api-docs/document.ts";
import { type AuthOptions, openAuth } from "./auth/open.ts";
import type { Config } from "./config/config.ts";
import type { Database } from "./database/pool.ts";
import type { SubjectReaders } from "./delivery/message.ts";
import { openDelivery } from "./delivery/open.ts";
import { createFulfilment, demoShopRoutes } from "./demo-shop/shop.ts";
import { openDoctor } from "./doctor/open.ts";
import { createNodeUrl } from "./http/node-url.ts";
import { createAdmission, createRequestBudget } from "./http/request-budget.ts";
import { addClosingSteps, restrictToOrigins } from "./http/scope.ts";
import { openHttp } from "./http/server.ts";
import { openKeys } from "./key/open.ts";
import { reportEpochs, reportTask } from "./log.ts";
import { createMetrics } from "./metrics/metrics.ts";
import { reportToBoth } from "./notification/alert/watch.ts";
import { openNotifications } from "./notification/open.ts";
import { createOrderQuery } from "./order/query.ts";
import { startRetention } from "./order/retention.ts";
import { createReview } from "./order/review.ts";
import { createStatistics } from "./order/statistics.ts";
import { createOrderStore } from "./order/store.ts";
import { findViolations } from "./order/violation.ts";
import { openPayments } from "./payment/open.ts";
import { openPaymentLinks } from "./payment-link/open.ts";
import { openPlans } from "./plan/open.ts";
import { evidenceFacts, queryLimits, sandboxesOf } from "./provider/enabled.ts";
import { openProviders } from "./provider/open.ts";
import { startRefreshAhead } from "./provider/refresh-ahead.ts";
import { providerNames } from "./provider/registry.ts";
import { type Counter, createConnectionLimit } from "./rate-limit.ts";
import { addApiRoutes, addOpenRoutes } from "./route/attach.ts";
import { addSandboxes } from "./sandbox/server.ts";
import { announceTo, createPublish, type StatusBus } from "./status/bus.ts";
import { createHub } from "./status/hub.ts";
import { createInvariants, type InvariantsOptions } from "./status/invariants.ts";
import { createTransports } from "./transport/attach.ts";
import { openWebhooks, startParking } from "./webhook/open.ts";

/** The parts that outlive the app. The caller opens and closes them. `counter` counts for limits. */
export type Resources = { database: Database; bus: StatusBus; counter: Counter; log: FastifyBaseLogger };

/** One node of Tukio. */
export interface App {
  /** Resolves with the address when the node takes requests. */
  listen(): Promise<string>;
  /** The number of orders that have a watcher on this node. */
  readonly watchedOrders: number;
  /** Disconnects the watchers; resolves when no request and no provider call is in flight and every outcome is stored. */
  close(): Promise<void>;
}

/** Creates one node, ready to listen. `timing`: other periods than the defaults; for tests only. */
// biome-ignore lint/complexity/noExcessiveLinesPerFunction: wires only
export async function createApp(
  config: Config,
  { database, bus, counter, log }: Resources,
  timing: Pick<InvariantsOptions, "checkMs"> = {},
): Promise<App> {
  const { enabledProviders, secrets, limit, trustedProxies } = config;
  const { publicUrl, selfUrl, isAllowedOrigin, observe } = createNodeUrl(config);
  const http = await openHttp({
    config,
    log,
    isAllowedOrigin,
    admit: (request) => admit(request),
    onError: reportTask(log, "connection check").onError,
    onCut: (why) => metrics.onCut(why),
  });
  const { app, guard, isDraining } = http;
  observe(app.server);
  const query = createOrderQuery(database);
  const statistics = createStatistics(database);
  const onSecondarySecret: AuthOptions["onSecondarySecret"] = (purpose) => metrics.onSecondarySecret(purpose);
  const { ring, ...keys } = openKeys({ ...config, app, database, counter, log });
  const authOptions = { app, ring, query, database, counter, log, onSecondarySecret };
  const { access, tokens, sealer, urlSecrets, secretComparison, isBlocked } = openAuth(config, authOptions);
  const metrics = createMetrics({
    providers: queryLimits(enabledProviders),
    backlog: statistics.backlog,
    isDatabaseUp: database.isUp,
    ...reportTask(log, "backlog"),
    isBusUp: () => bus.healthy,
    spooled: () => webhooks.spool?.waiting ?? 0,
    secrets: () => secretComparison.state,
  });
  const { onCall, onViolation, onProviderFailing, ...measured } = reportToBoth(metrics, () => notifications.alerts);
  const invariants = createInvariants({ findViolations: () => findViolations(database), onViolation, log, ...timing });
  const offered = openProviders({ ...config, ...authOptions, sealer, isBlocked, selfUrl, onCall, onProviderFailing });
  const { providers, accessTokens, terms, calls } = offered;
  const publish = createPublish(bus);
  const readers: SubjectReaders = { links: (ids) => paymentLinks.links.states(ids), plans: (ids) => plans.states(ids) };
  const notificationParts = { ...authOptions, publicUrl, selfUrl, urlSecrets, isBlocked, delivery: () => delivery };
  const { gateways, smsGateway, ...notifications } = openNotifications({ ...config, ...notificationParts });
  const delivery = openDelivery({ ...config, database, sealer, metrics, log, readers, notifications });
  const fulfilment = createFulfilment({ query, store: () => store, log });
  const announce = announceTo([publish, metrics.onEvent, invariants.onEvent, delivery.wake, fulfilment.onEvent]);
  const epochListener = reportEpochs(log);
  const store = createOrderStore({ database, announce, ...evidenceFacts(providers), limits: limit, epochListener });
  const review = createReview({ database, store, announce: announceTo([publish, delivery.wake]), ...measured });
  const parking = startParking({ database, providers, store, log });
  const payments = openPayments({ ...notificationParts, ...offered, ...parking, store });
  const { startPayment, check, completions, finishCalls } = payments;
  const linkParts = { database, sealer, tokens, counter, providers, terms, startPayment, publicUrl, isDraining, log };
  const paymentLinks = openPaymentLinks({ ...config, ...linkParts, onChange: delivery.wake });
  const plans = openPlans({ ...config, ...linkParts, onChange: delivery.wake });
  const webhooks = openWebhooks({ parking, spoolSettings: config.spool, database, providers, store, check, log });
  const refreshAhead = startRefreshAhead({ accessTokens, log });
  const retention = startRetention({ database, files: webhooks.spool, ...reportTask(log, "retention") });
  const reports = { ...reportTask(log, "resync"), onWatcherError: reportTask(log, "delivery").onError };
  const hub = createHub({ store, bus, ...reports, ...measured, onNext: invariants.onNext });
  const budget = createRequestBudget(counter, { access, perMinute: limit.ip });
  const admit: (request: FastifyRequest) => Promise<void> = createAdmission(budget, guard);
  const connectionLimit = createConnectionLimit(limit.connections);
  const transports = createTransports({ hub, access, connectionLimit, guard, budget, isAllowedOrigin, trustedProxies });
  const shared = { access, metrics, database, bus, store, query, tokens, providers, accessTokens, terms, isDraining };
  // First, because it describes the routes that are added after it.
  await apiDocsRoutes(app, { publicUrl, config });
  const doctor = openDoctor({ ...shared, ...webhooks, ...notificationParts, config, secretComparison, smsGateway });
  const openParts = { ...webhooks, ...measured, urlSecrets, secretComparison, isBlocked, pageOf: paymentLinks.pageOf };
  await addOpenRoutes(app, { ...shared, ...openParts, check, inFlight: completions, log });
  for (const { addPage } of [paymentLinks, plans, notifications]) await addPage(app, admit);
  await app.register(demoShopRoutes, { ...shared, ...linkParts, ...paymentLinks, plans, fulfilment, delivery });
  const own = { sandboxed: sandboxesOf(enabledProviders), gateways, names: providerNames, hubUrl: selfUrl, secrets };
  const sandboxes = await addSandboxes(app, { ...own, ...shared, publicUrl, admit, secretComparison, log });
  await app.register(async (api) => {
    restrictToOrigins(api, isAllowedOrigin);
    await addApiRoutes(api, { ...config, ...shared, ...parking, ...payments, review, calls, statistics, doctor });
    transports.addRoutes(api);
    for (const { addRoutes } of [delivery, paymentLinks, plans, notifications, keys]) addRoutes(api, access);
  });
  metrics.countWatchers("socketio", transports.addSocketIo(app));
  // Watchers are disconnected first. The server listens until calls have ended, because a sandbox is reached through it.
  await addClosingSteps(app, [transports.drain, finishCalls, sandboxes.leave]);
  return {
    async listen() {
      const url = await app.listen({ port: config.port, host: config.host });
      await sandboxes.join();
      return url;
    },
    get watchedOrders() {
      return hub.watchedOrders;
    },
    async close() {
      // Called here already, because the 10 s that calls in flight are given begin now and not after the watchers are gone.
      void finishCalls();
      await http.close();
      await finishCalls(); // Again, because requests that were in flight until now may have begun calls.
      // From the parts that write to the database down to the parts that they use.
      const parts = [fulfilment, delivery, notifications, plans, paymentLinks, webhooks, refreshAhead, retention];
      for (const part of [...parts, invariants, hub, offered, keys]) await part.close();
    },
  };
}
