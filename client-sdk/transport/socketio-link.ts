/** One link over Socket.IO's own client. Loaded, with that client, when the transport first runs. */
import { io } from "socket.io-client";
import { Refusal, type RefusalCode, refusalOf, type Transport } from "./transport.ts";

const connectMsMax = 5_000;

/** As `Transport` promises. */
export const run: Transport["run"] = async ({ url, orderId, token, after }, { onOpen, onEvent }, signal) => {
  if (signal.aborted) return;
  // A path in an address would be taken for a namespace.
  const [, origin = url, path = ""] = /^(\w+:\/\/[^/]+)(.*)$/.exec(url) ?? [];
  const socket = io(origin, {
    path: `${path}/socket.io`,
    auth: { token, orderId, after },
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
      // The server says so only when there is nothing to watch (any more).
      socket.on("disconnect", (reason) => (reason === "io server disconnect" ? refuse("order_unknown") : resolve()));
      signal.addEventListener("abort", () => resolve(), { once: true });
    });
  } finally {
    socket.disconnect();
  }
};
