/** How much of the time to pay is over. Phones' clocks are wrong now and then, so the server's times come first. */
import type { StatusEvent } from "../protocol.ts";

export interface Countdown {
  elapsedMs: number;
  /** Undefined when nobody knows. */
  totalMs: number | undefined;
}

/**
 * Follows one order's events and answers how long its attempt has been under way. The device's clock is believed as
 * long as it says something possible; otherwise the time runs from when we first heard of the attempt.
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
      // A provider that cannot be asked keeps an attempt open for up to twice its time.
      const isPossible = elapsedMs >= 0 && elapsedMs <= 2 * totalMs;
      offsetMs = isPossible ? 0 : Date.parse(occurredAt) - now() || 0;
    }
    return { elapsedMs: Math.max(0, now() + offsetMs - startedAt), totalMs };
  };
}

/** Minutes and seconds, in the locale's digits: `1:05`. */
export function formatDuration(ms: number, locale: string): string {
  const seconds = Math.max(0, Math.floor(ms / 1_000));
  const whole = new Intl.NumberFormat(locale, { useGrouping: false });
  const twoDigits = new Intl.NumberFormat(locale, { minimumIntegerDigits: 2 });
  return `${whole.format(Math.floor(seconds / 60))}:${twoDigits.format(seconds % 60)}`;
}
