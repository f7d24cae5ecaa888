/**
 * One guard for every connection, from its first byte on and whoever is at the other end: how many an address may have,
 * how many requests one may leave unanswered, how much we hold for a reader that does not read, and, after an upgrade, how
 * much may come in. Whoever goes beyond is cut off; its client may connect again, and others are served meanwhile.
 *
 * A connection that says nothing, or a request that does not arrive whole, is ended by Node (`requestTimeout` in http/server.ts).
 */
import { IncomingMessage, type Server, type ServerResponse } from "node:http";
import { Socket } from "node:net";
import type { Role } from "../auth/access.ts";
import { createConnectionLimit } from "../rate-limit.ts";
import { Flow } from "./inbound-limit.ts";

/** What we hold for a reader at most, in bytes: strangers and payers are sent little at a time, a merchant whole lists. */
export const queuedBytesMax = { anonymous: 262_144, payer: 262_144, merchant: 4_194_304 } as const satisfies Record<
  Role,
  number
>;

/** A reader that has taken nothing in this time is gone. A merchant's long list is one piece, which takes a slow one longer. */
const unreadMsMax = { anonymous: 15_000, payer: 15_000, merchant: 60_000 } as const satisfies Record<Role, number>;

/** Requests on one connection whose answers are not out yet. Browsers, proxies and backends have one. */
export const unansweredMax = 8;

/** Pieces of one request's body: the largest may come 64 bytes at a time. */
export const piecesMax = 1_024;

/** Why a connection was cut off. */
export type CutReason = "address" | "unanswered" | "queued" | "unread" | "flood";

export interface Guard {
  /** The other end has shown who it is. */
  trust(socket: Socket, role: Role): void;
  /** To be called once everybody who listens for requests does: from then on, what is too much does not reach them. */
  guardRequests(): void;
  /** Cuts off those for whom too much waits. To be called about once a second. */
  cutUnread(): void;
}

export interface GuardOptions {
  /** Connections at a time from one address. */
  perAddressMax: number;
  /** Whether an address is a proxy's, whose connections are those of many clients. */
  isProxy: (address: string) => boolean;
  onCut: (why: CutReason, address: string) => void;
  /** Any clock that only moves forward. */
  nowMs?: () => number;
}

interface Guarded {
  address: string;
  flow: Flow;
  unanswered: number;
  /** Of what waits for the reader: how much it had taken in all when it last took some, and when that was. */
  takenBytes: number;
  takenMs: number;
}

export function guardConnections(
  server: Server,
  { perAddressMax, isProxy, onCut, nowMs = () => performance.now() }: GuardOptions,
): Guard {
  const guarded = new Map<Socket, Guarded>();
  const connectionLimit = createConnectionLimit(perAddressMax);

  const cut = (socket: Socket, why: CutReason): void => {
    if (socket.destroyed) return;
    onCut(why, guarded.get(socket)?.address ?? socket.remoteAddress ?? "");
    socket.destroy();
  };

  server.prependListener("connection", (socket: Socket) => {
    const address = socket.remoteAddress ?? "";
    const counts = !isProxy(address);
    try {
      if (counts) connectionLimit.acquire(address);
    } catch {
      return cut(socket, "address");
    }
    guarded.set(socket, { address, flow: new Flow(nowMs()), unanswered: 0, takenBytes: 0, takenMs: nowMs() });
    socket.once("close", () => {
      guarded.delete(socket);
      if (counts) connectionLimit.release(address);
    });
  });

  server.prependListener("upgrade", ({ socket }: IncomingMessage, _socket: unknown, head: Buffer) => {
    const state = guarded.get(socket);
    if (!state) return;
    // After an upgrade nothing reads from the socket until that answer is sent, so its client's end would go unnoticed.
    if (state.unanswered > 0) return cut(socket, "unanswered");
    // A proxy may have used the connection for somebody else before.
    state.flow = new Flow(nowMs());
    guardFlow(socket, { head, take: (chunk) => state.flow.takeChunk(chunk, nowMs()), cut: () => cut(socket, "flood") });
  });

  const admit = (request: IncomingMessage, response: ServerResponse): boolean => {
    const { socket } = request;
    const state = guarded.get(socket);
    if (!state) return !socket.destroyed;
    state.unanswered += 1;
    if (state.unanswered > unansweredMax) {
      cut(socket, "unanswered");
      return false;
    }
    response.once("close", () => {
      state.unanswered -= 1;
    });
    // Nobody wants the rest of a body whose request is answered, and reading it would cost as much as its sender likes.
    response.once("finish", () => {
      if (!request.complete) socket.destroySoon();
    });
    guardPieces(request, () => cut(socket, "flood"));
    return true;
  };

  /** Why too much waits for this reader; undefined when it does not. */
  const complaint = (socket: Socket, state: Guarded): CutReason | undefined => {
    const queuedBytes = socket.writableLength;
    if (queuedBytes > queuedBytesMax[state.flow.role]) return "queued";
    const takenBytes = queuedBytes === 0 ? 0 : socket.bytesWritten - queuedBytes;
    if (queuedBytes === 0 || takenBytes !== state.takenBytes) {
      state.takenBytes = takenBytes;
      state.takenMs = nowMs();
    }
    return nowMs() - state.takenMs > unreadMsMax[state.flow.role] ? "unread" : undefined;
  };

  return {
    trust: (socket, role) => guarded.get(socket)?.flow.raise(role),
    guardRequests() {
      const listeners = server.listeners("request");
      server.removeAllListeners("request");
      server.on("request", (request: IncomingMessage, response: ServerResponse) => {
        if (!admit(request, response)) return;
        for (const listener of listeners) listener.call(server, request, response);
      });
      // What Node answers by itself passes nobody here, so its connection ends.
      server.on("checkExpectation", (_request: IncomingMessage, response: ServerResponse) => {
        response.writeHead(417, { connection: "close" });
        response.end();
      });
    },
    cutUnread() {
      for (const [socket, state] of guarded) {
        const why = complaint(socket, state);
        if (why) cut(socket, why);
      }
    },
  };
}

/** Cuts off who sends a body in pieces of a few bytes: each costs as much as a large one. */
function guardPieces(request: IncomingMessage, cut: () => void): void {
  let pieces = 0;
  request.push = (chunk: unknown, encoding?: BufferEncoding): boolean => {
    pieces += 1;
    if (pieces <= piecesMax || chunk === null) return IncomingMessage.prototype.push.call(request, chunk, encoding);
    cut();
    return false;
  };
}

/**
 * Counts what comes over an upgraded connection before anybody reads it: a listener beside that of the WebSocket could not
 * keep a chunk of ten thousand frames from it.
 */
function guardFlow(
  socket: Socket,
  { head, take, cut }: { head: Buffer; take: (chunk: Buffer) => boolean; cut: () => void },
): void {
  if (!take(head)) cut();
  socket.push = (chunk: unknown, encoding?: BufferEncoding): boolean => {
    if (!(chunk instanceof Buffer) || take(chunk)) return Socket.prototype.push.call(socket, chunk, encoding);
    cut();
    return false;
  };
}
