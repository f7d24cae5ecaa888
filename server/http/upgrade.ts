/** Upgrades to WebSockets, shared between Socket.IO and @fastify/websocket on one server. */
import { createServer, type IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import websocket from "@fastify/websocket";
import type { FastifyInstance, FastifyReply } from "fastify";
import { HubError } from "../errors.ts";

/** 4 KiB because a watcher sends nothing: its frames are ignored. */
const framePayloadMax = 4_096;

/** Whether the request asks for a WebSocket. Other offers to upgrade are declined. */
export const isWebSocket = ({ method, headers }: IncomingMessage): boolean =>
  method === "GET" && headers.upgrade?.toLowerCase() === "websocket";

/**
 * Passes each upgrade to its owner. Both Socket.IO and @fastify/websocket would take every upgrade: the plugin therefore
 * listens on a second server, which never listens on a port and gets only the plugin's upgrades.
 */
export async function shareUpgrades(app: FastifyInstance): Promise<void> {
  const upgrades = createServer();
  // The plugin's own `preClose` would close sockets without a code, before the transport does.
  await app.register(websocket, {
    options: { server: upgrades, maxPayload: framePayloadMax, clientTracking: false },
    preClose: (done) => done(),
  });
  app.server.on("upgrade", (request: IncomingMessage, socket: Socket, head: Buffer) => {
    if (socket.destroyed) return;
    if (request.url?.startsWith("/socket.io/")) {
      // Between Node's listener and Socket.IO's, an error without a listener would end the process.
      socket.on("error", destroy);
      return;
    }
    if (!upgrades.emit("upgrade", request, socket, head)) socket.destroy();
  });
}

/** Answers 404 to an upgrade of a route without a WebSocket. The plugin would log its URL with the token. */
export function refuseOtherUpgrades(app: FastifyInstance): void {
  app.addHook("onRequest", (request, _reply, done) => {
    const isMistaken = isWebSocket(request.raw) && !request.routeOptions.config.isSocket && !request.is404;
    done(isMistaken ? new HubError("route_unknown", "There is no WebSocket at this address") : undefined);
  });
}

/** Ends the connection after this answer to an upgrade, because nothing reads from the connection afterwards. */
export function endAfter({ raw }: FastifyReply): void {
  raw.setHeader("connection", "close");
  raw.once("finish", () => raw.req.socket.destroySoon());
}

function destroy(this: Socket): void {
  this.destroy();
}
