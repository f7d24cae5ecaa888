/**
 * Socket.IO over WebSocket only: its own HTTP polling needs sticky sessions, and there is the long poll for where
 * WebSockets do not pass. Its reconnecting is switched off, because coming back is the watch's business. The client is
 * loaded when this transport first runs, so pages that never need it never fetch it; where it cannot be fetched, the
 * next transport is tried.
 */
import type { Transport } from "./transport.ts";

/** One socket for this order. Loads `socket.io-client`. */
export const socketIo = (): Transport => ({
  name: "socketio",
  run: async (...link) => (await import("./socketio-link.ts")).run(...link),
});
