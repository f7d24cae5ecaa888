/**
 * What keeps a closing server from closing although nobody waits for it: connections kept alive after their last
 * answer, connections opened ahead of need (browsers do) that are still silent and that Node counts as busy, and
 * upgraded ones whose client never answers a close. A request whose first byte is here is left to finish.
 */
import type { IncomingMessage, Server } from "node:http";
import type { Socket } from "node:net";

export interface Connections {
  /** Ends idle connections, and those that were silent the last time too: a new one's request may be on its way. */
  endIdle(): void;
  /** Cuts off WebSockets, politely closed or not. */
  endUpgraded(): void;
  /**
   * Cuts off what was upgraded so long ago and is read by nobody: no WebSocket took it over, because its path is no path
   * or an answer before it is not out yet, and nobody would ever see its client leave.
   */
  endUnclaimed(afterMs: number): void;
}

export function trackConnections(server: Server): Connections {
  /** Connections without a request, and whether `endIdle` has seen them. */
  const silent = new Map<Socket, { isSeen: boolean }>();
  const upgraded = new Set<Socket>();
  /** Upgraded ones that nobody read from when last looked at, and when they were upgraded. */
  const unread = new Map<Socket, number>();

  function forget(this: Socket): void {
    silent.delete(this);
    upgraded.delete(this);
    unread.delete(this);
  }

  server.on("connection", (socket: Socket) => {
    silent.set(socket, { isSeen: false });
    socket.on("close", forget);
  });
  server.on("request", ({ socket }: IncomingMessage) => silent.delete(socket));
  server.on("upgrade", ({ socket }: IncomingMessage) => {
    silent.delete(socket);
    upgraded.add(socket);
    unread.set(socket, performance.now());
  });

  return {
    endIdle() {
      server.closeIdleConnections();
      for (const [socket, state] of silent) {
        if (state.isSeen && socket.bytesRead === 0) socket.destroy();
        state.isSeen = true;
      }
    },
    endUpgraded() {
      for (const socket of upgraded) socket.destroy();
    },
    endUnclaimed(afterMs) {
      for (const [socket, sinceMs] of unread) {
        if (socket.listenerCount("data") > 0) unread.delete(socket);
        else if (performance.now() - sinceMs > afterMs) socket.destroy();
      }
    },
  };
}
