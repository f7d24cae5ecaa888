/** Computes how much of the time to pay has passed, by the server's clock. */
import type { StatusEvent } from "../protocol.ts";

export interface Countdown {
  /** Since the attempt started. */
  elapsedMs: number;
  /** The whole time to pay. */
  totalMs: number;
  /** Since this state began. */
  sinceMs: number;
}

/** Undefined while the server's time is unknown, and if the event has no readable times. */
export function countdownOf(
  { payment, occurredAt }: StatusEvent,
  skewMs = Number.NaN,
  nowMs = Date.now(),
): Countdown | undefined {
  const serverMs = nowMs - skewMs;
  const startedAtMs = Date.parse(payment.startedAt);
  const elapsedMs = Math.max(0, serverMs - startedAtMs);
  const totalMs = Date.parse(payment.expiresAt) - startedAtMs;
  const sinceMs = Math.max(0, serverMs - Date.parse(occurredAt));
  return Number.isNaN(elapsedMs + totalMs + sinceMs) ? undefined : { elapsedMs, totalMs, sinceMs };
}

/** Formats minutes and seconds in the locale's digits: `1:05`. */
export function formatDuration(ms: number, locale: string): string {
  const seconds = Math.max(0, Math.floor(ms / 1_000));
  const whole = new Intl.NumberFormat(locale, { useGrouping: false });
  const twoDigits = new Intl.NumberFormat(locale, { minimumIntegerDigits: 2 });
  return `${whole.format(Math.floor(seconds / 60))}:${twoDigits.format(seconds % 60)}`;
}
