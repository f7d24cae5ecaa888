/** Call statistics of payment providers: reports each finished call, and makes figures of counted calls (call-record.ts). */
import type { TokenRules } from "./access-token.ts";
import { Declined, type Provider } from "./provider.ts";

/** `complete` takes the money of a payment that the payer approved on the provider's page. */
export const verbs = ["initiate", "complete", "confirm", "token"] as const;

export type Verb = (typeof verbs)[number];

/**
 * `answered`: the call has a usable answer. `declined`: the provider refused the request for this payer. `nothing`: the answer
 * has no evidence. `failed`: no answer, or an unusable one.
 */
export type CallOutcome = "answered" | "declined" | "nothing" | "failed";

/** One finished call. `tookMs` includes the token call and the one retry that it may need. */
export interface FinishedCall {
  provider: string;
  verb: Verb;
  outcome: CallOutcome;
  tookMs: number;
}

export type OnCall = (call: FinishedCall) => void;

/** Wraps the providers so that each of their calls is reported. Returns them by name. */
export function measureProviders(providers: readonly Provider[], onCall: OnCall): ReadonlyMap<string, Provider> {
  return new Map(providers.map((provider) => [provider.name, measureProvider(provider, onCall)]));
}

function measureProvider(provider: Provider, onCall: OnCall): Provider {
  const { name, checkout, needsReference } = provider;
  return {
    ...provider,
    ...(checkout && {
      checkout: {
        ...checkout,
        complete: (payment, signal) =>
          measure(
            { provider: name, verb: "complete", onCall },
            () => checkout.complete(payment, signal),
            ({ isConclusive, isLost }) => {
              if (isLost) return "failed";
              if (isConclusive) return "answered";
              return payment.reference === undefined ? undefined : "nothing";
            },
          ),
      },
    }),
    initiate: (...given) => measure({ provider: name, verb: "initiate", onCall }, () => provider.initiate(...given)),
    confirm: (payment, signal) =>
      measure(
        { provider: name, verb: "confirm", onCall },
        () => provider.confirm(payment, signal),
        (answer) => {
          if (answer) return "answered";
          // No request was sent.
          return needsReference && payment.reference === undefined ? undefined : "nothing";
        },
      ),
  };
}

/** Wraps `fetch` so that each token call is reported. */
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
    // `provider_error` counts as `failed`, because it is also the reason of a request that was not sent.
    report(error instanceof Declined && error.reason !== "provider_error" ? "declined" : "failed");
    throw error;
  }
}

/** The recent calls with one verb. The times are null without a call. */
export interface CallFigures {
  count: number;
  /** Calls with the outcome `failed`. */
  errors: number;
  p50Ms: number | null;
  p99Ms: number | null;
}

/** Calls of the same duration. */
export interface CountedCalls {
  took_ms: number;
  calls: number;
  failed: number;
}

/** `counted` is in the order of the durations. */
export function figuresOf(counted: readonly CountedCalls[]): CallFigures {
  const count = counted.reduce((sum, { calls }) => sum + calls, 0);
  return {
    count,
    errors: counted.reduce((sum, { failed }) => sum + failed, 0),
    p50Ms: quantile(counted, Math.ceil(count * 0.5)),
    p99Ms: quantile(counted, Math.ceil(count * 0.99)),
  };
}

/** The quantile by nearest rank; null without a call. */
function quantile(counted: readonly CountedCalls[], rank: number): number | null {
  let seen = 0;
  for (const { took_ms, calls } of counted) {
    seen += calls;
    if (seen >= rank) return took_ms;
  }
  return null;
}
