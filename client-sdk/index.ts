export { closeCode } from "./close-code.ts";
export type { Connection } from "./connection.ts";
export { WatchError, type WatchErrorCode } from "./error.ts";
export { formatMoney } from "./money.ts";
export { eventSource, webSocket } from "./other-transport.ts";
export type { StateStorage } from "./platform.ts";
export * from "./protocol.ts";
export type { Snapshot, SnapshotListener } from "./snapshot.ts";
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
export { type OrderWatch, type WatchOptions, watchOrder } from "./watch.ts";
