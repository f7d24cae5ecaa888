/** One link over the Socket.IO client. Loaded, together with that client, when the transport first runs. */
import { io } from "socket.io-client";
import { Refusal, type RefusalCode, refusalOf, type Transport } from "./transport.ts";

const connectMsMax = 5_000;

/** Implements `Transport.run`. */
export const run: Transport["run"] = async ({ url, orderId, token, after }, { onOpen, onEvent }, signal) => {
  if (signal.aborted) return;
  // The path is passed separately, because Socket.IO would read it as a namespace.
  const [, origin = url, path = ""] = /^(\w+:\/\/[^/]+)(.*)$/.exec(url) ?? [];
  const socket = io(origin, {
    path: `${path}/socket.io`,
    auth: { token, orderId, after, clock: true },
    transports: ["websocket"],
    forceNew: true,
    reconnection: false,
    timeout: connectMsMax,
  });
  try {
    await new Promise<void>((resolve, reject) => {
      const refuse = (code: RefusalCode): void => reject(new Refusal(code));
      socket.on("connect", onOpen);
      socket.on("status", onEvent);
      socket.on("expired", () => refuse("token_expired"));
      socket.on("connect_error", (error: Error & { data?: { code?: unknown } }) =>
        reject(refusalOf(error.data?.code) ?? error),
      );
      // The server disconnects a socket only when the order does not exist.
      socket.on("disconnect", (reason) => (reason === "io server disconnect" ? refuse("order_unknown") : resolve()));
      signal.addEventListener("abort", () => resolve(), { once: true });
    });
  } finally {
    socket.disconnect();
  }
};
