/**
 * Raw WebSocket: one StatusEvent per text frame.
 *
 * The Origin is checked before the upgrade. The token is checked after it, because a browser reports only code 1006 for a
 * refused upgrade, and a close code carries the reason. Frames from the client are ignored.
 *
 * Memory: an open connection keeps one `Connection` and shares its functions with all others. It must not keep its request,
 * which would double its memory.
 */
import type { WebSocket } from "@fastify/websocket";
import type { FastifyBaseLogger, FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { closeCode } from "../../client-sdk/close-code.ts";
import { HubError } from "../errors.ts";
import type { Guard } from "../http/connection-guard.ts";
import { unreadBytesMax } from "../http/event-stream.ts";
import { nowhere } from "../order/order.ts";
import { described, openedBy } from "../schema/route.ts";
import { subscribe, type Watcher } from "../status/hub.ts";
import {
  authorizeWatcher,
  type Beating,
  cancelExpiry,
  type Drainable,
  type Expiring,
  type Heartbeat,
  type OrderRequest,
  readWatchQuery,
  startExpiry,
  startHeartbeat,
  type TransportOptions,
  watchQuery,
} from "./transport.ts";

/** A client must answer a ping within this time. */
const heartbeatMs = 25_000;

/** The time that a client has to answer a close. */
const closeGraceMs = 1_000;

const upgradeHeaders = { upgrade: "websocket", connection: "Upgrade" };

const upgradeHint =
  "The request has no `Upgrade: websocket`. If the client sent it, a proxy removed it: nginx passes it on with `proxy_http_version 1.1`, `proxy_set_header Upgrade $http_upgrade` and `proxy_set_header Connection`, as in deploy/nginx.conf";

const openSocket = described({
  operationId: "openSocket",
  tag: "Watching",
  summary: "Follow with a WebSocket",
  description:
    "One `StatusEvent` per text frame. The token is checked after the upgrade, and the close code is the answer. Do not reconnect after 4401 (token refused) and 4404 (unknown order). Reconnect with a fresh token after 4410 (token expired). Reconnect after 1012 (node restarts), 1013 (try again later) and 4408 (client too slow). A request without `Upgrade: websocket`, which some proxies remove, gets 426.",
  security: openedBy.watcher,
  querystring: watchQuery,
  answers: { 101: { description: "Upgraded; frames follow." } },
  problems: ["body_invalid", "origin_refused", "upgrade_required", "rate_limited"],
});

interface Connection extends Watcher, Expiring, Beating {
  socket: WebSocket;
  /** The order's uuid. Empty until the token is checked. */
  id: string;
  /** The address that the connection counts for. Undefined until it is counted. */
  address?: string | undefined;
  /** Whether the client has answered the last ping. */
  isAlive: boolean;
}

export interface WebSocketOptions extends TransportOptions {
  guard: Pick<Guard, "trust">;
}

interface State extends WebSocketOptions {
  /** Open connections, authorized or not. */
  connections: Map<WebSocket, Connection>;
  heartbeat: Heartbeat<Connection>;
  log: FastifyBaseLogger;
}

export function webSocketRoute(app: FastifyInstance, options: WebSocketOptions): Drainable {
  const { log } = app;
  const connections = new Map<WebSocket, Connection>();
  const heartbeat = startHeartbeat<Connection>(heartbeatMs, {
    beat,
    onError: (error) => log.error({ event: "websocket.heartbeat.failed", err: error }, "heartbeat failed"),
  });
  const state: State = { ...options, connections, heartbeat, log };
  const listeners = createListeners(state);
  let isClosing = false;

  app.get<OrderRequest>(
    "/v1/orders/:orderId/socket",
    { websocket: true, config: { isSocket: true }, exposeHeadRoute: false, preValidation, preHandler, ...openSocket },
    (socket, request) => {
      if (isClosing) return close(socket, closeCode.restarting, "restarting");
      const connection = createConnection(socket);
      connections.set(socket, connection);
      heartbeat.add(connection);
      socket.removeAllListeners("error");
      socket.on("error", listeners.onError).on("pong", listeners.onPong).on("close", listeners.onClose);
      serve(state, connection, request).catch((error: unknown) => refuse(socket, error, request.log));
    },
  );

  return {
    startDrain() {
      isClosing = true;
      return [...connections.keys()].map((socket) => () => close(socket, closeCode.restarting, "restarting"));
    },
    close: heartbeat.close,
  };
}

async function preValidation(request: FastifyRequest): Promise<void> {
  if (!request.ws) throw new HubError("upgrade_required", upgradeHint, { headers: upgradeHeaders });
  // Throws `body_invalid` before the upgrade.
  readWatchQuery(request);
}

/** Logs the request here, because an upgrade has no response, and frees the unused response object. */
async function preHandler(request: FastifyRequest, reply: FastifyReply): Promise<void> {
  request.log.info({ event: "http.request", req: request, status: 101 }, "request");
  reply.raw.detachSocket(request.raw.socket);
}

/** Listeners that all connections share. */
function createListeners({ connections, heartbeat, hub, connectionLimit, log }: State) {
  return {
    onPong(this: WebSocket): void {
      const connection = connections.get(this);
      if (connection) connection.isAlive = true;
    },
    onError(this: WebSocket, error: Error): void {
      log.info({ event: "websocket.connection.failed", err: error }, "WebSocket connection failed");
    },
    onClose(this: WebSocket): void {
      const connection = connections.get(this);
      if (!connection) return;
      connections.delete(this);
      heartbeat.delete(connection);
      hub.unwatch(connection);
      cancelExpiry(connection);
      if (connection.address !== undefined) connectionLimit.release(connection.address);
    },
  };
}

/** Authorizes a connection and subscribes it to its order. */
async function serve(state: State, connection: Connection, request: FastifyRequest<OrderRequest>): Promise<void> {
  const { connections, hub, access, connectionLimit, guard } = state;
  const { socket } = request.raw;
  const { id, expiresAtS, key } = await authorizeWatcher(access, request);
  guard.trust(socket, expiresAtS === undefined ? "merchant" : "payer");
  if (!connections.has(connection.socket)) return;
  connectionLimit.acquire(request.ip);
  connection.address = request.ip;
  connection.id = id;
  const { after = nowhere, clock = false } = readWatchQuery(request);
  await subscribe(hub, connection, { after, clock });
  // `onClose` ran before the hub had the watcher, so it could not remove it.
  if (!connections.has(connection.socket)) return hub.unwatch(connection);
  connection.expiresAtS = expiresAtS;
  connection.key = key;
  startExpiry(connection);
}

const createConnection = (socket: WebSocket): Connection => ({
  socket,
  id: "",
  transport: "websocket",
  version: 0,
  epoch: 0,
  isPaid: false,
  isAlive: true,
  address: undefined,
  expiresAtS: undefined,
  key: undefined,
  slot: undefined,
  receive,
  expire,
});

function receive(this: Connection, _event: unknown, json: string): void {
  const { socket } = this;
  if (socket.readyState !== socket.OPEN) return;
  if (socket.bufferedAmount > unreadBytesMax) close(socket, closeCode.tooSlow, "too slow");
  else socket.send(json);
}

function expire(this: Connection): void {
  close(this.socket, closeCode.tokenExpired, "token expired");
}

function beat(connection: Connection): void {
  if (connection.isAlive) connection.socket.ping();
  else connection.socket.terminate();
  connection.isAlive = false;
}

/** Sends a close frame, and destroys the connection when the client does not answer it in time. */
function close(socket: WebSocket, code: number, reason: string): void {
  socket.close(code, reason);
  const timer = setTimeout(() => socket.terminate(), closeGraceMs);
  socket.once("close", () => clearTimeout(timer));
}

/** Closes a connection that cannot be served. */
function refuse(socket: WebSocket, error: unknown, log: FastifyBaseLogger): void {
  const { code, reason } = closeReason(error);
  const isExpected = error instanceof HubError && error.code === "rate_limited";
  if (code === closeCode.tryAgainLater && !isExpected)
    log.error({ event: "websocket.connection.refused", err: error }, "WebSocket connection refused");
  close(socket, code, reason);
}

/** The close code tells the client whether to reconnect. */
function closeReason(error: unknown): { code: number; reason: string } {
  if (!(error instanceof HubError)) return { code: closeCode.tryAgainLater, reason: "internal" };
  switch (error.code) {
    case "token_expired":
      return { code: closeCode.tokenExpired, reason: error.code };
    case "token_invalid":
    case "scope_missing":
      return { code: closeCode.tokenRefused, reason: error.code };
    case "order_unknown":
    case "body_invalid":
      return { code: closeCode.orderUnknown, reason: error.code };
    default:
      return { code: closeCode.tryAgainLater, reason: error.code };
  }
}
