/**
 * What becomes of the calls to payment providers: told to whoever counts, and the latest kept in memory, which is
 * bounded, for a look at how a provider does as seen from this process.
 */
import type { TokenRules } from "./access-token.ts";
import { Declined, type Provider } from "./provider.ts";

/** `complete`: taking the money of a payment that was approved on the provider's page. */
export const verbs = ["initiate", "complete", "confirm", "token"] as const;

export type Verb = (typeof verbs)[number];

/** What every provider has, and a merchant is told of. */
export type CountedVerb = Exclude<Verb, "complete">;

/**
 * `answered`: as hoped. `declined`: the provider will not ask this payer. `nothing`: an answer that teaches nothing.
 * `failed`: no answer, or none that can be used.
 */
export type CallOutcome = "answered" | "declined" | "nothing" | "failed";

/** One call that has ended, with the token that it may have had to fetch and the one repetition that it may have needed. */
export interface FinishedCall {
  provider: string;
  verb: Verb;
  outcome: CallOutcome;
  tookMs: number;
}

export type OnCall = (call: FinishedCall) => void;

/** These providers by name, with the calls of each reported. */
export function measureProviders(providers: readonly Provider[], onCall: OnCall): ReadonlyMap<string, Provider> {
  return new Map(providers.map((provider) => [provider.name, measureProvider(provider, onCall)]));
}

function measureProvider(provider: Provider, onCall: OnCall): Provider {
  const { name, checkout } = provider;
  return {
    ...provider,
    ...(checkout && {
      checkout: {
        ...checkout,
        complete: (payment, signal) =>
          measure(
            { provider: name, verb: "complete", onCall },
            () => checkout.complete(payment, signal),
            (answer) => (answer ? "answered" : "nothing"),
          ),
      },
    }),
    initiate: (...given) => measure({ provider: name, verb: "initiate", onCall }, () => provider.initiate(...given)),
    confirm: (payment, signal) =>
      measure(
        { provider: name, verb: "confirm", onCall },
        () => provider.confirm(payment, signal),
        // Without a reference there may be nothing to ask by, and then nobody was asked.
        (answer) => (answer ? "answered" : payment.reference === undefined ? undefined : "nothing"),
      ),
  };
}

/** The same way to fetch an access token, with each fetch reported. */
export const measureFetch =
  (provider: string, fetch: TokenRules["fetch"], onCall: OnCall): TokenRules["fetch"] =>
  (refreshToken) =>
    measure({ provider, verb: "token", onCall }, () => fetch(refreshToken));

async function measure<T>(
  { provider, verb, onCall }: { provider: string; verb: Verb; onCall: OnCall },
  call: () => Promise<T>,
  outcomeOf: (answer: T) => CallOutcome | undefined = () => "answered",
): Promise<T> {
  const startedMs = performance.now();
  const report = (outcome: CallOutcome | undefined): void => {
    if (outcome) onCall({ provider, verb, outcome, tookMs: performance.now() - startedMs });
  };
  try {
    const answer = await call();
    report(outcomeOf(answer));
    return answer;
  } catch (error) {
    // What could not be asked at all is declined too, with this reason.
    report(error instanceof Declined && error.reason !== "provider_error" ? "declined" : "failed");
    throw error;
  }
}

/** How one kind of call did lately. The times are null when there was none. */
export interface CallFigures {
  count: number;
  /** Those that failed. */
  errors: number;
  p50Ms: number | null;
  p99Ms: number | null;
}

export interface RecentCalls {
  add(call: FinishedCall): void;
  /** The calls of this process in the last 15 minutes, at most the last 1,000 of each kind. */
  of(provider: string): Record<CountedVerb, CallFigures>;
}

const recentMs = 900_000;
const keptMax = 1_000;

interface KeptCall {
  endedMs: number;
  tookMs: number;
  isError: boolean;
}

/** `nowMs` is any clock that only moves forward. */
export function createRecentCalls(nowMs: () => number = () => performance.now()): RecentCalls {
  const kept = new Map<string, KeptCall[]>();

  const figures = (provider: string, verb: Verb): CallFigures => {
    const sinceMs = nowMs() - recentMs;
    const recent = (kept.get(`${provider} ${verb}`) ?? []).filter(({ endedMs }) => endedMs >= sinceMs);
    const tookMs = recent.map((call) => call.tookMs).sort((one, other) => one - other);
    return {
      count: recent.length,
      errors: recent.filter(({ isError }) => isError).length,
      p50Ms: quantile(tookMs, 0.5),
      p99Ms: quantile(tookMs, 0.99),
    };
  };

  return {
    add({ provider, verb, outcome, tookMs }) {
      const key = `${provider} ${verb}`;
      const calls = kept.get(key) ?? [];
      kept.set(key, calls);
      calls.push({ endedMs: nowMs(), tookMs, isError: outcome === "failed" });
      if (calls.length > keptMax) calls.shift();
    },
    of: (provider) => ({
      initiate: figures(provider, "initiate"),
      confirm: figures(provider, "confirm"),
      token: figures(provider, "token"),
    }),
  };
}

/** The nearest rank, in whole milliseconds. */
function quantile(sorted: readonly number[], share: number): number | null {
  const value = sorted[Math.ceil(sorted.length * share) - 1];
  return value === undefined ? null : Math.round(value);
}
