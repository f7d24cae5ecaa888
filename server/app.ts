/** The composition root: every wire of the process is visible here. */
import { randomUUID } from "node:crypto";
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import cors from "@fastify/cors";
import helmet from "@fastify/helmet";
import { compile as compileTrust, default as proxyAddress } from "@fastify/proxy-addr";
import rateLimit from "@fastify/rate-limit";
import websocket from "@fastify/websocket";
import Fastify, { type FastifyBaseLogger, type FastifyInstance, LogController } from "fastify";
import type { StatusEvent } from "../client-sdk/protocol.ts";
import type { Config, ProviderName } from "./config.ts";
import { trackConnections } from "./connections.ts";
import { documentRoutes } from "./document/document.ts";
import { HubError } from "./errors.ts";
import { type Counter, createGate, createLimit, limited } from "./limit.ts";
import { startLoop } from "./loop.ts";
import { createAccess } from "./order/access.ts";
import type { Database } from "./order/database.ts";
import { createInbox } from "./order/inbox.ts";
import { createOrderQuery } from "./order/query.ts";
import { startRetention } from "./order/retention.ts";
import { createReview } from "./order/review.ts";
import { createSealer, createUrlSecrets } from "./order/secret.ts";
import { createOrderStore } from "./order/store.ts";
import { createWatchTokens } from "./order/token.ts";
import { createClient } from "./provider/client.ts";
import { createCredential } from "./provider/credential.ts";
import { createInitiator } from "./provider/initiate.ts";
import { createProviders, type Endpoints } from "./provider/providers.ts";
import { createReconciler } from "./provider/reconciler.ts";
import { startRedelivery } from "./provider/redelivery.ts";
import { healthRoutes } from "./route/health.ts";
import { orderRoutes } from "./route/orders.ts";
import { paymentRoutes } from "./route/payments.ts";
import { handleErrors, refuseUnroutable } from "./route/problem.ts";
import { webhookRoutes } from "./route/webhooks.ts";
import { darajaSandboxAccount } from "./sandbox/daraja.ts";
import { sandboxRoutes } from "./sandbox/sandbox.ts";
import type { StatusBus } from "./status/bus.ts";
import { createHub } from "./status/hub.ts";
import { readTrace, withTrace } from "./trace.ts";
import { eventSourceRoute } from "./transport/eventsource.ts";
import { longPollRoute } from "./transport/longpoll.ts";
import { attachSocketIo } from "./transport/socketio.ts";
import { webSocketRoute } from "./transport/websocket.ts";

/** What outlives the app: the caller opens and closes them. */
export interface Resources {
  database: Database;
  bus: StatusBus;
  /** Counts for limits. */
  counter: Counter;
  log: FastifyBaseLogger;
}

const bodyLimit = 65_536;

/** How long WebSocket clients may take to answer a close when the node stops. */
const closeGraceMs = 1_000;

/** How long requests under way may take when the node stops. */
const requestGraceMs = 10_000;

/** One node of Tukio. */
export interface App {
  /** Resolves with the address when the node takes requests. */
  listen(): Promise<string>;
  /** How many orders have a watcher on this node. */
  readonly watched: number;
  /** Sends watchers away to come back elsewhere; resolves when requests and provider calls under way are done and stored. */
  close(): Promise<void>;
}

