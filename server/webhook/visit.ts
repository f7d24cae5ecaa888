/**
 * Visits addresses that a provider's messages ask us to visit: each once an hour, and once a minute after it failed, however
 * often the message is played back. Per node; a restart forgets.
 */
import { HubError } from "../errors.ts";

const visitedMs = 3_600_000;
const failedMs = 60_000;

/** Forgets the one that was asked for first when there are more than this. */
const addressesMax = 1_000;

interface Visit {
  outcome: Promise<void>;
  untilMs: number;
}

/** The result throws what `visit` throws; `provider_unavailable` when that was less than a minute ago. `nowMs`: any clock that only moves forward. */
export function createVisits(
  nowMs: () => number = () => performance.now(),
): (url: URL, visit: (url: URL) => Promise<void>) => Promise<void> {
  const visits = new Map<string, Visit>();

  const start = (url: URL, visit: (url: URL) => Promise<void>): Promise<void> => {
    const entry: Visit = { outcome: visit(url), untilMs: nowMs() + visitedMs };
    visits.set(url.href, entry);
    const [oldest] = visits.keys();
    if (oldest !== undefined && visits.size > addressesMax) visits.delete(oldest);
    entry.outcome.catch(() => {
      entry.untilMs = nowMs() + failedMs;
    });
    return entry.outcome;
  };

  return async (url, visit) => {
    const known = visits.get(url.href);
    if (!known || nowMs() >= known.untilMs) return start(url, visit);
    await known.outcome.catch((cause: unknown) => {
      const retryAfterS = Math.max(1, Math.ceil((known.untilMs - nowMs()) / 1_000));
      throw new HubError("provider_unavailable", "It was visited a moment ago, in vain", { retryAfterS, cause });
    });
  };
}
