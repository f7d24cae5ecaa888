/**
 * A session is what one Socket.IO socket watches, from its handshake to its disconnect.
 *
 * Guarantees: requests of a socket run one at a time, in the order of their arrival, so of two tokens for one order the
 * later one counts. A socket joins an order's room in the tick in which it gets the current state: the room's later states
 * are newer, and none falls in between (G5). A socket with too many unanswered requests is closed (G12).
 * Does not guarantee: that a request of a disconnected socket runs.
 *
 * Closing and reconnecting: clients do not reconnect after a refused handshake or `disconnect()`, so only an error that a
 * retry cannot fix causes those. Every other error closes the connection below the socket, and the client reconnects.
 */
import type { FastifyBaseLogger } from "fastify";
import type { StatusEvent } from "../../client-sdk/protocol.ts";
import { credentialOf, type Role } from "../auth/access.ts";
import { HubError, type Problem, toProblem } from "../errors.ts";
import { isAt } from "../order/order.ts";
import { parseInput } from "../validation.ts";
import { type OrderSocket, roomOf, unwatchRequest, type Watch, watchRequest } from "./socketio-message.ts";
import { cancelExpiry, type Expiring, startExpiry, type TransportOptions } from "./transport.ts";

export interface SessionOptions extends Pick<TransportOptions, "hub" | "access"> {
  /** Records the role that the client has proved. */
  trust: (connection: OrderSocket["conn"], role: Role) => void;
  log: FastifyBaseLogger;
}

/** 1,000 because a merchant's backend watches many orders on one socket. A payer exceeds its frames before that. */
const ordersPerSocketMax = 1_000;

/** Twice the orders, because further requests would only fill memory. */
const queuedMax = 2 * ordersPerSocketMax;

/** Handles a handshake: finds the order to watch, or refuses. */
export function authorizeHandshake(options: SessionOptions, socket: OrderSocket, next: (error?: Error) => void): void {
  socket.data.orders = new Map();
  socket.data.queue = Promise.resolve();
  socket.data.queued = 0;
  findFirstWatch(options, socket).then(
    (watch) => {
      if (watch) socket.data.first = watch;
      next();
    },
    (error: unknown) => refuseHandshake(socket, error, { next, log: options.log }),
  );
}

/** Handles the messages of an authorized socket, and watches the order of its handshake. */
export function serveSession(options: SessionOptions, socket: OrderSocket): void {
  const { log } = options;
  freeHandshake(socket);
  socket.on("disconnect", () => {
    for (const stop of [...socket.data.orders.values()]) stop();
  });
  socket.on("watch", (request, answer) => {
    watchOrder(options, socket, request).then(
      (order) => respond(answer, { ok: true, order }),
      (error: unknown) => respond(answer, { ok: false, error: problemOf(error, log) }),
    );
  });
  socket.on("unwatch", (request, acknowledge) => {
    const answer = (typeof request === "function" ? request : acknowledge) as typeof acknowledge;
    enqueue(socket, () => respond(answer, { ok: unwatchOrder(socket, request) })).catch(() => undefined); // Disconnected.
  });
  const { first } = socket.data;
  if (!first) return;
  enqueue(socket, () => join(options, socket, first)).catch((error: unknown) => {
    if (socket.connected) closeAfter(socket, error, log);
  });
}

/** The order that the handshake asks to watch. Undefined when a merchant names its orders later. */
async function findFirstWatch(options: SessionOptions, socket: OrderSocket): Promise<Watch | undefined> {
  const { access, trust } = options;
  const auth = { token: credentialOf(socket.handshake), ...socket.handshake.auth };
  if (!isMerchantWithoutOrder(auth, access.isMerchant)) return authorize(options, socket, auth);
  trust(socket.conn, "merchant");
  return undefined;
}

const isMerchantWithoutOrder = (auth: Record<string, unknown>, isMerchant: (key: string) => boolean): boolean =>
  auth.orderId === undefined && typeof auth.token === "string" && isMerchant(auth.token);

async function authorize({ access, trust }: SessionOptions, { conn }: OrderSocket, request: unknown): Promise<Watch> {
  const { token, orderId, after, clock } = parseInput(watchRequest, request);
  const grant = await access.watch(token, orderId);
  trust(conn, access.isMerchant(token) ? "merchant" : "payer");
  return { ...grant, after, clock };
}

