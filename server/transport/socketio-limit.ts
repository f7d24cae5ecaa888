/**
 * Limits Socket.IO connections, below Socket.IO: unauthenticated clients by their address, and slow readers.
 *
 * Guarantees (G12): a bounded number of connections per address, of requests and packets per connection, of upgrades, and
 * of unread bytes. engine.io takes requests before Fastify sees them, so the limits of http/ do not cover them. A refused
 * request has a `Retry-After`.
 * Concurrency: requests of one connection may overlap. Each is counted before the first await that follows it.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket as TcpSocket } from "node:net";
import type { Server, Socket } from "socket.io";
import type { Role } from "../auth/access.ts";
import { HubError } from "../errors.ts";
import { type Guard, queuedBytesMax } from "../http/connection-guard.ts";
import { unreadBytesMax } from "../http/event-stream.ts";
import { createInboundFlow, type InboundFlow, raiseRole, take } from "../http/inbound-limit.ts";
import type { RequestBudget } from "../http/request-budget.ts";
import { isWebSocket } from "../http/upgrade.ts";
import { limited } from "../rate-limit.ts";
import type { TransportOptions } from "./transport.ts";

export interface ClientLimitOptions {
  isAllowedOrigin: (origin: string | undefined) => boolean;
  /** The client's address, as far as the proxies in between are trusted. */
  addressOf: (request: IncomingMessage) => string;
  budget: RequestBudget;
  guard: Pick<Guard, "trust">;
}

type LimitOptions = ClientLimitOptions & Pick<TransportOptions, "connectionLimit">;

/** The part of engine.io's connection that this file uses. Its own type hides the id. */
interface Connection {
  id: string;
  request: IncomingMessage;
  transport: { name: string };
  close(isAtOnce?: boolean): void;
  once(event: "close", listener: () => void): unknown;
  on(event: "packet" | "packetCreate" | "drain", listener: (packet: { data?: unknown }) => void): unknown;
}

/** The methods through which requests enter engine.io. Its own type hides them. */
interface Entrance {
  handleRequest(request: IncomingMessage, response: ServerResponse): void;
  handleUpgrade(request: IncomingMessage, socket: TcpSocket, head: Buffer): void;
}

/** 4 KiB because engine.io parses the whole URL. A connection id has 20 bytes, and a watch token a few hundred. */
const urlLengthMax = 4_096;

/** The client of a connection. */
interface Peer {
  role: Role;
  /** The upgraded TCP connection, or the one of an upgrade in progress. Undefined while the client only polls. */
  socket?: TcpSocket;
  /** Counts packets while the client polls, because one request may contain many. */
  flow: InboundFlow;
}

interface State extends LimitOptions {
  /** By connection. */
  peers: WeakMap<object, Peer>;
  /** By the connection id, which further requests of the connection contain. */
  peersById: Map<string, Peer>;
}

/** Returns a function that records the role that the client of a connection has proved. */
export function limitConnections(
  engine: Server["engine"],
  options: LimitOptions,
): (connection: Socket["conn"], role: Role) => void {
  const state: State = { ...options, peers: new WeakMap(), peersById: new Map() };
  limitUrls(engine as unknown as Entrance);
  engine.use((request: IncomingMessage, response: ServerResponse, next: () => void) =>
    admit(state, { request, response, next }),
  );
  engine.on("connection", (connection: Connection) => acceptConnection(state, connection));
  return (connection, role) => trust(state, connection, role);
}

function trust({ peers, guard }: State, connection: Socket["conn"], role: Role): void {
  const peer = peers.get(connection);
  if (!peer) return;
  peer.role = role;
  raiseRole(peer.flow, role);
  if (peer.socket) guard.trust(peer.socket, role);
}

/** Counts a request, and passes it to engine.io or refuses it. */
async function admit(
  state: State,
  { request, response, next }: { request: IncomingMessage; response: ServerResponse; next: () => void },
): Promise<void> {
  // `allowRequest` checks only a connection's first request. A page of another origin may send a later one.
  if (!state.isAllowedOrigin(request.headers.origin)) {
    response.writeHead(403);
    response.end();
    return;
  }
  try {
    await countRequest(state, request);
  } catch (error) {
    const seconds = error instanceof HubError ? (error.details.retryAfterS ?? 1) : 1;
    // For an upgrade, engine.io's response ignores the status, and `end` closes the connection.
    response.writeHead(429, { "retry-after": String(seconds) });
    response.end();
    return;
  }
  next();
}

/** Throws `rate_limited`. */
async function countRequest(state: State, request: IncomingMessage): Promise<void> {
  const { addressOf, peersById, budget, connectionLimit } = state;
  const address = addressOf(request);
  const query = new URL(request.url ?? "/", "http://localhost").searchParams;
  const peer = peersById.get(query.get("sid") ?? "");
  // A request of an existing connection counts as one of its packets.
  if (peer) {
    const isWithin = take(peer.flow, { frames: 1, bytes: 0 }, performance.now());
    if (!isWithin) throw limited("Too many requests of this connection", 1_000);
  } else {
    const token = query.get("token") ?? undefined;
    await budget.take({ headers: request.headers, query: { token } }, address);
  }
  // A request without an id starts a connection, which `acceptConnection` counts.
  if (!query.has("sid")) connectionLimit.check(address);
  if (peer && isWebSocket(request)) startUpgrade(state, peer, request);
}

/** Throws `rate_limited` for a second upgrade, because engine.io would keep its unused connection until the client closes it. */
function startUpgrade({ guard }: State, peer: Peer, { socket }: IncomingMessage): void {
  if (peer.socket && !peer.socket.destroyed) throw limited("This connection is upgraded already", 1_000);
  peer.socket = socket;
  guard.trust(socket, peer.role);
}

function acceptConnection(state: State, connection: Connection): void {
  const { addressOf, connectionLimit, peers, peersById } = state;
  try {
    const address = addressOf(connection.request);
    connectionLimit.acquire(address);
    connection.once("close", () => {
      connectionLimit.release(address);
      peersById.delete(connection.id);
    });
  } catch {
    // The address has too many connections. The client reconnects later.
    connection.close();
    return;
  }
  const peer: Peer = { role: "anonymous", flow: createInboundFlow(performance.now()) };
  peers.set(connection, peer);
  peersById.set(connection.id, peer);
  limitUnread(connection, peer);
  if (connection.transport.name === "websocket") peer.socket = connection.request.socket;
  else limitPackets(connection, peer.flow);
}

/** Refuses long URLs before engine.io parses them, which it does before its first middleware. */
function limitUrls(engine: Entrance): void {
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

/** Closes a connection whose client sends more packets than its role may. */
function limitPackets(connection: Connection, flow: InboundFlow): void {
  connection.on("packet", ({ data }) => {
    const bytes = typeof data === "string" ? data.length : 0;
    if (!take(flow, { frames: 1, bytes }, performance.now())) connection.close(true);
  });
}

/**
 * Closes a connection with too many bytes that are not flushed yet. A client that polls has a larger limit, because its
 * connection flushes only once per request.
 */
function limitUnread(connection: Connection, peer: Peer): void {
  let unreadBytes = 0;
  connection.on("packetCreate", ({ data }) => {
    unreadBytes += typeof data === "string" ? data.length : 0;
    const max = connection.transport.name === "polling" ? queuedBytesMax[peer.role] : unreadBytesMax;
    // `true` closes at once: the reader may never read what is unread.
    if (unreadBytes > max) connection.close(true);
  });
  connection.on("drain", () => {
    unreadBytes = 0;
  });
}