/** Wires one node, ready to listen. */
export async function createApp(config: Config, { database, bus, counter, log }: Resources): Promise<App> {
  const onError = (error: unknown): void => log.error({ err: error }, "background task failed");
  const app = Fastify({
    loggerInstance: log,
    logController: new LogController({ disableRequestLogging: true }),
    trustProxy: config.trustedProxies.length > 0 ? [...config.trustedProxies] : false,
    bodyLimit,
    genReqId: requestIdOf,
    // Longer than any id or secret: those are refused by what they are, not by their length.
    routerOptions: { maxParamLength: 512 },
    frameworkErrors: refuseUnroutable,
    // Whoever still has a connection is answered while the server closes.
    return503OnClosing: false,
    // An offer to upgrade to anything but a WebSocket (`h2c`, say) is declined by answering the request as it is.
    http: { shouldUpgradeCallback: isWebSocket },
  });
  const address = (): AddressInfo => app.server.address() as AddressInfo;
  const publicUrl = (): string => config.publicUrl ?? `http://localhost:${address().port}`;
  const selfUrl = (): string => `http://${reachable(config.host)}:${address().port}`;

  const client = createClient();
  const sealer = createSealer(config.secrets);
  const providers = createProviders({
    endpoints: endpointsOf(config, selfUrl),
    client,
    credential: (provider, fetch) => createCredential({ provider, pool: database.pool, sealer, fetch }),
  });
  const bareProviders = [...providers.values()].filter((provider) => !provider.statesAmount).map(({ name }) => name);
  const announce = (event: StatusEvent): void => bus.publish(event);
  const store = createOrderStore({ database, announce, bareProviders });
  const query = createOrderQuery(database);
  const tokens = createWatchTokens(config.secrets, config.watchTokenTtlS);
  const access = createAccess({ apiKeys: config.apiKeys, tokens, query });
  const secrets = createUrlSecrets(config.secrets, "webhook");
  const initiator = createInitiator({ providers, store, secrets, publicUrl, log });
  const reconciler = createReconciler({ providers, store, log });
  const inbox = createInbox(database);
  const retention = startRetention({ database, onError });
  const redelivery = startRedelivery({ providers, store, inbox, log });
  const hub = createHub({ store, bus, onError });
  const gate = createGate(config.limit.connections);
  const windowMs = 600_000;
  const limits = {
    phone: createLimit(counter, { what: "phone", max: config.limit.phone, windowMs }),
    order: createLimit(counter, { what: "order", max: config.limit.order, windowMs }),
  };
  const trust = compileTrust([...config.trustedProxies]);
  const terms = (name: string) => ({
    live: !config.sandbox.includes(name as ProviderName),
    deadlineS: config.deadlineS[name as ProviderName],
  });

  const isAllowedOrigin = (origin: string | undefined): boolean =>
    origin === undefined || config.allowedOrigins === "any" || config.allowedOrigins.includes(origin);

  handleErrors(app);
  acceptEmptyJson(app);
  logRequests(app);
  await app.register(helmet, {
    contentSecurityPolicy: { useDefaults: false, directives: { defaultSrc: ["'none'"], frameAncestors: ["'none'"] } },
    // Other origins read the API as far as CORS lets them.
    crossOriginResourcePolicy: { policy: "cross-origin" },
    strictTransportSecurity: config.isProduction,
  });
  await app.register(cors, {
    origin: (origin, done) => done(null, isAllowedOrigin(origin)),
    exposedHeaders: ["retry-after", "idempotency-replayed", "preference-applied"],
    maxAge: 600,
  });
  const upgrades = createServer();
  // Its own way of closing sockets, without a code, would come before the transport's.
  await app.register(websocket, { options: { server: upgrades, maxPayload: 4_096 }, preClose: (done) => done() });

  documentRoutes(app, { publicUrl });
  healthRoutes(app, { database, bus });
  webhookRoutes(app, { providers, secrets, store, inbox });
  await app.register(sandboxRoutes, { names: config.sandbox, deadlineS: config.deadlineS.daraja, prefix: "/sandbox" });
  await app.register(async (scope) => {
    scope.addHook("onRequest", async ({ headers }) => {
      if (!isAllowedOrigin(headers.origin)) throw new HubError("origin_refused");
    });
    await limitAddresses(scope, counter, config.limit.ip);
    paymentRoutes(scope, { access, providers, terms, store, tokens, initiator, limits });
    orderRoutes(scope, { access, query, review: createReview({ database, store, announce }), tokens });
    longPollRoute(scope, { hub, access, gate });
    eventSourceRoute(scope, { hub, access, gate });
    webSocketRoute(scope, { hub, access, gate });
  });
  // Before the server stops listening, where the sandbox would be out of reach.
  app.addHook("preClose", () => initiator.close());
  attachSocketIo(app, {
    hub,
    access,
    gate,
    isAllowedOrigin,
    addressOf: (request) => proxyAddress(request, trust),
    limit: createLimit(counter, { what: "address", max: config.limit.ip, windowMs: 60_000 }),
  });
  shareUpgrades(app, upgrades);
  const connections = trackConnections(app.server);

  return {
    listen: () => app.listen({ port: config.port, host: config.host }),
    get watched() {
      return hub.watched;
    },
    async close() {
      const startedMs = performance.now();
      const task = async (): Promise<void> => {
        const tookMs = performance.now() - startedMs;
        connections.endIdle();
        if (tookMs > closeGraceMs) connections.endUpgraded();
        if (tookMs > requestGraceMs) app.server.closeAllConnections();
      };
      const ending = startLoop({ task, delayMs: () => 100, onError });
      await app.close();
      await ending.close();
      // No request is under way any more, so no further payment is asked for.
      await initiator.close();
      await reconciler.close();
      await redelivery.close();
      await retention.close();
      await hub.close();
      await client.close();
    },
  };
}

