export type { Connection } from "./connection.ts";
export { WatchError, type WatchErrorCode } from "./error.ts";
export { formatMoney } from "./money.ts";
export type { StateStorage } from "./platform.ts";
export * from "./protocol.ts";
export type { Snapshot, SnapshotListener } from "./snapshot.ts";
export { eventSource } from "./transport/eventsource.ts";
export { longPoll } from "./transport/longpoll.ts";
export { socketIo } from "./transport/socketio.ts";
export {
  ComeBack,
  type LinkListener,
  Refusal,
  type RefusalCode,
  type Target,
  type Transport,
} from "./transport/transport.ts";
export { webSocket } from "./transport/websocket.ts";
export { type OrderWatch, type WatchOptions, watchOrder } from "./watch.ts";
