/**
 * Ends the connections that would keep a closing server from closing although nobody waits for anything on them: kept
 * alive after their last answer, or opened ahead of need (browsers do) and still silent, which Node counts as busy.
 * A request whose first byte is here is left to finish.
 */
import type { Server } from "node:http";
import type { Socket } from "node:net";

/** Returns the way to end the idle connections of the moment. */
export function trackIdle(server: Server): () => void {
  const silent = new Set<Socket>();
  server.on("connection", (socket: Socket) => {
    silent.add(socket);
    socket.once("close", () => silent.delete(socket));
  });
  const speaks = ({ socket }: { socket: Socket }): void => void silent.delete(socket);
  server.on("request", speaks);
  server.on("upgrade", speaks);

  return () => {
    server.closeIdleConnections();
    for (const socket of silent) if (socket.bytesRead === 0) socket.destroy();
  };
}
