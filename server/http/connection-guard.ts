/**
 * The guard bounds what every connection can make a node hold or do, from its first byte on and whatever the client (G12).
 *
 * Guarantees: a bounded number of connections per address, of unanswered requests per connection, of bytes queued for a
 * reader that does not read, and of frames and bytes that come in after an upgrade. A connection over a bound is cut off.
 * Its client may connect again, and other connections are not affected.
 * Does not guarantee: a time limit on silent connections and incomplete requests. Node has one, `requestTimeout`
 * (http/server.ts).
 * Concurrency: everything runs synchronously in socket and server events.
 */
import { IncomingMessage, type Server, type ServerResponse } from "node:http";
import { Socket } from "node:net";
import type { Role } from "../auth/access.ts";
import { type ConnectionLimit, createConnectionLimit } from "../rate-limit.ts";
import { createInboundFlow, type InboundFlow, raiseRole, takeChunk } from "./inbound-limit.ts";

/** Bytes that may wait for a reader. A merchant has more because it reads whole lists. */
export const queuedBytesMax = { anonymous: 262_144, payer: 262_144, merchant: 4_194_304 } as const satisfies Record<
  Role,
  number
>;

/** A reader must take something in this time. A merchant has longer because its list is one large piece. */
const unreadMsMax = { anonymous: 15_000, payer: 15_000, merchant: 60_000 } as const satisfies Record<Role, number>;

/** Unanswered requests per connection. Browsers, proxies and backends have one. */
export const unansweredMax = 8;

/** Pieces of one body. 1,024 because the largest body of 64 KiB may then come 64 bytes at a time. */
export const piecesMax = 1_024;

/** Why a connection was cut off. */
export type CutReason = "address" | "unanswered" | "queued" | "unread" | "flood";

export interface Guard {
  /** Records the role that the client has proved. */
  trust(socket: Socket, role: Role): void;
  /** Puts the guard before the server's listeners for requests. Call it when all of them are registered. */
  guardRequests(): void;
  /** Cuts off connections for which too much is queued. Call it about once a second. */
  cutUnread(): void;
}

export interface GuardOptions {
  /** Connections open at once from one address. */
  perAddressMax: number;
  /** Whether an address is a proxy's, which connects for many clients. */
  isProxy: (address: string) => boolean;
  onCut: (why: CutReason, address: string) => void;
  /** A monotonic clock. */
  nowMs?: () => number;
}

interface Guarded {
  address: string;
  flow: InboundFlow;
  unanswered: number;
  /** Bytes that the reader had taken in all when it last took some, and the time of that. */
  takenBytes: number;
  takenMs: number;
}

interface State {
  guarded: Map<Socket, Guarded>;
  connectionLimit: ConnectionLimit;
  isProxy: GuardOptions["isProxy"];
  onCut: GuardOptions["onCut"];
  nowMs: () => number;
}

/** Registers before the other listeners of `server`, so call it first. */
export function guardConnections(
  server: Server,
  { perAddressMax, isProxy, onCut, nowMs = () => performance.now() }: GuardOptions,
): Guard {
  const guarded = new Map<Socket, Guarded>();
  const state: State = { guarded, connectionLimit: createConnectionLimit(perAddressMax), isProxy, onCut, nowMs };

  server.prependListener("connection", (socket: Socket) => acceptConnection(state, socket));
  server.prependListener("upgrade", ({ socket }: IncomingMessage, _socket: unknown, head: Buffer) =>
    acceptUpgrade(state, socket, head),
  );

  return {
    trust(socket, role) {
      const found = guarded.get(socket);
      if (found) raiseRole(found.flow, role);
    },
    guardRequests: () => guardRequests(state, server),
    cutUnread() {
      for (const [socket, of] of guarded) {
        const why = excessOf(socket, of, nowMs());
        if (why) cut(state, socket, why);
      }
    },
  };
}

function cut({ guarded, onCut }: State, socket: Socket, why: CutReason): void {
  if (socket.destroyed) return;
  onCut(why, guarded.get(socket)?.address ?? socket.remoteAddress ?? "");
  socket.destroy();
}

