/** The providers that are enabled on this node, and what their configuration means for their payments. */
import { type Allowance, type Schedule, scheduleOf } from "../order/schedule.ts";
import { sandboxDeadlineS } from "../sandbox/deadline.ts";
import type { Sandbox, Sandboxed } from "../sandbox/server.ts";
import type { ProviderContext } from "./define.ts";
import type { Provider } from "./provider.ts";
import type { ProviderName } from "./registry.ts";

/** A provider that payments can be started with on this node. */
export type EnabledProvider = LiveProvider | SandboxedProvider;

interface LiveProvider extends CommonFacts {
  readonly sandbox?: never;
  /** Seconds from the request for money to `expired`. */
  readonly deadlineS: number;
}

interface SandboxedProvider extends CommonFacts {
  /** The built-in sandbox that answers in the provider's place. */
  readonly sandbox: Sandbox;
  /** The same. If absent, the payment's phone number decides. */
  readonly deadlineS?: number;
}

interface CommonFacts {
  readonly name: ProviderName;
  /** Base URL of the live provider. A sandbox is reached at this node's own address instead. */
  readonly baseUrl: string;
  /** The base URL is that of the provider's own test environment. */
  readonly isTestHost?: true;
  /** The account is for the provider's test environment, and the base URL is the live one, or the other way round. */
  readonly hasOtherMode?: true;
  /** The most queries a minute, of all nodes together; absent means no limit. */
  readonly queriesPerMinute?: number;
  /** Creates the adapter. A sandbox's account is derived from the node's secrets, which the configuration may not hold yet. */
  readonly create: (context: ProviderContext, secrets: readonly string[]) => Provider;
}

/** A provider's terms for the payments that are started with it. */
export interface Terms {
  /** False for the built-in sandbox and for the provider's own test environment, which move no money. */
  live: boolean;
  /** Whether it is the built-in sandbox. */
  isSandbox: boolean;
  /** Seconds from the request for money to `expired`. */
  deadlineS: number;
  /** Seconds from the request for money to the first check. */
  firstCheckS: number;
}

/** `test` is the provider's own test environment, `sandbox` the built-in one. Only `live` moves money. */
export type Mode = "live" | "test" | "sandbox";

export function modeOf({ sandbox, isTestHost }: EnabledProvider): Mode {
  if (sandbox) return "sandbox";
  return isTestHost ? "test" : "live";
}

const isSandbox = (enabled: EnabledProvider): boolean => modeOf(enabled) === "sandbox";

/** The names of the enabled providers, by mode. */
export function namesByMode(enabled: readonly EnabledProvider[]): Record<Mode, string[]> {
  const names = (mode: Mode) => enabled.filter((one) => modeOf(one) === mode).map(({ name }) => name);
  return { live: names("live"), test: names("test"), sandbox: names("sandbox") };
}

/** A lookup of enabled providers by name. It throws `Error` for a provider that is not enabled. */
function byName(enabled: readonly EnabledProvider[]): (name: string) => EnabledProvider {
  const found = new Map<string, EnabledProvider>(enabled.map((one) => [one.name, one]));
  return (name) => {
    const one = found.get(name);
    if (!one) throw new Error(`${name} is not enabled`);
    return one;
  };
}

const scheduleFor = (provider: Provider, enabled: EnabledProvider): Schedule =>
  scheduleOf(provider, isSandbox(enabled));

const deadlineOf = (enabled: EnabledProvider, phone: string | undefined): number =>
  enabled.sandbox ? (enabled.deadlineS ?? sandboxDeadlineS(enabled.sandbox, phone)) : enabled.deadlineS;

/** A lookup of terms by provider name and the payment's phone. It throws `Error` for a provider that is not enabled. */
export function createTerms(
  enabled: readonly EnabledProvider[],
  providers: ReadonlyMap<string, Provider>,
): (name: string, phone?: string) => Terms {
  const enabledOf = byName(enabled);
  return (name, phone) => {
    const one = enabledOf(name);
    const provider = providers.get(name);
    const [firstCheckS = 10] = provider ? scheduleFor(provider, one).checksAtS : [];
    return { live: modeOf(one) === "live", isSandbox: isSandbox(one), deadlineS: deadlineOf(one, phone), firstCheckS };
  };
}

/** A lookup of a provider's schedule of checks and limit of queries. */
export function createAllowance(
  enabled: readonly EnabledProvider[],
): (provider: Provider) => Omit<Allowance, "provider" | "free"> {
  const enabledOf = byName(enabled);
  return (provider) => {
    const one = enabledOf(provider.name);
    return {
      ...scheduleFor(provider, one),
      perMinute: one.queriesPerMinute,
      needsReference: provider.needsReference ?? false,
    };
  };
}

/** The limits of queries a minute by provider; undefined where there is none. */
export const queryLimits = (enabled: readonly EnabledProvider[]): ReadonlyMap<string, number | undefined> =>
  new Map(enabled.map(({ name, queriesPerMinute }) => [name, queriesPerMinute]));

/** The enabled providers that are the built-in sandbox. */
export const sandboxesOf = (enabled: readonly EnabledProvider[]): Sandboxed[] =>
  enabled.flatMap((one) =>
    one.sandbox ? [{ name: one.name, sandbox: one.sandbox, deadlineS: (phone: string) => deadlineOf(one, phone) }] : [],
  );

/** The facts about providers' evidence that the order store decides by, as names of providers. */
export function evidenceFacts(providers: ReadonlyMap<string, Provider>): {
  /** A success that states no amount is accepted as paid. */
  amountlessProviders: string[];
  /** A success that states no receipt is completed by a query. */
  receiptProviders: string[];
} {
  const all = [...providers.values()];
  const names = (some: readonly Provider[]): string[] => some.map(({ name }) => name);
  return {
    amountlessProviders: names(all.filter(({ statesAmount }) => !statesAmount)),
    receiptProviders: names(all.filter(({ statesReceipt }) => statesReceipt)),
  };
}
