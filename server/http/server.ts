/**
 * The HTTP server of a node, before any route: what every request passes through, how upgrades are shared, and how it
 * all ends without cutting off anybody who waits for an answer.
 */
import { randomUUID } from "node:crypto";
import { createServer, IncomingMessage, ServerResponse } from "node:http";
import { Socket } from "node:net";
import cors from "@fastify/cors";
import { compile as compileTrust } from "@fastify/proxy-addr";
import websocket from "@fastify/websocket";
import Fastify, {
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  LogController,
} from "fastify";
import helmet from "helmet";
import { fieldError, HubError } from "../errors.ts";
import { isNestedDeep } from "../json.ts";
import { startLoop } from "../loop.ts";
import { readTrace, withTrace } from "../trace.ts";
import { type CutReason, type Guard, guardConnections } from "./connection-guard.ts";
import { trackConnections } from "./connections.ts";
import { answerOptions, createMethods, refuseOtherMethods, refuseUnreadable, routerOptions } from "./methods.ts";
import { handleErrors, recognize, refuseUnparsed, sendProblem } from "./problem.ts";

const bodyLimit = 65_536;

/**
 * A request has to be here whole by then, so that nobody holds a connection by dripping a body into it. How long its answer
 * takes is not counted: long polls and streams begin after it.
 */
const requestMsMax = 15_000;

/** How often requests are looked at for that. */
const requestCheckMs = 5_000;

/** How often it is looked whether upgraded connections are read. */
const unreadCheckMs = 1_000;

/** How long WebSocket clients may take to answer a close when the node stops. */
const closeGraceMs = 1_000;

/** How long requests under way may take when the node stops. */
const requestGraceMs = 10_000;

/**
 * Connections of any kind on one node; what comes on top is closed at once. Far more than there are payers waiting at a
 * time, and few enough that clients without a token who open connections from many addresses, and say nothing, fill the
 * memory of no node: a silent one takes some 10 KiB, one that watches some 50 KiB.
 */
export const connectionsMax = 50_000;

/** What the server is told of the environment; a part of `Config`. */
export interface HttpSettings {
  readonly isProduction: boolean;
  readonly trustedProxies: readonly string[];
  /** `connections`: watchers at a time per address. */
  readonly limit: { readonly connections: number };
}

export interface HttpOptions {
  config: HttpSettings;
  log: FastifyBaseLogger;
  isAllowedOrigin: (origin: string | undefined) => boolean;
  /** Counts one more request. Throws `rate_limited`. */
  admit?: (request: FastifyRequest) => Promise<void>;
  onError: (error: unknown) => void;
  /** A connection went beyond its bounds. */
  onCut?: (why: CutReason, address: string) => void;
}

export interface Http {
  app: FastifyInstance;
  guard: Guard;
  /** Whether `close` has begun. */
  isDraining(): boolean;
  /** Closes the server; resolves when no request is under way any more. */
  close(): Promise<void>;
}

export async function openHttp(options: HttpOptions): Promise<Http> {
  const { config, log, isAllowedOrigin, admit, onError, onCut } = options;
  const methods = createMethods();
  const app = Fastify({
    loggerInstance: log,
    logController: new LogController({ disableRequestLogging: true }),
    trustProxy: config.trustedProxies.length > 0 ? [...config.trustedProxies] : false,
    bodyLimit,
    genReqId: requestIdOf,
    routerOptions,
    // No hook sees these requests, so they are counted here.
    frameworkErrors: (_error, request, reply) => {
      if (isWebSocket(request.raw)) endAfter(reply);
      Promise.resolve(admit?.(request)).then(
        () => refuseUnreadable(methods, request, reply),
        (error: unknown) => sendProblem(reply, recognize(error, request)),
      );
    },
    clientErrorHandler: refuseUnparsed,
    // Whoever still has a connection is answered while the server closes.
    return503OnClosing: false,
    // Bounds the hooks of closing too, which take as long as what they wait for, each within bounds of its own.
    pluginTimeout: 0,
    // An offer to upgrade to anything but a WebSocket (`h2c`, say) is declined by answering the request as it is.
    http: { shouldUpgradeCallback: isWebSocket, connectionsCheckingInterval: requestCheckMs },
    requestTimeout: requestMsMax,
  });
  // Node takes the longer of the two times for that of the whole request.
  app.server.headersTimeout = requestMsMax;
  app.server.maxConnections = connectionsMax;
  handleErrors(app);
  methods.collect(app);
  acceptEmptyJson(app);
  logRequests(app);
  const secure = secureHeaders(config);
  app.addHook("onRequest", (request, reply, done) => {
    if (request.routeOptions.config.secure !== false) reply.headers(secure);
    done();
  });
  app.addHook("onSend", (request, reply, _payload, done) => {
    // An answer instead of a WebSocket ends the connection too.
    if (hasUnreadBody(request.raw) || isWebSocket(request.raw)) reply.header("connection", "close");
    done();
  });
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
  const trust = compileTrust([...config.trustedProxies]);
  // Before anybody else listens for upgrades, and, once everybody does, before them all for requests.
  const guard = guardConnections(app.server, {
    // A watcher that changes its transport has two for a moment, and others ask without watching.
    perAddressMax: Math.max(1_000, 2 * config.limit.connections),
    isProxy: (address) => trust(address, 0),
    onCut: onCut ?? (() => undefined),
  });
  app.addHook("onReady", async () => guard.guardRequests());
  await shareUpgrades(app);
  // The plugin logs the raw address, token included, of an upgrade to any other route.
  app.addHook("onRequest", (request, _reply, done) => {
    const isMistaken = isWebSocket(request.raw) && !request.routeOptions.config.isSocket && !request.is404;
    done(isMistaken ? new HubError("route_unknown", "There is no WebSocket at this address") : undefined);
  });
  const connections = trackConnections(app.server);
  const looking = startLoop({
    task: async () => {
      connections.endUnclaimed(app.server.requestTimeout);
      guard.cutUnread();
    },
    delayMs: () => unreadCheckMs,
    onError,
  });
  let isDraining = false;

  return {
    app,
    guard,
    isDraining: () => isDraining,
    async close() {
      isDraining = true;
      // Counted from when the server stops listening: by then every watcher has been sent away, in slices.
      let stoppedAtMs: number | undefined;
      const task = async (): Promise<void> => {
        connections.endIdle();
        if (app.server.listening) return;
        stoppedAtMs ??= performance.now();
        const tookMs = performance.now() - stoppedAtMs;
        if (tookMs > closeGraceMs) connections.endUpgraded();
        if (tookMs > requestGraceMs) app.server.closeAllConnections();
      };
      const ending = startLoop({ task, delayMs: () => 100, onError });
      await app.close();
      await ending.close();
      await looking.close();
    },
  };
}