/** Limits the requests of each address. A failing counter lets everybody in. */
async function limitAddresses(scope: FastifyInstance, counter: Counter, max: number): Promise<void> {
  await scope.register(rateLimit, {
    max,
    timeWindow: 60_000,
    skipOnError: true,
    errorResponseBuilder: (_request, { ttl }) => limited("Too many requests from this address", ttl),
    store: class {
      incr(key: string, done: (error: Error | null, result?: { current: number; ttl: number }) => void): void {
        counter.count(`address:${key}`, 60_000, 1).then(
          ({ current, remainingMs }) => done(null, { current, ttl: remainingMs }),
          (error: Error) => done(error),
        );
      }
      child(): this {
        return this;
      }
    },
  });
}

/** Where the providers are: the built-in sandbox of this very process, or the company. */
function endpointsOf({ sandbox, daraja }: Config, selfUrl: () => string): Endpoints {
  if (sandbox.includes("daraja")) {
    return { daraja: { baseUrl: () => `${selfUrl()}/sandbox/daraja`, account: darajaSandboxAccount } };
  }
  return daraja ? { daraja: { baseUrl: () => daraja.baseUrl, account: daraja.account } } : {};
}

/** The caller's own id of a request, if it is one, so that both logs name it alike. */
function requestIdOf({ headers }: IncomingMessage): string {
  const given = String(headers["x-request-id"] ?? "");
  return /^[\w.-]{1,64}$/.test(given) ? given : randomUUID();
}

const isWebSocket = ({ method, headers }: IncomingMessage): boolean =>
  method === "GET" && headers.upgrade?.toLowerCase() === "websocket";

/** A request may say that it is JSON and then have nothing to say. */
function acceptEmptyJson(app: FastifyInstance): void {
  const parse = app.getDefaultJsonParser("error", "error");
  app.addContentTypeParser<string>("application/json", { parseAs: "string" }, (request, body, done) => {
    if (body === "") done(null, undefined);
    else parse(request, body, done);
  });
}

/** One line for every request, with what it took; nothing in it opens anything. */
function logRequests(app: FastifyInstance): void {
  app.addHook("onRequest", (request, reply, done) => {
    reply.header("x-request-id", request.id);
    withTrace(readTrace(request.headers.traceparent), done);
  });
  app.addHook("onResponse", async (request, reply) => {
    const tookMs = Number(reply.elapsedTime.toFixed(2));
    request.log.info({ req: request, status: reply.statusCode, tookMs }, "request");
  });
}

/**
 * Hands each upgrade to its owner. Both Socket.IO and @fastify/websocket would take every upgrade for themselves:
 * the latter listens on `upgrades`, a server that never listens, instead of on the app's.
 */
function shareUpgrades(app: FastifyInstance, upgrades: ReturnType<typeof createServer>): void {
  app.server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    if (request.url?.startsWith("/socket.io/")) return;
    if (!upgrades.emit("upgrade", request, socket, head)) socket.destroy();
  });
}

/** The address at which a server bound to `host` can reach itself. */
function reachable(host: string): string {
  if (host === "0.0.0.0") return "127.0.0.1";
  if (host === "::") return "[::1]";
  return host.includes(":") ? `[${host}]` : host;
}
