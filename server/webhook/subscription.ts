/**
 * Confirms subscriptions to a provider's webhooks: visits the address that a message of the provider names. Visits each address
 * at most once an hour, and once a minute after a failure, however often the message is replayed. The state is per node, and a
 * restart forgets it.
 */
import { HubError } from "../errors.ts";

const confirmedMs = 3_600_000;
const failedMs = 60_000;

/** Forgets the address that was visited first when there are more than this. */
const addressesMax = 1_000;

interface Visit {
  ended: Promise<void>;
  validUntilMs: number;
}

/**
 * Visits the address by `visit`, unless that was done within the hour. Throws what `visit` throws, and `provider_unavailable`
 * for an address whose visit failed less than a minute ago.
 */
export type ConfirmOnce = (url: URL, visit: (url: URL) => Promise<void>) => Promise<void>;

export interface ConfirmOnceOptions {
  log?: Record<"warn", (details: object, message: string) => void>;
  /** A monotonic clock. */
  nowMs?: () => number;
}

export function createConfirmOnce({ log, nowMs = () => performance.now() }: ConfirmOnceOptions = {}): ConfirmOnce {
  const visits = new Map<string, Visit>();

  const start: ConfirmOnce = (url, visit) => {
    const entry: Visit = { ended: visit(url), validUntilMs: nowMs() + confirmedMs };
    visits.set(url.href, entry);
    const [oldest] = visits.keys();
    if (oldest !== undefined && visits.size > addressesMax) visits.delete(oldest);
    entry.ended.catch((err: unknown) => {
      log?.warn({ event: "webhook.subscription.unconfirmed", err }, "Could not confirm a subscription to webhooks");
      entry.validUntilMs = nowMs() + failedMs;
    });
    return entry.ended;
  };

  return async (url, visit) => {
    const known = visits.get(url.href);
    if (!known || nowMs() >= known.validUntilMs) return start(url, visit);
    await known.ended.catch((cause: unknown) => {
      const retryAfterS = Math.max(1, Math.ceil((known.validUntilMs - nowMs()) / 1_000));
      throw new HubError("provider_unavailable", "The last visit of this address failed", { retryAfterS, cause });
    });
  };
}
