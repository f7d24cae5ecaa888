/** Routes for the merchant's backend: the state of the providers, and fetching an access token ahead of need. */
import type { FastifyInstance } from "fastify";
import { type Access, merchantOnly } from "../auth/access.ts";
import { asHubError } from "../database/pool.ts";
import type { Statistics } from "../order/statistics.ts";
import type { StoredAccessToken } from "../provider/access-token.ts";
import type { CallRecord } from "../provider/call-record.ts";
import type { CallFigures, Verb } from "../provider/call-stats.ts";
import { type Provider, requireProvider } from "../provider/provider.ts";
import { providerList, providerToken } from "../schema/operating.ts";
import { described, openedBy, readProblems } from "../schema/route.ts";

const listProviders = described({
  operationId: "listProviders",
  tag: "Providers",
  summary: "List the enabled providers",
  security: openedBy.read,
  answers: { 200: { description: "Each with its call statistics.", schema: providerList } },
  problems: readProblems,
});

const fetchToken = described({
  operationId: "fetchProviderToken",
  tag: "Providers",
  summary: "Fetch the provider's access token ahead of need",
  description:
    "Fetches only if less than 5 min are left. The request has no body, and the answer never contains the token.",
  security: openedBy.manage,
  answers: { 200: { description: "The expiry of the token.", schema: providerToken } },
  problems: [
    "body_invalid",
    "key_invalid",
    "origin_refused",
    "scope_missing",
    "provider_unknown",
    "body_too_large",
    "rate_limited",
    "internal",
    "provider_unavailable",
    "store_unavailable",
  ],
});

export interface ProviderRoutesOptions {
  access: Access;
  providers: ReadonlyMap<string, Provider>;
  /** By provider, of those that use access tokens. */
  accessTokens: ReadonlyMap<string, Pick<StoredAccessToken, "expiresAt" | "ahead">>;
  terms: (provider: string) => { live: boolean; isSandbox: boolean };
  calls: Pick<CallRecord, "recent">;
  statistics: Pick<Statistics, "succeededShares">;
}

/** A provider in the answer. */
export interface ProviderView {
  name: string;
  /** False for the built-in sandbox, and for the provider's own test environment. */
  live: boolean;
  /** True for the built-in sandbox. */
  sandbox: boolean;
  currencies: readonly string[];
  countries: readonly string[];
  /** Null if the provider uses no access token or none was fetched yet. */
  token: { expiresAt: string } | null;
  /** The calls of this process only. */
  calls: Record<Verb, CallFigures>;
  /** From 0 to 1, of the settled payments of the last 24 hours; null if there are none. */
  succeededShare: number | null;
}

export function providerRoutes(app: FastifyInstance, options: ProviderRoutesOptions): void {
  const { access, providers, accessTokens, terms, calls, statistics } = options;

  const tokenOf = async (name: string): Promise<ProviderView["token"]> => {
    const expiresAt = await accessTokens.get(name)?.expiresAt().catch(rethrow);
    return expiresAt ? { expiresAt: expiresAt.toISOString() } : null;
  };

  const viewOf = async (
    { name, currencies, countries }: Provider,
    { share, figures }: { share: number | undefined; figures: ProviderView["calls"] },
  ): Promise<ProviderView> => ({
    name,
    live: terms(name).live,
    sandbox: terms(name).isSandbox,
    currencies,
    countries,
    token: await tokenOf(name),
    calls: figures,
    succeededShare: share ?? null,
  });

  const onRequest = merchantOnly(access);

  app.get("/v1/providers", { ...listProviders, onRequest }, async () => {
    const [shares, figuresOf] = await Promise.all([statistics.succeededShares(), calls.recent()]);
    const views = [...providers.values()].map((provider) =>
      viewOf(provider, { share: shares.get(provider.name), figures: figuresOf(provider.name) }),
    );
    return { data: await Promise.all(views) };
  });

  app.post<{ Params: { provider: string } }>(
    "/v1/providers/:provider/token",
    { ...fetchToken, onRequest },
    async (request) => {
      const { provider } = request.params;
      requireProvider(providers, provider);
      const expiresAt = await accessTokens.get(provider)?.ahead().catch(rethrow);
      return { expiresAt: expiresAt?.toISOString() ?? null };
    },
  );
}

/** Turns a database failure into `store_unavailable`. A provider's failure is `provider_unavailable` already. */
function rethrow(error: unknown): never {
  throw asHubError(error);
}
