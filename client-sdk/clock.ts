/** The server's clock, as far as its messages tell. */
import type { StatusEvent } from "./protocol.ts";

/**
 * How far the device's clock is ahead of the server's, in milliseconds. `sentAt` is the server's time when it sent the
 * event, so the result is too large by the time of the delivery, which is long if the page slept. Each check of a watch requests the
 * time again. Without `sentAt`, the result is the upper limit that this event and the earlier ones prove, because no event
 * arrives before it occurred.
 */
export function skewOf(
  { sentAt, occurredAt }: StatusEvent,
  known = Number.POSITIVE_INFINITY,
  nowMs = Date.now(),
): number {
  const skewMs = nowMs - Date.parse(sentAt ?? "");
  return Number.isNaN(skewMs) ? Math.min(known, nowMs - Date.parse(occurredAt)) : skewMs;
}
