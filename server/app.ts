/** The composition root: every wire of the process is visible here. */
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import cors from "@fastify/cors";
import websocket from "@fastify/websocket";
import Fastify, { type FastifyBaseLogger, type FastifyInstance, LogController } from "fastify";
import type { StatusEvent } from "../client-sdk/protocol.ts";
import type { Config, ProviderName } from "./config.ts";
import { trackConnections } from "./connections.ts";
import { documentRoutes } from "./document/document.ts";
import { HubError } from "./errors.ts";
import { startLoop } from "./loop.ts";
import { createAccess } from "./order/access.ts";
import type { Database } from "./order/database.ts";
import { createInbox } from "./order/inbox.ts";
import { createOrderQuery } from "./order/query.ts";
import { createReview } from "./order/review.ts";
import { createSealer, createUrlSecrets } from "./order/secret.ts";
import { createOrderStore } from "./order/store.ts";
import { createWatchTokens } from "./order/token.ts";
import { createClient } from "./provider/client.ts";
import { createCredential } from "./provider/credential.ts";
import { createInitiator } from "./provider/initiate.ts";
import { createProviders, type Endpoints } from "./provider/providers.ts";
import { createReconciler } from "./provider/reconciler.ts";
import { healthRoutes } from "./route/health.ts";
import { orderRoutes } from "./route/orders.ts";
import { paymentRoutes } from "./route/payments.ts";
import { handleErrors } from "./route/problem.ts";
import { webhookRoutes } from "./route/webhooks.ts";
import { darajaSandboxAccount } from "./sandbox/daraja.ts";
import { sandboxRoutes } from "./sandbox/sandbox.ts";
import type { StatusBus } from "./status/bus.ts";
import { createHub } from "./status/hub.ts";
import { eventSourceRoute } from "./transport/eventsource.ts";
import { longPollRoute } from "./transport/longpoll.ts";
import { attachSocketIo } from "./transport/socketio.ts";
import { webSocketRoute } from "./transport/websocket.ts";

/** What outlives the app: the caller opens and closes them. */
export interface Resources {
  database: Database;
  bus: StatusBus;
  log: FastifyBaseLogger;
}

const bodyLimit = 65_536;

/** How long WebSocket clients may take to answer a close when the node stops. */
const closeGraceMs = 1_000;

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
export async function createApp(config: Config, { database, bus, log }: Resources): Promise<App> {
  const onError = (error: unknown): void => log.error({ err: error }, "background task failed");
  const app = Fastify({
    loggerInstance: log,
    logController: new LogController({ disableRequestLogging: true }),
    trustProxy: config.trustedProxies.length > 0 ? [...config.trustedProxies] : false,
    bodyLimit,
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
  const hub = createHub({ store, bus, onError });
  const terms = (name: string) => ({
    live: !config.sandbox.includes(name as ProviderName),
    deadlineS: config.deadlineS[name as ProviderName],
  });

  const isAllowedOrigin = (origin: string | undefined): boolean =>
    origin === undefined || config.allowedOrigins === "any" || config.allowedOrigins.includes(origin);

  handleErrors(app);
  logRequests(app);
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
  webhookRoutes(app, { providers, secrets, store, inbox: createInbox(database) });
  await app.register(sandboxRoutes, { names: config.sandbox, deadlineS: config.deadlineS.daraja, prefix: "/sandbox" });
  await app.register(async (scope) => {
    scope.addHook("onRequest", async ({ headers }) => {
      if (!isAllowedOrigin(headers.origin)) throw new HubError("origin_refused");
    });
    paymentRoutes(scope, { access, providers, terms, store, tokens, initiator });
    orderRoutes(scope, { access, query, review: createReview({ database, store, announce }), tokens });
    longPollRoute(scope, { hub, access });
    eventSourceRoute(scope, { hub, access });
    webSocketRoute(scope, { hub, access });
  });
  attachSocketIo(app, { hub, access, isAllowedOrigin });
  shareUpgrades(app, upgrades);
  const connections = trackConnections(app.server);

  return {
    listen: () => app.listen({ port: config.port, host: config.host }),
    get watched() {
      return hub.watched;
    },
    async close() {
      const politeUntilMs = performance.now() + closeGraceMs;
      const task = async (): Promise<void> => {
        connections.endIdle();
        if (performance.now() > politeUntilMs) connections.endUpgraded();
      };
      const ending = startLoop({ task, delayMs: () => 100, onError });
      await app.close();
      await ending.close();
      // No request is under way any more, so no further payment is asked for.
      await initiator.close();
      await reconciler.close();
      await hub.close();
      await client.close();
    },
  };
}

/** Where the providers are: the built-in sandbox of this very process, or the company. */
function endpointsOf({ sandbox, daraja }: Config, selfUrl: () => string): Endpoints {
  if (sandbox.includes("daraja")) {
    return { daraja: { baseUrl: () => `${selfUrl()}/sandbox/daraja`, account: darajaSandboxAccount } };
  }
  return daraja ? { daraja: { baseUrl: () => daraja.baseUrl, account: daraja.account } } : {};
}

/** One line for every request, with what it took; nothing in it opens anything. */
function logRequests(app: FastifyInstance): void {
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
