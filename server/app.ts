/** The composition root: every wire of the process is visible here. */
import type { AddressInfo } from "node:net";
import { compile as compileTrust, default as proxyAddress } from "@fastify/proxy-addr";
import type { FastifyBaseLogger, FastifyInstance, FastifyRequest } from "fastify";
import type { StatusEvent } from "../client-sdk/protocol.ts";
import { apiDocsRoutes } from "./api-docs/document.ts";
import { createAccess } from "./auth/access.ts";
import { createSealer, createUrlSecrets } from "./auth/keys.ts";
import { createWatchTokens } from "./auth/watch-token.ts";
import type { Config } from "./config/config.ts";
import type { EnabledProvider } from "./config/providers.ts";
import type { Database } from "./database/pool.ts";
import { demoShopRoutes } from "./demo-shop/shop.ts";
import { HubError } from "./errors.ts";
import type { CutReason } from "./http/connection-guard.ts";
import { createRequestBudget } from "./http/request-budget.ts";
import { openHttp } from "./http/server.ts";
import { createMetrics } from "./metrics/metrics.ts";
import { createOrderQuery } from "./order/query.ts";
import { startRetention } from "./order/retention.ts";
import { createReview } from "./order/review.ts";
import { scheduleOf } from "./order/schedule.ts";
import { createStatistics } from "./order/statistics.ts";
import { createOrderStore } from "./order/store.ts";
import { findViolations } from "./order/violation.ts";
import { createInFlight } from "./payment/in-flight.ts";
import { createInitiator } from "./payment/initiate.ts";
import { createReconciler } from "./payment/reconcile.ts";
import { createStartPayment } from "./payment/start.ts";
import { createAccessToken, type StoredAccessToken } from "./provider/access-token.ts";
import { createRecentCalls, type FinishedCall, measureFetch, measureProviders } from "./provider/call-stats.ts";
import { createClient } from "./provider/http-client.ts";
import type { Provider } from "./provider/provider.ts";
import { startRefreshAhead } from "./provider/refresh-ahead.ts";
import { type Counter, createConnectionLimit } from "./rate-limit.ts";
import { healthRoutes } from "./route/health.ts";
import { metricsRoute } from "./route/metrics.ts";
import { orderRoutes } from "./route/orders.ts";
import { paymentRoutes } from "./route/payments.ts";
import { providerRoutes } from "./route/providers.ts";
import { returnRoutes } from "./route/returns.ts";
import { sdkRoutes } from "./route/sdk.ts";
import { webhookRoutes } from "./route/webhooks.ts";
import { sandboxRoutes } from "./sandbox/server.ts";
import type { StatusBus } from "./status/bus.ts";
import { createHub } from "./status/hub.ts";
import { createInvariants, type InvariantsOptions } from "./status/invariants.ts";
import { eventSourceRoute } from "./transport/eventsource.ts";
import { longPollRoute } from "./transport/longpoll.ts";
import { attachSocketIo } from "./transport/socketio.ts";
import { type Drainable, drain } from "./transport/transport.ts";
import { webSocketRoute } from "./transport/websocket.ts";
import { createInbox } from "./webhook/inbox.ts";
import { createReceiver } from "./webhook/receive.ts";
import { startRedelivery } from "./webhook/redelivery.ts";
import { openSpool } from "./webhook/spool.ts";

/** What outlives the app: the caller opens and closes them. */
export interface Resources {
  database: Database;
  bus: StatusBus;
  /** Counts for limits. */
  counter: Counter;
  log: FastifyBaseLogger;
}

/** One node of Tukio. */
export interface App {
  /** Resolves with the address when the node takes requests. */
  listen(): Promise<string>;
  /** How many orders have a watcher on this node. */
  readonly watchedOrders: number;
  /** Sends watchers away to come back elsewhere; resolves when requests and provider calls under way are done and stored. */
  close(): Promise<void>;
}

