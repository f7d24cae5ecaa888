/** The notifications of Tukio. */
import type { Notification } from "../delivery/notification.ts";
import type { Reply } from "../delivery/receiver.ts";
import { HubError } from "../errors.ts";

/** The names, as in the URLs of the API. */
export const notificationNames = ["receipt", "sms", "alert"] as const;

export type NotificationName = (typeof notificationNames)[number];

/** A notification of this node. */
export interface OwnNotification extends Notification {
  /** Why nothing can be sent about this order; undefined for an order that is not paid, too. Throws `store_unavailable`. */
  refusalOf(orderUuid: string): Promise<HubError | undefined>;
  /** Sends a test message, at once and once. Throws `body_invalid` or `phone_invalid`, naming `to`. An abort as of a `Receiver`. */
  test(to: string | undefined, signal: AbortSignal): Promise<TestResult>;
}

export interface TestResult {
  reply: Reply;
  /** Whether the mail server or the gateway of live payments was used. Else the message stays in the sandbox. */
  isLive: boolean;
}

/** The order is about real money, and nothing about that is sent. */
export const notConfigured = (name: NotificationName): HubError =>
  new HubError("notification_unknown", `The notification ${name} is not configured for live payments`);
