/**
 * Socket.IO over WebSocket only: its own HTTP polling needs sticky sessions, and there is the long poll for where
 * WebSockets do not pass. Its reconnecting is switched off, because coming back is the watch's business. The client is
 * loaded when this transport first runs, so pages that never need it never fetch it.
 */
import { Refusal, type RefusalCode, refusalOf, type Transport } from "./transport.ts";

const connectMsMax = 5_000;

/** One socket for this order. Loads `socket.io-client`. */
export function socketIo(): Transport {
  return {
    name: "socketio",

    async run({ url, orderId, token, after }, { onOpen, onEvent }, signal) {
      const { io } = await import("socket.io-client");
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
      const disconnect = (): void => void socket.disconnect();
      signal.addEventListener("abort", disconnect);
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
          socket.on("disconnect", (reason) =>
            reason === "io server disconnect" ? refuse("order_unknown") : resolve(),
          );
          signal.addEventListener("abort", () => resolve(), { once: true });
        });
      } finally {
        signal.removeEventListener("abort", disconnect);
        disconnect();
      }
    },
  };
}
