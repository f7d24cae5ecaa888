/**
 * The Socket.IO transport, over WebSocket only: Socket.IO's HTTP polling needs sticky sessions, and the long poll works
 * where WebSockets do not pass. Socket.IO's own reconnection is off, because the watch reconnects. The Socket.IO client
 * is loaded when this transport first runs. If it cannot be loaded, the watch tries the next transport.
 */
import type { Transport } from "./transport.ts";

/** Opens one socket for the order. Loads `socket.io-client`. */
export const socketIo = (): Transport => ({
  name: "socketio",
  run: async (...link) => (await import("./socketio-link.ts")).run(...link),
});
