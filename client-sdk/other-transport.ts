/** The transports that `<order-status>` fetches only where a page asks for them by name: one file for both. */
export { eventSource } from "./transport/eventsource.ts";
export { webSocket } from "./transport/websocket.ts";
