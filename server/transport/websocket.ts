/**
 * Raw WebSocket: one StatusEvent per text frame. The Origin is checked before the upgrade, the token after it, because
 * a browser learns nothing but 1006 of a refused upgrade. What the client sends is ignored.
 */
import type { WebSocket } from "@fastify/websocket";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { closeCode } from "../../client-sdk/close-code.ts";
import { HubError } from "../errors.ts";
import type { Guard } from "../http/connection-guard.ts";
import { unreadBytesMax } from "../http/event-stream.ts";
import { described, openedBy } from "../schema/route.ts";
import { subscribe, type Watcher } from "../status/hub.ts";
import {
  afterOf,
  authorizeWatcher,
  type Beating,
  cancelExpiry,
  type Drainable,
  type Expiring,
  type OrderRequest,
  positionQuery,
  startExpiry,
  startHeartbeat,
  type TransportOptions,
} from "./transport.ts";

/** Clients that miss one whole interval without a pong are gone. */
const heartbeatMs = 25_000;

/** How long a client may take to answer a close before it is cut off. */
const closeGraceMs = 1_000;

const upgradeHeaders = { upgrade: "websocket", connection: "Upgrade" };

const upgradeHint =
  "The request has no `Upgrade: websocket`. If the client sent it, a proxy has removed it: nginx passes it on with `proxy_http_version 1.1`, `proxy_set_header Upgrade $http_upgrade` and `proxy_set_header Connection`, as in deploy/nginx.conf";

const openSocket = described({
  operationId: "openSocket",
  tag: "Watching",
  summary: "Follow with a WebSocket",
  description:
    "One `StatusEvent` per text frame. The token is checked after the upgrade: a refused one is a close code (4401 refused, 4404 unknown order: stay away; 4410 run out: come back with a fresh one; 1012 restarting, 1013 try again later, 4408 too slow: come back). A request without `Upgrade: websocket`, as behind a proxy that removes it, is answered 426.",
  security: openedBy.watcher,
  querystring: positionQuery,
  answers: { 101: { description: "Upgraded; frames follow." } },
  problems: ["body_invalid", "origin_refused", "upgrade_required", "rate_limited"],
});

/** An open socket, all that is kept of it in one object. */
interface Connection extends Watcher, Expiring, Beating {
  socket: WebSocket;
  /** The order's uuid, once the token has named it. */
  id: string;
  /** The address that it counts for; absent until it counts. */
  address?: string | undefined;
  /** It has answered the last ping. */
  isAlive: boolean;
}

/** Returns how to drain it. */
export function webSocketRoute(
  app: FastifyInstance,
  { hub, access, connectionLimit, guard }: TransportOptions & { guard: Pick<Guard, "trust"> },
): Drainable {
  const connections = new Map<WebSocket, Connection>();
  let isClosing = false;

  const heartbeat = startHeartbeat<Connection>(heartbeatMs, {
    beat(connection) {
      if (connection.isAlive) connection.socket.ping();
      else connection.socket.terminate();
      connection.isAlive = false;
    },
    onError: (error) => app.log.error({ err: error }, "heartbeat failed"),
  });

  const serve = async (connection: Connection, request: FastifyRequest<OrderRequest>): Promise<void> => {
    const { socket } = request.raw;
    const { id, expiresAtS } = await authorizeWatcher(access, request);
    guard.trust(socket, expiresAtS === undefined ? "merchant" : "payer");
    if (!connections.has(connection.socket)) return;
    connectionLimit.acquire(request.ip);
    connection.address = request.ip;
    connection.id = id;
    await subscribe(hub, connection, { after: afterOf(request) ?? 0 });
    // Whoever has left meanwhile has been forgotten before it was made to watch.
    if (!connections.has(connection.socket)) return hub.unwatch(connection);
    connection.expiresAtS = expiresAtS;
    startExpiry(connection);
  };

  const preValidation = async (request: FastifyRequest): Promise<void> => {
    if (!request.ws) throw new HubError("upgrade_required", upgradeHint, { headers: upgradeHeaders });
    afterOf(request);
  };

  /** Of an upgrade, the line of the log is written when it begins; it has no response, and what would be one is let go. */
  const preHandler = async (request: FastifyRequest, reply: FastifyReply): Promise<void> => {
    request.log.info({ req: request, status: 101 }, "request");
    reply.raw.detachSocket(request.raw.socket);
  };

  function onPong(this: WebSocket): void {
    const connection = connections.get(this);
    if (connection) connection.isAlive = true;
  }

  function onError(this: WebSocket, error: Error): void {
    app.log.info({ err: error }, "socket failed");
  }

  function onClose(this: WebSocket): void {
    const connection = connections.get(this);
    if (!connection) return;
    connections.delete(this);
    heartbeat.delete(connection);
    hub.unwatch(connection);
    cancelExpiry(connection);
    if (connection.address !== undefined) connectionLimit.release(connection.address);
  }

  // An open socket holds on to nothing of its request, which would double what it takes.
  app.get<OrderRequest>(
    "/v1/orders/:orderId/socket",
    { websocket: true, config: { isSocket: true }, exposeHeadRoute: false, preValidation, preHandler, ...openSocket },
    (socket, request) => {
      if (isClosing) return close(socket, closeCode.restarting, "restarting");
      const connection = createConnection(socket);
      connections.set(socket, connection);
      heartbeat.add(connection);
      socket.removeAllListeners("error");
      socket.on("error", onError).on("pong", onPong).on("close", onClose);
      serve(connection, request).catch((error: unknown) => {
        const { code, reason } = refusal(error);
        const isExpected = error instanceof HubError && error.code === "rate_limited";
        if (code === closeCode.tryAgainLater && !isExpected) request.log.error({ err: error }, "socket not served");
        close(socket, code, reason);
      });
    },
  );

  return {
    begin() {
      isClosing = true;
      return [...connections.keys()].map((socket) => () => close(socket, closeCode.restarting, "restarting"));
    },
    end: heartbeat.close,
  };
}

const createConnection = (socket: WebSocket): Connection => ({
  socket,
  id: "",
  transport: "websocket",
  version: 0,
  isPaid: false,
  isAlive: true,
  address: undefined,
  expiresAtS: undefined,
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

/** Closes politely, and for certain. */
function close(socket: WebSocket, code: number, reason: string): void {
  socket.close(code, reason);
  const timer = setTimeout(() => socket.terminate(), closeGraceMs);
  socket.once("close", () => clearTimeout(timer));
}

/** What a client is told that cannot be served: stay away, or come back. */
function refusal(error: unknown): { code: number; reason: string } {
  if (!(error instanceof HubError)) return { code: closeCode.tryAgainLater, reason: "internal" };
  switch (error.code) {
    case "token_expired":
      return { code: closeCode.tokenExpired, reason: error.code };
    case "token_invalid":
      return { code: closeCode.tokenRefused, reason: error.code };
    case "order_unknown":
    case "body_invalid":
      return { code: closeCode.orderUnknown, reason: error.code };
    default:
      return { code: closeCode.tryAgainLater, reason: error.code };
  }
}
