/**
 * Defines a provider before its adapter exists: its environment variables, its address and its deadline. Everything else
 * about a provider is behind `Provider`.
 */
import type { z } from "zod";
import type { AccessToken, TokenRules } from "./access-token.ts";
import type { Client } from "./http-client.ts";
import type { Provider } from "./provider.ts";

/** What an adapter is given to work with. */
export interface ProviderContext {
  /** Asked at each call: the sandbox's address is known only once the server listens. Without a slash at the end. */
  baseUrl: () => string;
  client: Client;
  /** Keeps the access tokens that are fetched so. To be called at most once. */
  accessToken(rules: TokenRules): AccessToken;
}

/** Makes the adapter. */
export type Open = (context: ProviderContext) => Provider;

export interface ProviderDefinition {
  readonly name: string;
  /** Where it is reached unless `<NAME>_BASE_URL` says otherwise. */
  readonly liveBaseUrl: string;
  /** From asking to `expired`, in seconds, unless `<NAME>_DEADLINE_S` says otherwise. */
  readonly deadlineS: number;
  /** How many queries a minute it allows at this address, unless `<NAME>_QUERIES_PER_MINUTE` says otherwise. */
  readonly queriesPerMinute?: (baseUrl: string) => number | undefined;
  /** The environment variables of its account, without the prefix `<NAME>_`. */
  readonly variables: readonly string[];
  /** Reads those variables, of which none is empty. Throws `ZodError`. */
  configure(variables: Readonly<Record<string, string>>): Open;
}

/** Defines a provider by its facts, the schema of its variables, and the function that makes its adapter of an account. */
export function defineProvider<Shape extends z.ZodObject>(
  {
    variables,
    ...facts
  }: Pick<ProviderDefinition, "name" | "liveBaseUrl" | "deadlineS" | "queriesPerMinute"> & { variables: Shape },
  open: (account: z.infer<Shape>, context: ProviderContext) => Provider,
): ProviderDefinition {
  return {
    ...facts,
    variables: Object.keys(variables.shape),
    configure(given) {
      const account = variables.parse(given);
      return (context) => open(account, context);
    },
  };
}