/** Wires one node, ready to listen. `timing`: other periods than the defaults; for tests. */
export async function createApp(
  config: Config,
  { database, bus, counter, log }: Resources,
  timing: Pick<InvariantsOptions, "checkMs"> = {},
): Promise<App> {
  const onError = (error: unknown): void => log.error({ err: error }, "background task failed");
  const onRecovered = (): void => log.info("background task works again");
  const isAllowedOrigin = (origin: string | undefined): boolean =>
    origin === undefined ||
    config.allowedOrigins === "any" ||
    config.allowedOrigins.includes(origin) ||
    // Pages of our own: browsers name the origin of their sockets and posts too.
    origin === new URL(publicUrl()).origin;
  const onCut = (why: CutReason, address: string): void => {
    log.info({ why, address }, "connection cut off");
    metrics.onCut(why);
  };
  const { app, guard, isDraining, close } = await openHttp({
    config,
    log,
    isAllowedOrigin,
    admit: (request) => admit(request),
    onError,
    onCut,
  });
  /** Where the server listens, or did: calls that have begun are finished when it listens no more. */
  let address: AddressInfo | undefined;
  app.server.once("listening", () => {
    address = app.server.address() as AddressInfo;
  });
  const publicUrl = (): string => config.publicUrl ?? `http://localhost:${address?.port}`;
  const selfUrl = (): string => `http://${reachable(config.host)}:${address?.port}`;

  const client = createClient();
  const sealer = createSealer(config.secrets);
  const statistics = createStatistics(database);
  const metrics = createMetrics({
    providers: new Map(config.enabledProviders.map(({ name, queriesPerMinute }) => [name, queriesPerMinute])),
    backlog: statistics.backlog,
    isBusUp: () => bus.healthy,
    spooled: () => spool?.waiting ?? 0,
  });
  const invariants = createInvariants({
    findViolations: () => findViolations(database),
    onViolation: metrics.onViolation,
    log,
    ...timing,
  });
  const calls = createRecentCalls();
  const onCall = (call: FinishedCall): void => {
    calls.add(call);
    metrics.onCall(call);
  };
  const accessTokens = new Map<string, StoredAccessToken>();
  const offered = config.enabledProviders.map(({ name, sandbox, baseUrl, open }) =>
    open(
      {
        baseUrl: () => (sandbox ? `${selfUrl()}/sandbox/${name}` : baseUrl),
        client,
        accessToken({ fetch, ...rules }) {
          const measured = measureFetch(name, fetch, onCall);
          const shared = { provider: name, pool: database.pool, sealer };
          const accessToken = createAccessToken({ ...shared, ...rules, fetch: measured });
          accessTokens.set(name, accessToken);
          return accessToken;
        },
      },
      config.secrets,
    ),
  );
  const providers = measureProviders(offered, onCall);
  const enabledOf = (name: string): EnabledProvider => {
    const found = config.enabledProviders.find((one) => one.name === name);
    if (!found) throw new Error(`${name} is not enabled`);
    return found;
  };
  const amountlessProviders = [...providers.values()]
    .filter((provider) => !provider.statesAmount)
    .map(({ name }) => name);
  // Nobody can follow an order yet when it is opened: whoever comes to it reads that.
  const announce = (event: StatusEvent): void => {
    if (event.version > 1) bus.publish(event);
  };
  const store = createOrderStore({
    database,
    announce(event, before) {
      announce(event);
      metrics.onEvent(event, before);
      invariants.onEvent(event, before);
    },
    amountlessProviders,
    receiptProviders: [...providers.values()].filter((provider) => provider.statesReceipt).map(({ name }) => name),
    limits: config.limit,
  });
  const query = createOrderQuery(database);
  const tokens = createWatchTokens(config.secrets, config.watchTokenTtlS);
  const access = createAccess({ apiKeys: config.apiKeys, tokens, query });
  const inbox = createInbox(database);
  const redelivery = startRedelivery({ providers, store, inbox, log });
  const onReference = async (name: string, reference: string): Promise<void> => {
    if (providers.get(name)?.isAccountWide) await redelivery.offerParked(name, reference);
  };
  const scheduleFor = (provider: Provider) => scheduleOf(provider, enabledOf(provider.name).sandbox !== undefined);
  const allowance = (provider: Provider) => ({
    ...scheduleFor(provider),
    perMinute: enabledOf(provider.name).queriesPerMinute,
    needsReference: provider.needsReference ?? false,
  });
  const reconciler = createReconciler({ providers, allowance, store, onReference, log });
  const spool = config.spool && openSpool({ ...config.spool, log });
  const receiver = createReceiver({
    providers,
    store,
    inbox,
    ...(spool && { spool }),
    isDatabaseUp: database.isUp,
    ask: reconciler.ask,
    offerParked: redelivery.offerParked,
    log,
  });
  const secrets = {
    webhook: createUrlSecrets(config.secrets, "webhook"),
    return: createUrlSecrets(config.secrets, "return"),
  };
  const initiator = createInitiator({ providers, store, secrets, onReference, publicUrl, log });
  const refreshAhead = startRefreshAhead({ accessTokens, log });
  const retention = startRetention({ database, onError, onRecovered });
  const { onResync, onWatchers, onPush } = metrics;
  const hub = createHub({ store, bus, onError, onRecovered, onResync, onWatchers, onPush, onNext: invariants.onNext });
  const budget = createRequestBudget(counter, { access, perMinute: config.limit.ip });
  const admit = async (request: FastifyRequest): Promise<void> => {
    // An address that cannot be read has no route.
    const isCheap = request.routeOptions.config?.isCheap;
    guard.trust(request.raw.socket, await budget.take(request, request.ip, isCheap));
  };
  const connectionLimit = createConnectionLimit(config.limit.connections);
  const watching = { hub, access, connectionLimit };
  const trust = compileTrust([...config.trustedProxies]);
  const terms = (name: string) => {
    const { sandbox, deadlineS } = enabledOf(name);
    return { live: sandbox === undefined, deadlineS };
  };
  const startPayment = createStartPayment({
    providers,
    terms: (name) => {
      const provider = providers.get(name);
      return { ...terms(name), firstCheckS: (provider && scheduleFor(provider).checksAtS[0]) ?? 10 };
    },
    store,
    initiator,
  });
  const beginNothingWhenDraining = (scope: FastifyInstance): void => {
    // Last, so that nothing begins after it that the node would have to wait for.
    scope.addHook("preHandler", async () => {
      if (isDraining()) throw new HubError("restarting", undefined, { retryAfterS: 1 });
    });
  };

  await apiDocsRoutes(app, { publicUrl, configuredUrl: config.publicUrl });
  sdkRoutes(app);
  healthRoutes(app, { database, bus, spool, isDraining });
  metricsRoute(app, { access, metrics });
  webhookRoutes(app, { providers, secrets: secrets.webhook, receiver, onWebhook: metrics.onWebhook });
  const returning = createInFlight();
  await app.register(async (scope) => {
    returnRoutes(scope, { providers, secrets: secrets.return, store, ask: reconciler.ask, inFlight: returning, log });
    const pretended = new Map([...providers].filter(([name]) => !terms(name).live));
    if (pretended.size === 0) return;
    await scope.register(async (shop) => {
      beginNothingWhenDraining(shop);
      demoShopRoutes(shop, { providers: pretended, accessTokens, startPayment, query, tokens, publicUrl });
    });
  });
  const sandboxed = config.enabledProviders.flatMap((provider) =>
    provider.sandbox ? [{ ...provider, sandbox: provider.sandbox }] : [],
  );
  const transports: Drainable[] = [];
  await app.register(sandboxRoutes, {
    sandboxed,
    secrets: config.secrets,
    hubUrl: selfUrl,
    publicUrl,
    connectionLimit,
    admit,
    prefix: "/sandbox",
  });
  await app.register(async (scope) => {
    scope.addHook("onRequest", ({ headers }, reply, done) => {
      reply.header("cache-control", "no-store");
      done(isAllowedOrigin(headers.origin) ? undefined : new HubError("origin_refused"));
    });
    await scope.register(async (payments) => {
      beginNothingWhenDraining(payments);
      paymentRoutes(payments, { access, startPayment, store, tokens });
    });
    const review = createReview({ database, store, announce, onResolved: metrics.onResolved });
    orderRoutes(scope, { access, query, review, tokens });
    providerRoutes(scope, { access, providers, accessTokens, terms, calls, statistics });
    transports.push(
      longPollRoute(scope, watching),
      eventSourceRoute(scope, watching),
      webSocketRoute(scope, { ...watching, guard }),
    );
  });
  const socketIo = attachSocketIo(app, {
    ...watching,
    isAllowedOrigin,
    addressOf: (request) => proxyAddress(request, trust),
    budget,
    guard,
  });
  metrics.countWatchers("socketio", socketIo.watcherCount);
  transports.push(socketIo);
  app.addHook("preClose", () => drain(transports));
  const finishCalls = async (): Promise<void> =>
    void (await Promise.all([initiator.close(), returning.close(), reconciler.close()]));
  // Hooks run one after another, those of scopes last: by then every transport has sent its watchers away. Still
  // before the server stops listening, where the sandbox would be out of reach.
  await app.register(async (scope) => {
    scope.addHook("preClose", finishCalls);
  });

  return {
    listen: () => app.listen({ port: config.port, host: config.host }),
    get watchedOrders() {
      return hub.watchedOrders;
    },
    async close() {
      // The time that calls under way are given runs from now on.
      void finishCalls();
      await close();
      // No request is under way any more, so no further call begins.
      await finishCalls();
      await receiver.close();
      spool?.close();
      await redelivery.close();
      await refreshAhead.close();
      await retention.close();
      await invariants.close();
      await hub.close();
      await client.close();
    },
  };
}

/** The address at which a server bound to `host` can reach itself. */
function reachable(host: string): string {
  if (host === "0.0.0.0") return "127.0.0.1";
  if (host === "::") return "[::1]";
  return host.includes(":") ? `[${host}]` : host;
}
