/**
 * Socket.IO: rooms keyed by order id. A room is one watcher at the hub, made when the first socket joins and undone
 * when the last one leaves; the hub reaches the other nodes, so there is no adapter.
 *
 * A socket joins a room in the very tick in which it is sent the order's current state, so what the room is sent
 * afterwards is always newer and nothing falls in between. A refused handshake tells a client never to come back: only
 * its token can cause one. Everything else closes the connection below, after which every client comes back by itself.
 */
import type { IncomingMessage } from "node:http";
import type { FastifyBaseLogger, FastifyInstance } from "fastify";
import { Server, type Socket } from "socket.io";
import { z } from "zod";
import type { StatusEvent } from "../../client-sdk/protocol.ts";
import { credentialOf, type WatchGrant } from "../auth/access.ts";
import { HubError, type Problem, toProblem } from "../errors.ts";
import type { Watcher } from "../status/hub.ts";
import { orderIdText, parseInput } from "../validation.ts";
import { boundConnections, type StrangerOptions } from "./socketio-bounds.ts";
import { cancelExpiry, type Drainable, type Expiring, startExpiry, type TransportOptions } from "./transport.ts";

/** The acknowledgement of `watch`. */
export type WatchAnswer = { ok: true; order: StatusEvent } | { ok: false; error: Problem };

/** The acknowledgement of `unwatch`: whether the order was watched. */
export type UnwatchAnswer = { ok: boolean };

/** What a client may hear. */
export interface ServerEvents {
  status(event: StatusEvent): void;
  expired(order: { orderId: string }): void;
}

interface ClientEvents {
  watch(request: unknown, answer?: (answer: WatchAnswer) => void): void;
  unwatch(request: unknown, answer?: (answer: UnwatchAnswer) => void): void;
}

interface SocketData {
  /** The orders a socket watches, by the merchant's order id, each with the way to stop. */
  orders: Map<string, () => void>;
  /** One at a time, in the order asked for: of two tokens for one order the later one counts. */
  joining: Promise<unknown>;
  /** How many of them are not done yet. */
  waiting: number;
  /** What the handshake asked to watch. */
  first?: Watch;
}

type Watch = WatchGrant & { after: number };
type Io = Server<ClientEvents, ServerEvents, Record<string, never>, SocketData>;
type OrderSocket = Socket<ClientEvents, ServerEvents, Record<string, never>, SocketData>;

/** A merchant's backend may watch many orders on one socket; more than this are several sockets. A payer's frames run out before. */
const ordersPerSocketMax = 1_000;

/** Whoever has more than this asked for and not yet answered is cut off: the requests would pile up in our memory. */
const waitingMax = 2 * ordersPerSocketMax;

/** What a handshake (as `auth`) and `watch` ask for. */
export const watchRequest = z.object({
  token: z.string().max(4_096).optional(),
  orderId: orderIdText.optional(),
  after: z.coerce.number().int().min(0).max(2_147_483_647).default(0),
});

/** What `unwatch` asks for. */
export const unwatchRequest = z.object({ orderId: orderIdText });

const roomOf = (id: string): string => `order:${id}`;
const idOf = (room: string): string | undefined =>
  room.startsWith("order:") ? room.slice("order:".length) : undefined;

/**
 * Attaches Socket.IO to the app's server; upgrades of other paths are left to their owner. Returns how many orders are
 * watched, counted once per socket, and how to drain it.
 */
