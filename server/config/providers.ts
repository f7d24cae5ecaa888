/** Reads the enabled providers from the environment. Each is the built-in sandbox or has a live account. */
import { z } from "zod";
import { issueSentence } from "../issue.ts";
import type { ProviderDefinition } from "../provider/define.ts";
import type { EnabledProvider } from "../provider/enabled.ts";
import { type ProviderName, providerNames, registry } from "../provider/registry.ts";
import type { Sandbox } from "../sandbox/server.ts";
import { sandboxAccount } from "../sandbox/server.ts";
import { hostOf } from "./host.ts";

type Environment = Readonly<Record<string, string | undefined>>;
type Variables = Readonly<Record<string, string>>;

const blankIsUnset = (value: unknown): unknown => (value === "" ? undefined : value);

/** A variable that may be missing. An empty variable counts as missing. */
export const optional = <T extends z.ZodType>(type: T) => z.preprocess(blankIsUnset, type.optional());

export const whole = (min: number, max: number) => {
  const error = `must be a whole number from ${min} to ${max}`;
  return z
    .string(error)
    .regex(/^\d+$/, error)
    .transform(Number)
    .refine((value) => value >= min && value <= max, error);
};

/** A base to which paths are added. Without a slash at the end, and in the form that `URL` gives it. */
export const httpUrl = z
  .url({ protocol: /^https?$/, error: "must be an http or https URL", abort: true })
  .refine((url) => !/[?#]/.test(url), { error: "must have no query and no fragment, because paths are added to it" })
  .refine((url) => new URL(url).username === "" && new URL(url).password === "", {
    error: "must have no user and no password, because they would be sent to others",
  })
  .transform((url) => new URL(url).href.replace(/\/+$/, ""));

export interface ProviderRules {
  /** The value of `SANDBOX`; undefined if it is not set. */
  sandbox: readonly ProviderName[] | undefined;
  /** Whether the node runs in production or can be reached from other machines. */
  isServing: boolean;
  /** Every problem is added here. */
  problems: string[];
}

/**
 * The enabled providers, in the order of the registry. Without `SANDBOX`, all are the sandbox or none is: none if the node is
 * serving or has a credential of any provider. So no provider becomes the sandbox because its credentials are missing.
 */
export function readProviders(env: Environment, { sandbox, isServing, problems }: ProviderRules): EnabledProvider[] {
  const hasCredentials = providerNames.some(
    (name) => Object.keys(variablesOf(registry[name].definition, env)).length > 0,
  );
  const isSandboxed = (name: ProviderName): boolean => sandbox?.includes(name) ?? (!isServing && !hasCredentials);
  return providerNames.flatMap((name) => readProvider(name, { env, isSandboxed: isSandboxed(name), problems }));
}

/** The variables of a provider's account that are set, without their prefix. */
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

/** Reads one provider. Returns none if it has no account, or if one of its variables is wrong. */
function readProvider(name: ProviderName, { env, isSandboxed, problems }: ProviderSource): EnabledProvider[] {
  const { definition } = registry[name];
  const account = variablesOf(definition, env);
  try {
    const { BASE_URL: baseUrl = definition.liveBaseUrl, ...given } = readTerms(prefixOf(name), env);
    if (!isSandboxed && Object.keys(account).length === 0) return [];
    const queriesPerMinute = given.QUERIES_PER_MINUTE ?? definition.queriesPerMinute?.(baseUrl);
    return [
      {
        name,
        baseUrl,
        ...modeFacts(definition, { baseUrl, account: isSandboxed ? {} : account }),
        ...(queriesPerMinute !== undefined && { queriesPerMinute }),
        ...(isSandboxed ? sandboxOf(name) : { deadlineS: definition.deadlineS, create: definition.configure(account) }),
        ...(given.DEADLINE_S !== undefined && { deadlineS: given.DEADLINE_S }),
      },
    ];
  } catch (error) {
    if (!(error instanceof z.ZodError)) throw error;
    problems.push(...problemsOf(error, definition, account));
    return [];
  }
}

/** Whether the base URL is that of the provider's test environment, and whether the account belongs to the other environment. */
function modeFacts(
  { testHosts = [], liveBaseUrl, isTestAccount }: ProviderDefinition,
  { baseUrl, account }: { baseUrl: string; account: Variables },
): Pick<EnabledProvider, "isTestHost" | "hasOtherMode"> {
  const host = hostOf(baseUrl);
  const isTestHost = testHosts.includes(host);
  const isTest = isTestAccount?.(account);
  const hasOtherMode = isTest ? host === hostOf(liveBaseUrl) : isTest === false && isTestHost;
  return { ...(isTestHost && { isTestHost }), ...(hasOtherMode && { hasOtherMode }) };
}

const readTerms = (prefix: string, env: Environment): z.infer<typeof terms> =>
  terms.parse(
    {
      BASE_URL: env[`${prefix}BASE_URL`],
      DEADLINE_S: env[`${prefix}DEADLINE_S`],
      QUERIES_PER_MINUTE: env[`${prefix}QUERIES_PER_MINUTE`],
    },
    { error: issueSentence },
  );

function sandboxOf(name: ProviderName): { sandbox: Sandbox; create: EnabledProvider["create"] } {
  const { definition } = registry[name];
  const sandbox: Sandbox = registry[name].sandbox;
  return {
    sandbox,
    create: (context, secrets) => definition.configure(sandboxAccount(name, sandbox, secrets))(context),
  };
}

/** The problems of one provider, each with the name of its variable. */
function problemsOf({ issues }: z.ZodError, { name, variables }: ProviderDefinition, account: Variables): string[] {
  return issues.map(({ path, message }) => {
    const variable = String(path[0] ?? "");
    const isMissing = variables.includes(variable) && account[variable] === undefined;
    return `${prefixOf(name)}${variable}: ${isMissing ? `is needed beside the other variables of ${name}` : message}`;
  });
}
