/** What the routes need of the deliveries. */
import type pg from "pg";
import type { Endpoints } from "./endpoint.ts";
import type { FeedTail } from "./feed-tail.ts";
import type { Reply } from "./receiver.ts";

export interface Delivery {
  pool: pg.Pool;
  endpoints: Endpoints;
  tail: FeedTail;
  /** Whether messages may be sent to this machine. */
  allowsLoopback: boolean;
  /** An event was committed on this node, or an endpoint changed: look at once. */
  wake(): void;
  /** Sends a test message now, and returns the result. Throws `endpoint_unknown`, and `secret_unreadable`. */
  ping(endpointId: string): Promise<Reply>;
}
