/** How the providers do, and fetching a provider's access token before it is needed. For the merchant's backend. */
import type { FastifyInstance } from "fastify";
import { type Access, merchantOnly } from "../auth/access.ts";
import { asHubError } from "../database/pool.ts";
import { HubError } from "../errors.ts";
import type { Statistics } from "../order/statistics.ts";
import type { StoredAccessToken } from "../provider/access-token.ts";
import type { CallFigures, CountedVerb, RecentCalls } from "../provider/call-stats.ts";
import type { Provider } from "../provider/provider.ts";
import { providerList, providerToken } from "../schema/answer.ts";
import { described, openedBy } from "../schema/route.ts";

const listProviders = described({
  operationId: "listProviders",
  tag: "Providers",
  summary: "List the providers offered here",
  security: openedBy.merchant,
  answers: { 200: { description: "Each with its numbers.", schema: providerList } },
  problems: ["key_invalid", "origin_refused", "rate_limited", "internal", "store_unavailable"],
});

const fetchToken = described({
  operationId: "fetchProviderToken",
  tag: "Providers",
  summary: "Fetch the provider's access token ahead of need",
  description: "Only when less than 5 min are left. Has no body, and never answers the token.",
  security: openedBy.merchant,
  answers: { 200: { description: "Until when the token lives.", schema: providerToken } },
  problems: [
    "body_invalid",
    "key_invalid",
    "origin_refused",
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
  /** Of the providers that have access tokens. */
  accessTokens: ReadonlyMap<string, Pick<StoredAccessToken, "expiresAt" | "ahead">>;
  terms: (provider: string) => { live: boolean };
  calls: RecentCalls;
  statistics: Pick<Statistics, "succeededShares">;
}

/** One provider as the merchant's backend sees it. */
export interface ProviderView {
  name: string;
  /** False: the built-in sandbox. */
  live: boolean;
  currencies: readonly string[];
  countries: readonly string[];
  /** Null where there is no access token, or none yet. */
  token: { expiresAt: string } | null;
  /** As seen from this process. */
  calls: Record<CountedVerb, CallFigures>;
  /** From 0 to 1, of the payments of the last 24 hours that have settled; null when there are none. */
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
    share: number | undefined,
  ): Promise<ProviderView> => ({
    name,
    live: terms(name).live,
    currencies,
    countries,
    token: await tokenOf(name),
    calls: calls.of(name),
    succeededShare: share ?? null,
  });

  const onRequest = merchantOnly(access);

  app.get("/v1/providers", { ...listProviders, onRequest }, async () => {
    const shares = await statistics.succeededShares();
    const views = [...providers.values()].map((provider) => viewOf(provider, shares.get(provider.name)));
    return { data: await Promise.all(views) };
  });

  app.post<{ Params: { provider: string } }>(
    "/v1/providers/:provider/token",
    { ...fetchToken, onRequest },
    async (request) => {
      const { provider } = request.params;
      if (!providers.has(provider)) throw new HubError("provider_unknown");
      const expiresAt = await accessTokens.get(provider)?.ahead().catch(rethrow);
      return { expiresAt: expiresAt?.toISOString() ?? null };
    },
  );
}

/** The database's failures are its own; a provider's come as `provider_unavailable` already. */
function rethrow(error: unknown): never {
  throw asHubError(error);
}
