/**
 * What keeps a closing server from closing although nobody waits for it: connections kept alive after their last
 * answer, connections opened ahead of need (browsers do) that are still silent and that Node counts as busy, and
 * upgraded ones whose client never answers a close. A request whose first byte is here is left to finish.
 */
import type { IncomingMessage, Server } from "node:http";
import type { Socket } from "node:net";

export interface Connections {
  /** Ends the idle and silent connections of the moment. */
  endIdle(): void;
  /** Cuts off WebSockets, politely closed or not. */
  endUpgraded(): void;
}

export function trackConnections(server: Server): Connections {
  const silent = new Set<Socket>();
  const upgraded = new Set<Socket>();

  function forget(this: Socket): void {
    silent.delete(this);
    upgraded.delete(this);
  }

  server.on("connection", (socket: Socket) => {
    silent.add(socket);
    socket.on("close", forget);
  });
  server.on("request", ({ socket }: IncomingMessage) => silent.delete(socket));
  server.on("upgrade", ({ socket }: IncomingMessage) => {
    silent.delete(socket);
    upgraded.add(socket);
  });

  return {
    endIdle() {
      server.closeIdleConnections();
      for (const socket of silent) if (socket.bytesRead === 0) socket.destroy();
    },
    endUpgraded() {
      for (const socket of upgraded) socket.destroy();
    },
  };
}
