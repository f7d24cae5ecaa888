/** A server that sends its answer byte by byte and never completes it, so that no socket timeout notices. */
import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { onTestFinished } from "vitest";

export interface DrippingServer {
  port: number;
  /** Connections that have received ten bytes of an answer without end. */
  dripping: number;
  /** Connections that the client has closed, in both directions. */
  closed: number;
}

/** A text, or what comes before the drip. */
export type DrippingAnswer = string | { before: string };

/** `answer`: what a client gets for its text, which is empty when it connects. */
export async function startDrippingServer(answer: (text: string) => DrippingAnswer): Promise<DrippingServer> {
  const sockets = new Set<Socket>();
  const state: DrippingServer = { port: 0, dripping: 0, closed: 0 };
  // Stays open when the client only ends its own direction.
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket
      .on("error", () => undefined)
      .on("close", () => {
        state.closed += 1;
      });
    let isDripping = false;
    const reply = (text: string): void => {
      const given = isDripping ? "" : answer(text);
      const own = typeof given === "string" ? given : given.before;
      if (own !== "") socket.write(own);
      if (typeof given === "string") return;
      isDripping = true;
      drip(state, socket);
    };
    socket.on("data", (bytes) => reply(bytes.toString()));
    reply("");
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  state.port = (server.address() as AddressInfo).port;
  return state;
}

function drip(state: DrippingServer, socket: Socket): void {
  let count = 0;
  const timer = setInterval(() => {
    socket.write("2");
    count += 1;
    if (count === 10) state.dripping += 1;
  }, 5);
  socket.on("close", () => clearInterval(timer));
}
