/**
 * The HTTP server of a node without its routes: what every request passes, and how the server closes.
 *
 * Guarantees: each request is bounded in size, time and connections (G12). `close` lets requests in flight finish within
 * 10 s, and destroys connections only after that.
 * The order of the hooks matters: each comment below names what must come before or after.
 */
import { IncomingMessage, ServerResponse } from "node:http";
import { Socket } from "node:net";
import cors from "@fastify/cors";
import { compile as compileTrust } from "@fastify/proxy-addr";
import Fastify, { type FastifyBaseLogger, type FastifyInstance, type FastifyRequest, LogController } from "fastify";
import helmet from "helmet";
import { fieldError } from "../errors.ts";
import { isNestedDeep } from "../json.ts";
import { jsonFault } from "../json-fault.ts";
import { startLoop } from "../loop.ts";
import { type CutReason, type Guard, guardConnections } from "./connection-guard.ts";
import { type Answers, type Connections, trackAnswers, trackConnections } from "./connections.ts";
import {
  answerOptions,
  createMethods,
  type Methods,
  refuseOtherMethods,
  refuseUnreadable,
  routerOptions,
} from "./methods.ts";
import { handleErrors, recognize, refuseUnparsed, sendProblem } from "./problem.ts";
import { logRequests, requestIdOf } from "./request-log.ts";
import { endAfter, isWebSocket, refuseOtherUpgrades, shareUpgrades } from "./upgrade.ts";

const bodyLimit = 65_536;

/**
 * A request must arrive in full within 15 s, because a client could otherwise hold a connection with a slow body. The time
 * of the answer does not count: long polls and streams begin after it.
 */
const requestMsMax = 15_000;

/** Node checks `requestMsMax` at this interval. */
const requestCheckMs = 5_000;

/** Interval of the checks for upgraded connections that nothing reads and readers that do not read. */
const unreadCheckMs = 1_000;

/** At shutdown, the time that WebSocket clients have to answer a close. */
const closeGraceMs = 1_000;

/** At shutdown, the time that requests in flight have to finish. */
const requestGraceMs = 10_000;

/**
 * Connections of any kind on one node; further ones are closed at once. 50,000 because that is far more than payers wait
 * at a time, and because unauthenticated clients with many addresses cannot fill a node's memory with so few: a silent
 * connection takes about 10 KiB, and a watching one about 50 KiB.
 */
export const connectionsMax = 50_000;

/** The part of `Config` that the server needs. */
export interface HttpSettings {
  readonly isProduction: boolean;
  readonly trustedProxies: readonly string[];
  /** `connections`: watchers of one address at a time. */
  readonly limit: { readonly connections: number };
}

export interface HttpOptions {
  config: HttpSettings;
  log: FastifyBaseLogger;
  isAllowedOrigin: (origin: string | undefined) => boolean;
  /** Counts a request. Throws `rate_limited`. */
  admit?: (request: FastifyRequest) => Promise<void>;
  onError: (error: unknown) => void;
  /** Called when a connection is cut off because it exceeds a bound. */
  onCut?: (why: CutReason, address: string) => void;
}

export interface Http {
  app: FastifyInstance;
  guard: Guard;
  /** Whether `close` has begun. */
  isDraining(): boolean;
  /** Closes the server. Resolves when no request is in flight. */
  close(): Promise<void>;
}

declare module "fastify" {
  interface FastifyContextConfig {
    /** False (the CORS plugin's name) when no page of another origin may use the route. */
    cors?: false;
    /** False when no browser uses the route. It then has none of helmet's headers. */
    secure?: false;
    /** False when another limit holds, or when a refusal would do more harm than a flood of requests. */
    isLimited?: false;
    /** Whether the route upgrades to a WebSocket. */
    isSocket?: true;
    /** Whether a request costs next to nothing. Such requests have a larger budget, because pages make many of them. */
    isCheap?: true;
    /** Whether pages poll the route. Its successful requests are logged at the level `debug`. */
    isPolled?: true;
  }
}

export async function openHttp(options: HttpOptions): Promise<Http> {
  const { config, isAllowedOrigin, admit, onError } = options;
  let isDraining = false;
  const methods = createMethods();
  const app = createFastify(options, methods);
  handleErrors(app, (url) => methods.of(url) !== undefined);
  methods.collect(app);
  acceptEmptyJson(app);
  logRequests(app);
  addHeaders(app, config);
  answerOptions(app, methods, isAllowedOrigin);
  await app.register(cors, {
    origin: (origin, done) => done(null, isAllowedOrigin(origin)),
    exposedHeaders: ["retry-after", "idempotency-replayed", "preference-applied"],
    maxAge: 600,
  });
  app.addHook("onRequest", async (request) => {
    if (request.routeOptions.config.isLimited !== false) await admit?.(request);
  });
  refuseOtherMethods(app, methods);
  const guard = guardServer(app, options);
  await shareUpgrades(app);
  refuseOtherUpgrades(app);
  const connections = trackConnections(app.server);
  let answers: Answers | undefined;
  app.addHook("onReady", async () => {
    answers = trackAnswers(app.server);
  });
  const checks = startLoop({
    task: async () => {
      connections.endUnclaimed(app.server.requestTimeout);
      guard.cutUnread();
    },
    delayMs: () => unreadCheckMs,
    onError,
  });

  return {
    app,
    guard,
    isDraining: () => isDraining,
    async close() {
      isDraining = true;
      answers?.endConnections();
      await closeServer(app, connections, onError);
      await checks.close();
    },
  };
}

