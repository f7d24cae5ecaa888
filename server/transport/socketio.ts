/**
 * Socket.IO, with one room per order. A room is one watcher of the hub: the hub gets it when the first socket joins, and loses it
 * when the last one leaves. Socket.IO keeps its in-memory adapter, because each node delivers to its own sockets and the bus carries
 * events between nodes.
 */
import type { IncomingMessage } from "node:http";
import type { FastifyInstance } from "fastify";
import { Server } from "socket.io";
import type { StatusEvent } from "../../client-sdk/protocol.ts";
import type { Hub, Watcher } from "../status/hub.ts";
import { type ClientLimitOptions, limitConnections } from "./socketio-limit.ts";
import { type Io, idOf } from "./socketio-message.ts";
import { authorizeHandshake, type SessionOptions, serveSession } from "./socketio-session.ts";
import type { Drainable, TransportOptions } from "./transport.ts";

/** The time in which an unauthenticated client must send its token. */
const connectTimeoutMs = 5_000;

/** 16 KiB, because the largest message is a `watch` with a token. */
const messageBytesMax = 16_384;

/**
 * Attaches Socket.IO to the app's server. It does not touch upgrades of other paths. `watcherCount` counts each watched order once
 * per socket.
 */
export function attachSocketIo(
  app: FastifyInstance,
  options: TransportOptions & ClientLimitOptions,
): Drainable & { watcherCount(): number } {
  const { hub, access, isAllowedOrigin } = options;
  const io: Io = new Server(app.server, {
    serveClient: false,
    destroyUpgrade: false,
    connectTimeout: connectTimeoutMs,
    maxHttpBufferSize: messageBytesMax,
    cors: { origin: (origin, done) => done(null, isAllowedOrigin(origin)) },
    allowRequest: (request: IncomingMessage, done) => {
      const isAllowed = isAllowedOrigin(request.headers.origin);
      done(isAllowed ? null : "origin refused", isAllowed);
    },
  });
  const session: SessionOptions = { hub, access, trust: limitConnections(io.engine, options), log: app.log };
  watchRooms(io, hub);
  io.use((socket, next) => authorizeHandshake(session, socket, next));
  io.on("connection", (socket) => serveSession(session, socket));

  let isClosing = false;
  // A draining node still listens, and the clients that it disconnected may reconnect at once.
  io.engine.on("connection", (connection: { close(): void }) => {
    if (isClosing) connection.close();
  });

  return {
    watcherCount() {
      const watched = [...io.of("/").adapter.rooms].filter(([room]) => idOf(room) !== undefined);
      return watched.reduce((count, [, sockets]) => count + sockets.size, 0);
    },
    startDrain() {
      isClosing = true;
      return [...io.of("/").sockets.values()].map((socket) => () => socket.conn.close());
    },
    async close() {
      io.engine.close();
    },
  };
}

/** Adds a watcher to the hub for each order's room, and removes it with the room. */
function watchRooms(io: Io, hub: Hub): void {
  const { adapter } = io.of("/");
  const watchers = new Map<string, Watcher>();
  adapter.on("create-room", (room: string) => {
    const id = idOf(room);
    if (id === undefined) return;
    const receive = (event: StatusEvent): void => void io.to(room).emit("status", event);
    const watcher: Watcher = { id, transport: "socketio", epoch: 0, version: 0, isPaid: false, receive };
    watchers.set(room, watcher);
    hub.watch(watcher);
  });
  adapter.on("delete-room", (room: string) => {
    const watcher = watchers.get(room);
    if (watcher) hub.unwatch(watcher);
    watchers.delete(room);
  });
}