/** What helmet says of every answer. It is the same for all of them, so it is asked once. */
function secureHeaders({ isProduction }: HttpSettings): Record<string, string> {
  const response = new ServerResponse(new IncomingMessage(new Socket()));
  const secure = helmet({
    contentSecurityPolicy: { useDefaults: false, directives: { defaultSrc: ["'none'"], frameAncestors: ["'none'"] } },
    // Other origins read the API as far as CORS lets them.
    crossOriginResourcePolicy: { policy: "cross-origin" },
    strictTransportSecurity: isProduction,
  });
  secure(response.req, response, (error) => {
    if (error) throw error;
  });
  return Object.fromEntries(Object.entries(response.getHeaders()).map(([name, value]) => [name, String(value)]));
}

/** An answer that comes before the whole body ends the connection (connection-guard.ts), so it says so. */
function hasUnreadBody({ complete, headers }: IncomingMessage): boolean {
  if (complete) return false;
  return headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0;
}

/** The caller's own id of a request, if it is one, so that both logs name it alike. */
function requestIdOf({ headers }: IncomingMessage): string {
  const given = String(headers["x-request-id"] ?? "");
  // A phone number must not reach the log whole.
  const isPhone = /^[\d._-]{9,}$/.test(given);
  return /^[\w.-]{1,64}$/.test(given) && !isPhone ? given : randomUUID();
}

/** Whether the request is to become a WebSocket; other offers to upgrade are declined. */
export const isWebSocket = ({ method, headers }: IncomingMessage): boolean =>
  method === "GET" && headers.upgrade?.toLowerCase() === "websocket";

/** A request may say that it is JSON and then have nothing to say. */
function acceptEmptyJson(app: FastifyInstance): void {
  const parse = app.getDefaultJsonParser("error", "error");
  app.addContentTypeParser<string>("application/json", { parseAs: "string" }, (request, body, done) => {
    if (body === "") done(null, undefined);
    else if (isNestedDeep(body)) done(fieldError("body_invalid", "body", "is nested too deep"), undefined);
    else parse(request, body, done);
  });
}

declare module "fastify" {
  interface FastifyContextConfig {
    /** False (the plugin's name for it): no page of another origin has anything to do here. */
    cors?: false;
    /** False where no browser has anything to do: none of helmet's headers. */
    secure?: false;
    /** False where another limit holds, or where being refused would do more harm than being asked too often. */
    isLimited?: false;
    /** May be upgraded to a WebSocket. */
    isSocket?: true;
    /** Costs next to nothing, and pages make many such requests: more of them are allowed. */
    isCheap?: true;
  }
  interface FastifyRequest {
    /** Its line is in the log, and says more than this one would. */
    isLogged?: boolean;
  }
}

/** One line for every request, with what it took; nothing in it opens anything. */
function logRequests(app: FastifyInstance): void {
  app.decorateRequest("isLogged");
  app.addHook("onRequest", (request, reply, done) => {
    reply.header("x-request-id", request.id);
    withTrace(readTrace(request.headers.traceparent), done);
  });
  app.addHook("onResponse", async (request, reply) => {
    if (request.isLogged) return;
    const tookMs = Number(reply.elapsedTime.toFixed(2));
    request.log.info({ req: request, status: reply.statusCode, tookMs }, "request");
  });
}

/** Ends the connection after this answer to an upgrade, because nothing reads from it afterwards. */
function endAfter({ raw }: FastifyReply): void {
  raw.setHeader("connection", "close");
  raw.once("finish", () => raw.req.socket.destroySoon());
}

function destroy(this: Socket): void {
  this.destroy();
}

/**
 * Hands each upgrade to its owner. Both Socket.IO and @fastify/websocket would take every upgrade for themselves:
 * the latter listens on `upgrades`, a server that never listens, instead of on the app's.
 */
async function shareUpgrades(app: FastifyInstance): Promise<void> {
  const upgrades = createServer();
  // Its own way of closing sockets, without a code, would come before the transport's.
  await app.register(websocket, {
    options: { server: upgrades, maxPayload: 4_096, clientTracking: false },
    preClose: (done) => done(),
  });
  app.server.on("upgrade", (request: IncomingMessage, socket: Socket, head: Buffer) => {
    if (socket.destroyed) return;
    if (request.url?.startsWith("/socket.io/")) {
      // Node no longer listens and Socket.IO does not yet: an error that nobody hears would end the process.
      socket.on("error", destroy);
      return;
    }
    if (!upgrades.emit("upgrade", request, socket, head)) socket.destroy();
  });
}