function createFastify({ config, log, admit }: HttpOptions, methods: Methods): FastifyInstance {
  const app = Fastify({
    loggerInstance: log,
    logController: new LogController({ disableRequestLogging: true }),
    trustProxy: config.trustedProxies.length > 0 ? [...config.trustedProxies] : false,
    bodyLimit,
    genReqId: requestIdOf,
    routerOptions,
    // No hook runs for these requests, so they are counted here.
    frameworkErrors: (_error, request, reply) => {
      if (isWebSocket(request.raw)) endAfter(reply);
      Promise.resolve(admit?.(request)).then(
        () => refuseUnreadable(methods, request, reply),
        (error: unknown) => sendProblem(reply, recognize(error, request)),
      );
    },
    clientErrorHandler: refuseUnparsed,
    // Open connections are served while the server closes.
    return503OnClosing: false,
    // Without a timeout, because it would also end `preClose` hooks, which have bounds of their own.
    pluginTimeout: 0,
    // An offer to upgrade to another protocol, such as `h2c`, is declined: the request is answered as it is.
    http: { shouldUpgradeCallback: isWebSocket, connectionsCheckingInterval: requestCheckMs },
    requestTimeout: requestMsMax,
  });
  // Both are set, because Node uses the longer of the two for the request.
  app.server.headersTimeout = requestMsMax;
  app.server.maxConnections = connectionsMax;
  return app;
}

function addHeaders(app: FastifyInstance, config: HttpSettings): void {
  const secure = secureHeaders(config);
  app.addHook("onRequest", (request, reply, done) => {
    if (request.routeOptions.config.secure !== false) reply.headers(secure);
    done();
  });
  app.addHook("onSend", (request, reply, _payload, done) => {
    // An answer instead of an upgrade ends the connection too.
    if (hasUnreadBody(request.raw) || isWebSocket(request.raw)) reply.header("connection", "close");
    done();
  });
}

/** Registers the guard before all other listeners for upgrades, and before all listeners for requests once they exist. */
function guardServer(app: FastifyInstance, { config, onCut }: HttpOptions): Guard {
  const trust = compileTrust([...config.trustedProxies]);
  const guard = guardConnections(app.server, {
    // Twice the limit of watchers, because a watcher that changes its transport has two connections for a moment. 1,000 at
    // least, because other clients of the address do not watch.
    perAddressMax: Math.max(1_000, 2 * config.limit.connections),
    isProxy: (address) => trust(address, 0),
    onCut(why, address) {
      app.log.info({ event: "http.connection.cut", why, address }, "connection cut off");
      onCut?.(why, address);
    },
  });
  app.addHook("onReady", async () => guard.guardRequests());
  return guard;
}

async function closeServer(app: FastifyInstance, connections: Connections, onError: (error: unknown) => void) {
  // The grace periods start when the server stops listening, because the transports drain their watchers before that.
  let stoppedAtMs: number | undefined;
  const task = async (): Promise<void> => {
    // An idle connection may still be used, and its answer ends it.
    if (app.server.listening) return;
    connections.endIdle();
    stoppedAtMs ??= performance.now();
    const tookMs = performance.now() - stoppedAtMs;
    if (tookMs > closeGraceMs) connections.endUpgraded();
    if (tookMs > requestGraceMs) app.server.closeAllConnections();
  };
  const ending = startLoop({ task, delayMs: () => 100, onError });
  await app.close();
  await ending.close();
}

/** Helmet's headers, computed once because they are the same for every answer. */
function secureHeaders({ isProduction }: HttpSettings): Record<string, string> {
  const response = new ServerResponse(new IncomingMessage(new Socket()));
  const secure = helmet({
    contentSecurityPolicy: { useDefaults: false, directives: { defaultSrc: ["'none'"], frameAncestors: ["'none'"] } },
    // CORS decides which other origins may read the API.
    crossOriginResourcePolicy: { policy: "cross-origin" },
    strictTransportSecurity: isProduction,
  });
  secure(response.req, response, (error) => {
    if (error) throw error;
  });
  return Object.fromEntries(Object.entries(response.getHeaders()).map(([name, value]) => [name, String(value)]));
}

/** Whether the body is not in yet. The guard then ends the connection after the answer, so the answer must announce it. */
function hasUnreadBody({ complete, headers }: IncomingMessage): boolean {
  if (complete) return false;
  return headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0;
}

/**
 * Accepts an empty body with the content type of JSON, and refuses deep nesting before JSON.parse does the work. A problem
 * names the place of a fault, and never has a part of the body.
 */
function acceptEmptyJson(app: FastifyInstance): void {
  const parse = app.getDefaultJsonParser("error", "error");
  // A body of this type would reach a handler as a text. Without a parser, the problem names the content type.
  app.removeContentTypeParser("text/plain");
  app.addContentTypeParser<string>("application/json", { parseAs: "string" }, (request, body, done) => {
    if (body === "") done(null, undefined);
    else if (isNestedDeep(body)) done(fieldError("body_invalid", "body", "is nested too deep"), undefined);
    else parse(request, body, (error, value) => done(error && Object.assign(error, { fault: faultOf(body) }), value));
  });
}

/** Fastify's parser also refuses fields that would change the prototype of an object. */
const faultOf = (body: string): string =>
  jsonFault(body) ?? 'has a field with the name "__proto__" or "constructor", which is not accepted';
