/** A provider before its adapter exists: its environment variables, its address and its deadline. */
import type { z } from "zod";
import { issueSentence } from "../issue.ts";
import type { AccessToken, TokenRules } from "./access-token.ts";
import type { Client } from "./http-client.ts";
import type { Provider } from "./provider.ts";

/** The dependencies of an adapter. */
export interface ProviderContext {
  /**
   * The base URL, without a slash at the end. Call it for each request, because a sandbox has no address before the server
   * listens.
   */
  baseUrl: () => string;
  client: Client;
  /** Stores and refreshes the account's access tokens. Call it at most once. */
  accessToken(rules: TokenRules): AccessToken;
}

/** Creates the adapter of one account. */
export type CreateProvider = (context: ProviderContext) => Provider;

export interface ProviderDefinition {
  readonly name: string;
  /** The default of `<NAME>_BASE_URL`. */
  readonly liveBaseUrl: string;
  /** The hosts of the provider's own test environment, where no money moves. */
  readonly testHosts?: readonly string[];
  /** Whether an account is for that environment; undefined if its variables do not tell. They may be incomplete. */
  readonly isTestAccount?: (variables: Readonly<Record<string, string>>) => boolean | undefined;
  /** The default of `<NAME>_DEADLINE_S`: seconds from the request for money to `expired`. */
  readonly deadlineS: number;
  /** The default of `<NAME>_QUERIES_PER_MINUTE` at this base URL; undefined means that no limit is known. */
  readonly queriesPerMinute?: (baseUrl: string) => number | undefined;
  /** The environment variables of the account, without the prefix `<NAME>_`. */
  readonly variables: readonly string[];
  /** Those that the provider compares when it issues a token or answers a call: by default all. */
  readonly credentials?: readonly string[];
  /** Validates those variables, of which none is empty. Throws `ZodError`. */
  configure(variables: Readonly<Record<string, string>>): CreateProvider;
}

/** Defines a provider by its facts, the schema of its variables, and the function that creates the adapter of an account. */
export function defineProvider<Shape extends z.ZodObject>(
  {
    variables,
    ...facts
  }: Omit<ProviderDefinition, "variables" | "configure"> & {
    variables: Shape;
  },
  createProvider: (account: z.infer<Shape>, context: ProviderContext) => Provider,
): ProviderDefinition {
  return {
    ...facts,
    variables: Object.keys(variables.shape),
    configure(given) {
      const account = variables.parse(given, { error: issueSentence });
      return (context) => createProvider(account, context);
    },
  };
}