/** Runs `act` when the socket's earlier requests are done. Rejects when the socket is disconnected by then. */
function enqueue<T>(socket: OrderSocket, act: () => T | Promise<T>): Promise<T> {
  const { data } = socket;
  data.queued += 1;
  if (data.queued > queuedMax) socket.conn.close(true);
  const done = data.queue.then(() => (socket.connected ? act() : Promise.reject(new HubError("rate_limited"))));
  data.queue = done.catch(() => undefined).then(() => (data.queued -= 1));
  return done;
}

const watchOrder = (options: SessionOptions, socket: OrderSocket, request: unknown): Promise<StatusEvent> =>
  enqueue(socket, async () => {
    if (socket.data.orders.size >= ordersPerSocketMax) {
      throw new HubError("rate_limited", `One socket watches at most ${ordersPerSocketMax} orders`);
    }
    return join(options, socket, await authorize(options, socket, request));
  });

/** Returns whether the socket watched the order. */
function unwatchOrder(socket: OrderSocket, request: unknown): boolean {
  const { success, data } = unwatchRequest.safeParse(request);
  const stop = success ? socket.data.orders.get(data.orderId) : undefined;
  stop?.();
  return stop !== undefined;
}

/** Sends the current state and joins the order's room, in one tick (G5). Resolves with the state. */
const join = ({ hub }: SessionOptions, socket: OrderSocket, { id, orderId, expiresAtS, key, after, clock }: Watch) =>
  hub.join(id, (event, readAt): StatusEvent => {
    if (!socket.connected) return event;
    const { orders } = socket.data;
    orders.get(orderId)?.();
    const expire = (): void => {
      socket.emit("expired", { orderId });
      orders.get(orderId)?.();
    };
    const expiring: Expiring = { expiresAtS, key, expire };
    void socket.join(roomOf(id));
    orders.set(orderId, () => {
      cancelExpiry(expiring);
      orders.delete(orderId);
      void socket.leave(roomOf(id));
    });
    startExpiry(expiring);
    const first = clock ? { ...event, sentAt: readAt } : event;
    if (!isAt(after, event)) socket.emit("status", first);
    return first;
  });

/** Refuses the handshake when its credential is wrong. Otherwise closes the connection, and the client reconnects. */
function refuseHandshake(
  socket: OrderSocket,
  error: unknown,
  { next, log }: { next: (error?: Error) => void; log: FastifyBaseLogger },
): void {
  const problem = problemOf(error, log);
  if (problem.retryable) closeToReconnect(socket, error, log);
  else next(Object.assign(new Error(problem.title), { data: problem }));
}

/** Disconnects a socket that has nothing to watch. When a retry may succeed, the client reconnects. */
function closeAfter(socket: OrderSocket, error: unknown, log: FastifyBaseLogger): void {
  if (problemOf(error, log).retryable) closeToReconnect(socket, error, log);
  else socket.disconnect();
}

/** Closes the connection below the socket. Clients reconnect after that, and do not after `disconnect()`. */
function closeToReconnect(socket: OrderSocket, error: unknown, log: FastifyBaseLogger): void {
  log.warn({ event: "socketio.connection.closed", err: error }, "Socket.IO connection closed; its client reconnects");
  socket.conn.close();
}

/** A client may send anything in the place of an acknowledgement. */
function respond<T>(answer: ((answer: T) => void) | undefined, value: T): void {
  if (typeof answer === "function") answer(value);
}

function problemOf(error: unknown, log: FastifyBaseLogger): Problem {
  if (error instanceof HubError) return toProblem(error);
  log.error({ event: "socketio.request.failed", err: error }, "Socket.IO request failed");
  return toProblem(new HubError("internal"));
}

/**
 * Frees the connection's first request and the handshake, which would be a fifth of an idle socket's memory. Nothing reads
 * them from here on: a client that leaves the namespace and joins again sends its token in `auth`.
 */
function freeHandshake(socket: OrderSocket): void {
  Object.assign(socket.conn, { request: undefined });
  Object.assign(socket, { handshake: undefined });
}
