/** Reads from the environment which providers are enabled on this node: each as the built-in sandbox, or with its account. */
import { z } from "zod";
import type { ProviderDefinition } from "../provider/define.ts";
import type { EnabledProvider } from "../provider/enabled.ts";
import { type ProviderName, providerNames, registry } from "../provider/registry.ts";
import type { Sandbox } from "../sandbox/server.ts";
import { sandboxAccount } from "../sandbox/server.ts";

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

export interface ProviderRules {
  /** What `SANDBOX` says, if it is set. */
  sandbox: readonly ProviderName[] | undefined;
  /** In production, or reachable from other machines. */
  isServing: boolean;
  /** Hears of everything that is wrong. */
  problems: string[];
}

/**
 * The enabled providers, in the order of the table of providers. The sandbox is never by omission: without `SANDBOX` it is all or
 * none, and none as soon as there is a credential of any provider.
 */
export function readProviders(env: Environment, { sandbox, isServing, problems }: ProviderRules): EnabledProvider[] {
  const hasCredentials = providerNames.some(
    (name) => Object.keys(variablesOf(registry[name].definition, env)).length > 0,
  );
  const isSandboxed = (name: ProviderName): boolean => sandbox?.includes(name) ?? (!isServing && !hasCredentials);
  return providerNames.flatMap((name) => readProvider(name, { env, isSandboxed: isSandboxed(name), problems }));
}

/** The variables of a provider that are set, without their prefix. */
function variablesOf({ name, variables }: ProviderDefinition, env: Environment): Variables {
  const prefix = prefixOf(name);
  const set = variables.map((variable) => [variable, env[prefix + variable] ?? ""]);
  return Object.fromEntries(set.filter(([, value]) => value !== ""));
}

const prefixOf = (name: string): string => `${name.toUpperCase()}_`;

interface ProviderSource {
  env: Environment;
  isSandboxed: boolean;
  problems: string[];
}

const terms = z.object({
  BASE_URL: optional(httpUrl),
  DEADLINE_S: optional(whole(1, 86_400)),
  QUERIES_PER_MINUTE: optional(whole(1, 1_000_000)),
});

/** One provider, or none when nothing is known of an account. */
function readProvider(name: ProviderName, { env, isSandboxed, problems }: ProviderSource): EnabledProvider[] {
  const { definition } = registry[name];
  const sandbox: Sandbox = registry[name].sandbox;
  const prefix = prefixOf(name);
  const told = variablesOf(definition, env);
  try {
    const { BASE_URL, DEADLINE_S, QUERIES_PER_MINUTE } = terms.parse({
      BASE_URL: env[`${prefix}BASE_URL`],
      DEADLINE_S: env[`${prefix}DEADLINE_S`],
      QUERIES_PER_MINUTE: env[`${prefix}QUERIES_PER_MINUTE`],
    });
    if (!isSandboxed && Object.keys(told).length === 0) return [];
    const baseUrl = BASE_URL ?? definition.liveBaseUrl;
    const queriesPerMinute = QUERIES_PER_MINUTE ?? definition.queriesPerMinute?.(baseUrl);
    return [
      {
        name,
        ...(isSandboxed && { sandbox }),
        baseUrl,
        ...(queriesPerMinute !== undefined && { queriesPerMinute }),
        deadlineS: DEADLINE_S ?? (isSandboxed ? sandboxDeadlineS : definition.deadlineS),
        create: isSandboxed
          ? (context, secrets) => definition.configure(sandboxAccount(name, sandbox, secrets))(context)
          : definition.configure(told),
      },
    ];
  } catch (error) {
    if (!(error instanceof z.ZodError)) throw error;
    for (const { path, message } of error.issues) {
      const variable = String(path[0] ?? "");
      const isMissing = definition.variables.includes(variable) && told[variable] === undefined;
      problems.push(`${prefix}${variable}: ${isMissing ? `is needed beside the other variables of ${name}` : message}`);
    }
    return [];
  }
}
