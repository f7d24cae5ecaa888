/** The transports that `<order-status>` loads only if a page names them. One file, so that they are one chunk. */
export { eventSource } from "./transport/eventsource.ts";
export { webSocket } from "./transport/websocket.ts";
