/** What bounds those who connect over Socket.IO: strangers, by where they come from; and readers who do not read. */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket as TcpSocket } from "node:net";
import type { Server, Socket } from "socket.io";
import type { Role } from "../auth/access.ts";
import { HubError } from "../errors.ts";
import { type Guard, queuedBytesMax } from "../http/connection-guard.ts";
import { unreadBytesMax } from "../http/event-stream.ts";
import { Flow } from "../http/inbound-limit.ts";
import type { RequestBudget } from "../http/request-budget.ts";
import { isWebSocket } from "../http/server.ts";
import { limited } from "../rate-limit.ts";
import type { TransportOptions } from "./transport.ts";

export interface StrangerOptions {
  isAllowedOrigin: (origin: string | undefined) => boolean;
  /** Where a request comes from, as far as proxies are trusted. */
  addressOf: (request: IncomingMessage) => string;
  budget: RequestBudget;
  guard: Pick<Guard, "trust">;
}

/** A connection of engine.io, as far as is needed here: its own type hides the id. */
interface Connection {
  id: string;
  request: IncomingMessage;
  transport: { name: string };
  close(isAtOnce?: boolean): void;
  once(event: "close", listener: () => void): unknown;
  on(event: "packet" | "packetCreate" | "drain", listener: (packet: { data?: unknown }) => void): unknown;
}

/** How requests enter engine.io; its own type hides it. */
interface Entrance {
  handleRequest(request: IncomingMessage, response: ServerResponse): void;
  handleUpgrade(request: IncomingMessage, socket: TcpSocket, head: Buffer): void;
}

/** Of a request: a connection's id has 20 bytes and a watch token some hundreds, and engine.io reads all that there is. */
const urlLengthMax = 4_096;

/** What is known of the other end of a connection. */
interface Peer {
  role: Role;
  /** The upgraded TCP connection below it, or the one that it would move to; absent while it only polls. */
  socket?: TcpSocket;
  /** Counts its packets while it polls: they come many to a request. */
  flow: Flow;
}

/**
 * Connections begin below Socket.IO and Fastify: what is bounded there for strangers is bounded here, with a `Retry-After`
 * where there is an answer. Returns how to say that a connection has shown who it is.
 */
export function boundConnections(
  engine: Server["engine"],
  {
    addressOf,
    connectionLimit,
    budget,
    guard,
    isAllowedOrigin,
  }: StrangerOptions & Pick<TransportOptions, "connectionLimit">,
): (connection: Socket["conn"], role: Role) => void {
  const peers = new WeakMap<object, Peer>();
  /** The same by the id that a connection's further requests name. */
  const named = new Map<string, Peer>();

  const trust = (connection: Socket["conn"], role: Role): void => {
    const peer = peers.get(connection);
    if (!peer) return;
    peer.role = role;
    peer.flow.raise(role);
    if (peer.socket) guard.trust(peer.socket, role);
  };

  boundUrls(engine as unknown as Entrance);

  engine.use(async (request: IncomingMessage, response: ServerResponse, next: () => void) => {
    // `allowRequest` is asked of a connection's first request alone; this one may be another page's that goes on with it.
    if (!isAllowedOrigin(request.headers.origin)) {
      response.writeHead(403);
      response.end();
      return;
    }
    try {
      const address = addressOf(request);
      const query = new URL(request.url ?? "/", "http://localhost").searchParams;
      const peer = named.get(query.get("sid") ?? "");
      // Of a connection that there is, they count as its packets do.
      if (peer) {
        if (!peer.flow.take(1, 0, performance.now())) throw limited("Too many requests of this connection", 1_000);
      } else {
        const token = query.get("token") ?? undefined;
        await budget.take({ headers: request.headers, query: { token } }, address);
      }
      // Of a connection that is yet to begin; how many there are is counted below.
      if (!query.has("sid")) connectionLimit.check(address);
      if (peer && isWebSocket(request)) {
        // engine.io would answer every further one, use none of them, and keep each until its client closes it.
        if (peer.socket && !peer.socket.destroyed) throw limited("This connection is upgraded already", 1_000);
        peer.socket = request.socket;
        guard.trust(request.socket, peer.role);
      }
    } catch (error) {
      const seconds = error instanceof HubError ? (error.details.retryAfterS ?? 1) : 1;
      // Of an upgrade, engine.io's response has no status: it answers `undefined` to this, and its end cuts off.
      response.writeHead(429, { "retry-after": String(seconds) });
      response.end();
      return;
    }
    next();
  });

  engine.on("connection", (connection: Connection) => {
    try {
      const address = addressOf(connection.request);
      connectionLimit.acquire(address);
      connection.once("close", () => {
        connectionLimit.release(address);
        named.delete(connection.id);
      });
    } catch {
      return connection.close(); // Full: to come back later.
    }
    const peer: Peer = { role: "anonymous", flow: new Flow(performance.now()) };
    peers.set(connection, peer);
    named.set(connection.id, peer);
    boundUnread(connection, peer);
    if (connection.transport.name === "websocket") peer.socket = connection.request.socket;
    else boundPackets(connection, peer.flow);
  });

  return trust;
}

/** Refuses requests with a longer address before anything reads it: engine.io does so even before its first middleware. */
function boundUrls(engine: Entrance): void {
  const { handleRequest, handleUpgrade } = engine;
  const isTooLong = ({ url = "" }: IncomingMessage): boolean => url.length > urlLengthMax;
  engine.handleRequest = (request, response) => {
    if (!isTooLong(request)) return handleRequest.call(engine, request, response);
    response.writeHead(414, { connection: "close" }).end();
  };
  engine.handleUpgrade = (request, socket, head) => {
    if (!isTooLong(request)) return handleUpgrade.call(engine, request, socket, head);
    socket.on("error", () => undefined);
    socket.write("HTTP/1.1 414 URI Too Long\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    socket.destroySoon();
  };
}

/** Cuts off who sends more packets than such a client may. */
function boundPackets(connection: Connection, flow: Flow): void {
  connection.on("packet", ({ data }) => {
    const bytes = typeof data === "string" ? data.length : 0;
    if (!flow.take(1, bytes, performance.now())) connection.close(true);
  });
}

/**
 * Counts what was handed to a connection since it last drained, and cuts off a reader that falls too far behind. One that
 * polls drains once for each request, however well it reads.
 */
function boundUnread(connection: Connection, peer: Peer): void {
  let unreadBytes = 0;
  connection.on("packetCreate", ({ data }) => {
    unreadBytes += typeof data === "string" ? data.length : 0;
    const max = connection.transport.name === "polling" ? queuedBytesMax[peer.role] : unreadBytesMax;
    // Without waiting for what is unread to be read.
    if (unreadBytes > max) connection.close(true);
  });
  connection.on("drain", () => {
    unreadBytes = 0;
  });
}
