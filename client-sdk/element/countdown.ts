/** Computes how much of the time to pay has passed. It tolerates a device clock that is wrong. */
import type { StatusEvent } from "../protocol.ts";

export interface Countdown {
  elapsedMs: number;
  /** Undefined if the event has no readable times. */
  totalMs: number | undefined;
}

/**
 * Returns a function that computes the elapsed time of an event's attempt. It uses the device's clock if the result is
 * possible. Otherwise it counts from the first event of the attempt, by the server's times.
 */
export function createCountdown(now: () => number = Date.now): (event: StatusEvent) => Countdown {
  let attemptId: string | undefined;
  let offsetMs = 0;

  return ({ payment, occurredAt }) => {
    const startedAt = Date.parse(payment.startedAt);
    const totalMs = Date.parse(payment.expiresAt) - startedAt;
    if (Number.isNaN(totalMs)) return { elapsedMs: 0, totalMs: undefined };
    if (attemptId !== payment.id) {
      attemptId = payment.id;
      const elapsedMs = now() - startedAt;
      // Twice the time, because an attempt stays open that long when its provider cannot be reached.
      const isPossible = elapsedMs >= 0 && elapsedMs <= 2 * totalMs;
      offsetMs = isPossible ? 0 : Date.parse(occurredAt) - now() || 0;
    }
    return { elapsedMs: Math.max(0, now() + offsetMs - startedAt), totalMs };
  };
}

/** Formats minutes and seconds in the locale's digits: `1:05`. */
export function formatDuration(ms: number, locale: string): string {
  const seconds = Math.max(0, Math.floor(ms / 1_000));
  const whole = new Intl.NumberFormat(locale, { useGrouping: false });
  const twoDigits = new Intl.NumberFormat(locale, { minimumIntegerDigits: 2 });
  return `${whole.format(Math.floor(seconds / 60))}:${twoDigits.format(seconds % 60)}`;
}
