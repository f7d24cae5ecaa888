/** Every provider there is. Adding one adds a line to the literal. */
import type { Client } from "./client.ts";
import type { Credential, FetchedToken } from "./credential.ts";
import { createDaraja, type DarajaAccount, fetchDarajaToken } from "./daraja.ts";
import type { Provider } from "./provider.ts";

/** Where a provider is reached, and as whom. The address may be known only once this process listens. */
export interface Endpoint<Account> {
  baseUrl: () => string;
  account: Account;
}

/** The providers that are to be offered. */
export interface Endpoints {
  daraja?: Endpoint<DarajaAccount> | undefined;
}

export interface ProvidersOptions {
  endpoints: Endpoints;
  client: Client;
  credential: (provider: string, fetch: () => Promise<FetchedToken>) => Credential;
}

const tokenDeadlineMs = 15_000;

/** The offered providers by name. */
export function createProviders({ endpoints, client, credential }: ProvidersOptions): ReadonlyMap<string, Provider> {
  const { daraja } = endpoints;
  const offered = [daraja && openDaraja(daraja, { client, credential })];
  return new Map(offered.flatMap((provider) => (provider ? [[provider.name, provider]] : [])));
}

function openDaraja(
  { baseUrl, account }: Endpoint<DarajaAccount>,
  { client, credential }: Omit<ProvidersOptions, "endpoints">,
): Provider {
  const config = { baseUrl, ...account };
  const fetch = () => fetchDarajaToken(config, client, AbortSignal.timeout(tokenDeadlineMs));
  return createDaraja(config, { client, credential: credential("daraja", fetch) });
}