function acceptConnection(state: State, socket: Socket): void {
  const { guarded, connectionLimit, isProxy, nowMs } = state;
  const address = socket.remoteAddress ?? "";
  const isCounted = !isProxy(address);
  try {
    if (isCounted) connectionLimit.acquire(address);
  } catch {
    cut(state, socket, "address");
    return;
  }
  const now = nowMs();
  guarded.set(socket, { address, flow: createInboundFlow(now), unanswered: 0, takenBytes: 0, takenMs: now });
  socket.once("close", () => {
    guarded.delete(socket);
    if (isCounted) connectionLimit.release(address);
  });
}

function acceptUpgrade(state: State, socket: Socket, head: Buffer): void {
  const { nowMs } = state;
  const found = state.guarded.get(socket);
  if (!found) return;
  // Until the earlier answer is out nothing reads from the upgraded socket, and its end would go unnoticed.
  if (found.unanswered > 0) {
    cut(state, socket, "unanswered");
    return;
  }
  // A proxy may have used the connection for another client before, whose role must not carry over.
  found.flow = createInboundFlow(nowMs());
  guardFlow(socket, {
    head,
    take: (chunk) => takeChunk(found.flow, chunk, nowMs()),
    onExcess: () => cut(state, socket, "flood"),
  });
}

function guardRequests(state: State, server: Server): void {
  const listeners = server.listeners("request");
  server.removeAllListeners("request");
  server.on("request", (request: IncomingMessage, response: ServerResponse) => {
    if (!admit(state, request, response)) return;
    for (const listener of listeners) listener.call(server, request, response);
  });
  // Without this listener Node answers such requests itself, past the guard. The connection ends for the same reason.
  server.on("checkExpectation", (_request: IncomingMessage, response: ServerResponse) => {
    response.writeHead(417, { connection: "close" });
    response.end();
  });
}

/** Returns whether the request may reach the server's listeners. */
function admit(state: State, request: IncomingMessage, response: ServerResponse): boolean {
  const { socket } = request;
  const found = state.guarded.get(socket);
  if (!found) return !socket.destroyed;
  found.unanswered += 1;
  if (found.unanswered > unansweredMax) {
    cut(state, socket, "unanswered");
    return false;
  }
  response.once("close", () => {
    found.unanswered -= 1;
  });
  // The connection ends when the answer is out before the body is in, because reading the rest would have no bound.
  response.once("finish", () => {
    if (!request.complete) socket.destroySoon();
  });
  guardPieces(request, () => cut(state, socket, "flood"));
  return true;
}

/** Why too much is queued for this reader. Undefined when it is within its bounds. */
function excessOf(socket: Socket, state: Guarded, now: number): CutReason | undefined {
  const { role } = state.flow;
  const queuedBytes = socket.writableLength;
  if (queuedBytes > queuedBytesMax[role]) return "queued";
  const takenBytes = queuedBytes === 0 ? 0 : socket.bytesWritten - queuedBytes;
  if (queuedBytes === 0 || takenBytes !== state.takenBytes) {
    state.takenBytes = takenBytes;
    state.takenMs = now;
  }
  return now - state.takenMs > unreadMsMax[role] ? "unread" : undefined;
}

/** Limits the pieces of a body, because a piece of a few bytes costs as much as a large one. */
function guardPieces(request: IncomingMessage, onExcess: () => void): void {
  let pieces = 0;
  request.push = (chunk: unknown, encoding?: BufferEncoding): boolean => {
    pieces += 1;
    if (pieces <= piecesMax || chunk === null) return IncomingMessage.prototype.push.call(request, chunk, encoding);
    onExcess();
    return false;
  };
}

/**
 * Counts what comes in over an upgraded connection before the WebSocket reads it. It overrides `push`, because a second
 * "data" listener could not withhold a chunk of ten thousand frames from the WebSocket's own.
 */
function guardFlow(
  socket: Socket,
  { head, take, onExcess }: { head: Buffer; take: (chunk: Buffer) => boolean; onExcess: () => void },
): void {
  if (!take(head)) onExcess();
  socket.push = (chunk: unknown, encoding?: BufferEncoding): boolean => {
    if (!(chunk instanceof Buffer) || take(chunk)) return Socket.prototype.push.call(socket, chunk, encoding);
    onExcess();
    return false;
  };
}