export function attachSocketIo(
  app: FastifyInstance,
  options: TransportOptions & StrangerOptions,
): Drainable & { watcherCount(): number } {
  const { hub, access, isAllowedOrigin } = options;
  const io: Io = new Server(app.server, {
    serveClient: false,
    destroyUpgrade: false,
    connectTimeout: 5_000,
    maxHttpBufferSize: 16_384,
    cors: { origin: (origin, done) => done(null, isAllowedOrigin(origin)) },
    allowRequest: (request: IncomingMessage, done) => {
      const isAllowed = isAllowedOrigin(request.headers.origin);
      done(isAllowed ? null : "origin refused", isAllowed);
    },
  });
  const trust = boundConnections(io.engine, options);
  const rooms = new Map<string, Watcher>();
  let isClosing = false;

  io.of("/").adapter.on("create-room", (room: string) => {
    const id = idOf(room);
    if (id === undefined) return;
    const receive = (event: StatusEvent): void => void io.to(room).emit("status", event);
    const watcher: Watcher = { id, transport: "socketio", version: 0, isPaid: false, receive };
    rooms.set(room, watcher);
    hub.watch(watcher);
  });
  io.of("/").adapter.on("delete-room", (room: string) => {
    const watcher = rooms.get(room);
    if (watcher) hub.unwatch(watcher);
    rooms.delete(room);
  });

  const authorize = async ({ conn }: OrderSocket, request: unknown): Promise<Watch> => {
    const { token, orderId, after } = parseInput(watchRequest, request);
    const watch = await access.watch(token, orderId);
    trust(conn, access.isMerchant(token) ? "merchant" : "payer");
    return { ...watch, after };
  };

  /** Does something with the socket's orders when everything asked for before is done. */
  const inTurn = <T>(socket: OrderSocket, act: () => T | Promise<T>): Promise<T> => {
    const { data } = socket;
    data.waiting += 1;
    if (data.waiting > waitingMax) socket.conn.close(true);
    // What a socket that is gone had asked for concerns nobody any more.
    const done = data.joining.then(() => (socket.connected ? act() : Promise.reject(new HubError("rate_limited"))));
    data.joining = done.catch(() => undefined).then(() => (data.waiting -= 1));
    return done;
  };

  /** Resolves with the current state, when the socket has been sent it and has joined the order's room. */
  const join = (socket: OrderSocket, { id, orderId, expiresAtS, after }: Watch): Promise<StatusEvent> =>
    hub.join(id, (event) => {
      if (!socket.connected) return event;
      const { orders } = socket.data;
      orders.get(orderId)?.();
      const expire = (): void => {
        socket.emit("expired", { orderId });
        orders.get(orderId)?.();
      };
      const expiring: Expiring = { expiresAtS, expire };
      startExpiry(expiring);
      void socket.join(roomOf(id));
      orders.set(orderId, () => {
        cancelExpiry(expiring);
        orders.delete(orderId);
        void socket.leave(roomOf(id));
      });
      if (after !== event.version) socket.emit("status", event);
      return event;
    });

  /** What the handshake asks to watch; a merchant's may name its orders later. */
  const greet = async (socket: OrderSocket): Promise<Watch | undefined> => {
    const auth = { token: credentialOf(socket.handshake), ...socket.handshake.auth };
    if (!isMerchantWithoutOrder(auth, access.isMerchant)) return authorize(socket, auth);
    trust(socket.conn, "merchant");
    return undefined;
  };

  io.use((socket, next) => {
    socket.data.orders = new Map();
    socket.data.joining = Promise.resolve();
    socket.data.waiting = 0;
    greet(socket).then(
      (watch) => {
        if (watch) socket.data.first = watch;
        next();
      },
      (error: unknown) => refuse(socket, error, next, app.log),
    );
  });

  io.on("connection", (socket) => {
    letGoOfRequest(socket);
    socket.on("disconnect", () => {
      for (const release of [...socket.data.orders.values()]) release();
    });
    socket.on("watch", (request, answer) => {
      watchMore(socket, request).then(
        (order) => respond(answer, { ok: true, order }),
        (error: unknown) => respond(answer, { ok: false, error: problemOf(error, app.log) }),
      );
    });
    socket.on("unwatch", (request, acknowledge) => {
      const answer = (typeof request === "function" ? request : acknowledge) as typeof acknowledge;
      const found = unwatchRequest.safeParse(request);
      const release = (): void => {
        const stop = found.success ? socket.data.orders.get(found.data.orderId) : undefined;
        stop?.();
        respond(answer, { ok: stop !== undefined });
      };
      inTurn(socket, release).catch(() => undefined); // It is gone, and watches nothing.
    });
    const { first } = socket.data;
    // Whoever went meanwhile needs no sending away.
    if (first)
      inTurn(socket, () => join(socket, first)).catch(
        (error: unknown) => socket.connected && sendAway(socket, error, app.log),
      );
  });

  const watchMore = (socket: OrderSocket, request: unknown): Promise<StatusEvent> =>
    inTurn(socket, async () => {
      if (socket.data.orders.size >= ordersPerSocketMax) {
        throw new HubError("rate_limited", `One socket watches at most ${ordersPerSocketMax} orders`);
      }
      return join(socket, await authorize(socket, request));
    });

  // Clients come back at once, and would find the listening socket still open.
  io.engine.on("connection", (connection: { close(): void }) => {
    if (isClosing) connection.close();
  });
  return {
    watcherCount() {
      const watched = [...io.of("/").adapter.rooms].filter(([room]) => idOf(room) !== undefined);
      return watched.reduce((count, [, sockets]) => count + sockets.size, 0);
    },
    begin() {
      isClosing = true;
      return [...io.of("/").sockets.values()].map((socket) => () => socket.conn.close());
    },
    async end() {
      io.engine.close();
    },
  };
}

/** A merchant's socket may start without an order and name them later. */
const isMerchantWithoutOrder = (auth: Record<string, unknown>, isMerchant: (key: string) => boolean): boolean =>
  auth.orderId === undefined && typeof auth.token === "string" && isMerchant(auth.token);

/** Refuses a handshake for good when its credentials are to blame; otherwise cuts the connection, to come back. */
function refuse(socket: OrderSocket, error: unknown, next: (error?: Error) => void, log: FastifyBaseLogger): void {
  const problem = problemOf(error, log);
  if (problem.retryable) recordReturn(socket, error, log);
  else next(Object.assign(new Error(problem.title), { data: problem }));
}

/** There is nothing to watch, so no reason to come back; or there may be later. */
function sendAway(socket: OrderSocket, error: unknown, log: FastifyBaseLogger): void {
  if (problemOf(error, log).retryable) recordReturn(socket, error, log);
  else socket.disconnect();
}

/** Closes the connection below the socket: unlike `disconnect()`, after that every client tries again by itself. */
function recordReturn(socket: OrderSocket, error: unknown, log: FastifyBaseLogger): void {
  log.warn({ err: error }, "socket sent away to come back");
  socket.conn.close();
}

/** A client decides what it sends where an acknowledgement belongs. */
function respond<T>(answer: ((answer: T) => void) | undefined, value: T): void {
  if (typeof answer === "function") answer(value);
}

function problemOf(error: unknown, log: FastifyBaseLogger): Problem {
  if (error instanceof HubError) return toProblem(error);
  log.error({ err: error }, "socket failed");
  return toProblem(new HubError("internal"));
}

/**
 * By now nobody reads the request that the connection began with, nor what the handshake was made of, a fifth of what an
 * idle socket would keep. Whoever leaves and joins again on the same connection names their token in `auth`.
 */
function letGoOfRequest(socket: OrderSocket): void {
  Object.assign(socket.conn, { request: undefined });
  Object.assign(socket, { handshake: undefined });
}
