/**
 * Ends the connections that would keep a closing server open although no client waits for an answer:
 * - connections kept alive after their last answer,
 * - connections that browsers open ahead of need, which are silent and which Node counts as busy,
 * - upgraded connections whose client never answers a close.
 *
 * A request whose first byte has arrived is left to finish.
 */
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { Socket } from "node:net";

export interface Connections {
  /** Ends idle connections, and those that were silent at the previous call too: a new one's request may be on its way. */
  endIdle(): void;
  /** Destroys upgraded connections, without a close handshake. */
  endUpgraded(): void;
  /**
   * Destroys connections that were upgraded `afterMs` ago and that nothing reads. No WebSocket took them over, because the
   * path has none or an earlier answer is not out yet, so the end of their client would go unnoticed.
   */
  endUnclaimed(afterMs: number): void;
}

export function trackConnections(server: Server): Connections {
  /** Connections without a request, and whether `endIdle` has seen them. */
  const silent = new Map<Socket, { isSeen: boolean }>();
  const upgraded = new Set<Socket>();
  /** Upgraded connections that nothing read at the last check, by the time of their upgrade. */
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

export interface Answers {
  /**
   * From now on each answer ends its connection, and says so unless its headers are out: the client's next request must not be
   * on its way on a connection that the server is about to end.
   */
  endConnections(): void;
}

/** Call it when all listeners for requests are registered, because Socket.IO hides its requests from earlier ones. */
export function trackAnswers(server: Server): Answers {
  const open = new Set<ServerResponse>();
  let isEnding = false;

  function forget(this: ServerResponse): void {
    open.delete(this);
  }

  server.prependListener("request", (_request: IncomingMessage, response: ServerResponse) => {
    if (isEnding) endAfter(response);
    else open.add(response.once("close", forget));
  });

  return {
    endConnections() {
      isEnding = true;
      for (const response of open) endAfter(response);
    },
  };
}

function endAfter(response: ServerResponse): void {
  if (response.headersSent) response.once("finish", () => response.req.socket.destroySoon());
  else response.setHeader("connection", "close");
}
