/** Which payment companies this node offers, read from the environment: the built-in sandbox, or a company with its account. */
import { z } from "zod";
import type { Company, ProviderContext } from "../provider/define.ts";
import type { Provider } from "../provider/provider.ts";
import { companies, type ProviderName, providerNames } from "../provider/registry.ts";
import type { Sandbox } from "../sandbox/server.ts";
import { sandboxAccount } from "../sandbox/server.ts";

/** A provider that payments can be started with here. */
export interface Offer {
  readonly name: ProviderName;
  /** There: the built-in sandbox stands in for the company. */
  readonly sandbox?: Sandbox;
  /** Where the company is reached; the sandbox is in this very process. */
  readonly baseUrl: string;
  /** From asking to `expired`, in seconds. */
  readonly deadlineS: number;
  /** Queries a minute that the company is asked at most, by all nodes together; absent: as many as are due. */
  readonly queriesPerMinute?: number;
  /** Makes the adapter. The sandbox's account is derived from the hub's secrets, which may not be known yet. */
  readonly open: (context: ProviderContext, secrets: readonly string[]) => Provider;
}

type Environment = Readonly<Record<string, string | undefined>>;
type Variables = Readonly<Record<string, string>>;

const blankIsUnset = (value: unknown): unknown => (value === "" ? undefined : value);

/** A variable that may be missing; empty is missing. */
export const optional = <T extends z.ZodType>(type: T) => z.preprocess(blankIsUnset, type.optional());

export const whole = (min: number, max: number) => {
  const error = `must be a whole number from ${min} to ${max}`;
  return z
    .string(error)
    .regex(/^\d+$/, error)
    .transform(Number)
    .refine((value) => value >= min && value <= max, error);
};

/** Without a slash at the end. */
export const httpUrl = z
  .url({ protocol: /^https?$/, error: "must be an http or https URL" })
  .transform((url) => url.replace(/\/+$/, ""));

const sandboxDeadlineS = 10;

export interface OfferRules {
  /** What `SANDBOX` says, if it is set. */
  sandbox: readonly ProviderName[] | undefined;
  /** In production, or reachable from other machines. */
  isServing: boolean;
  /** Hears of everything that is wrong. */
  problems: string[];
}

/**
 * The offers, in the order of the table of companies. The sandbox is never by omission: without `SANDBOX` it is all or
 * none, and none as soon as there is a credential of any provider.
 */
export function readOffers(env: Environment, { sandbox, isServing, problems }: OfferRules): Offer[] {
  const hasCredentials = providerNames.some(
    (name) => Object.keys(variablesOf(companies[name].company, env)).length > 0,
  );
  const isSandboxed = (name: ProviderName): boolean => sandbox?.includes(name) ?? (!isServing && !hasCredentials);
  return providerNames.flatMap((name) => readOffer(name, { env, isSandboxed: isSandboxed(name), problems }));
}

/** A company's variables that are set, without their prefix. */
function variablesOf({ name, variables }: Company, env: Environment): Variables {
  const prefix = prefixOf(name);
  const set = variables.map((variable) => [variable, env[prefix + variable] ?? ""]);
  return Object.fromEntries(set.filter(([, value]) => value !== ""));
}

const prefixOf = (name: string): string => `${name.toUpperCase()}_`;

interface OfferSource {
  env: Environment;
  isSandboxed: boolean;
  problems: string[];
}

const terms = z.object({
  BASE_URL: optional(httpUrl),
  DEADLINE_S: optional(whole(1, 86_400)),
  QUERIES_PER_MINUTE: optional(whole(1, 1_000_000)),
});

/** One offer, or none when nothing is known of an account. */
function readOffer(name: ProviderName, { env, isSandboxed, problems }: OfferSource): Offer[] {
  const { company } = companies[name];
  const sandbox: Sandbox = companies[name].sandbox;
  const prefix = prefixOf(name);
  const told = variablesOf(company, env);
  try {
    const { BASE_URL, DEADLINE_S, QUERIES_PER_MINUTE } = terms.parse({
      BASE_URL: env[`${prefix}BASE_URL`],
      DEADLINE_S: env[`${prefix}DEADLINE_S`],
      QUERIES_PER_MINUTE: env[`${prefix}QUERIES_PER_MINUTE`],
    });
    if (!isSandboxed && Object.keys(told).length === 0) return [];
    const baseUrl = BASE_URL ?? company.liveBaseUrl;
    const queriesPerMinute = QUERIES_PER_MINUTE ?? company.queriesPerMinute?.(baseUrl);
    return [
      {
        name,
        ...(isSandboxed && { sandbox }),
        baseUrl,
        ...(queriesPerMinute !== undefined && { queriesPerMinute }),
        deadlineS: DEADLINE_S ?? (isSandboxed ? sandboxDeadlineS : company.deadlineS),
        open: isSandboxed
          ? (context, secrets) => company.configure(sandboxAccount(name, sandbox, secrets))(context)
          : company.configure(told),
      },
    ];
  } catch (error) {
    if (!(error instanceof z.ZodError)) throw error;
    for (const { path, message } of error.issues) {
      const variable = String(path[0] ?? "");
      const isMissing = company.variables.includes(variable) && told[variable] === undefined;
      problems.push(`${prefix}${variable}: ${isMissing ? `is needed beside the other variables of ${name}` : message}`);
    }
    return [];
  }
}
