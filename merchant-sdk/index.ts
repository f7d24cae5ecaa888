/** The client of Tukio's API for a merchant's backend. */
export type { CallOptions, CreateOptions } from "./call.ts";
export {
  type ClientOptions,
  createTukio,
  type EventPage,
  type StartOptions,
  type Tukio,
  type WaitOptions,
} from "./client.ts";
export { type ConnectionErrorCode, type ErrorCode, TukioError } from "./error.ts";
export type { Connection, FollowedEvent, FollowOptions } from "./follow.ts";
export type { List, Page } from "./list.ts";
export type * from "./model.ts";
export { type EventHeaders, isOrderEvent, VerificationError, verifyEvent } from "./verify.ts";
