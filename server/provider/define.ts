/**
 * What there is to say about a payment company before anybody talks to it: its variables, its address, its patience.
 * Everything else about it is behind `Provider`.
 */
import type { z } from "zod";
import type { Credential, TokenRules } from "./access-token.ts";
import type { Client } from "./http-client.ts";
import type { Provider } from "./provider.ts";

/** What an adapter is given to work with. */
export interface ProviderContext {
  /** Asked at each call: the sandbox's address is known only once the server listens. Without a slash at the end. */
  baseUrl: () => string;
  client: Client;
  /** Keeps the access tokens that are fetched so. To be called at most once. */
  credential(rules: TokenRules): Credential;
}

/** Makes the adapter. */
export type Open = (context: ProviderContext) => Provider;

export interface Company {
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

/** Facts of a company, its variables as a schema, and how an account that was read so becomes an adapter. */
export function defineCompany<Shape extends z.ZodObject>(
  {
    variables,
    ...facts
  }: Pick<Company, "name" | "liveBaseUrl" | "deadlineS" | "queriesPerMinute"> & { variables: Shape },
  open: (account: z.infer<Shape>, context: ProviderContext) => Provider,
): Company {
  return {
    ...facts,
    variables: Object.keys(variables.shape),
    configure(given) {
      const account = variables.parse(given);
      return (context) => open(account, context);
    },
  };
}
