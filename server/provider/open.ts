/** Creates the adapters of the enabled providers. Their calls are measured, and their access tokens are stored. */
import type { FastifyBaseLogger } from "fastify";
import type { Sealer } from "../auth/keys.ts";
import type { Database } from "../database/pool.ts";
import { reportTask } from "../log.ts";
import { createAccessToken, type StoredAccessToken, type TokenRules } from "./access-token.ts";
import { type CallRecord, createCallRecord } from "./call-record.ts";
import { measureFetch, measureProviders, type OnCall } from "./call-stats.ts";
import { type CaptureOptions, createCapture } from "./capture.ts";
import type { ProviderContext } from "./define.ts";
import { createAllowance, createTerms, type EnabledProvider } from "./enabled.ts";
import { type Client, createClient } from "./http-client.ts";
import type { Provider } from "./provider.ts";
import { providerText } from "./provider-text.ts";
import { TokenDenied } from "./token-client.ts";

export interface OpenProvidersOptions {
  /** Where messages are recorded; absent: nowhere. */
  captureDir?: string;
  /** Like the secrets, in no file. */
  apiKeys: readonly string[];
  enabledProviders: readonly EnabledProvider[];
  /** The node's secrets; a sandbox's account is derived from them. */
  secrets: readonly string[];
  database: Database;
  /** Encrypts access tokens in the database. */
  sealer: Sealer;
  /** Whether this node must fetch no access token now. */
  isBlocked: () => boolean;
  /** Base URL by which the node reaches itself, where the sandboxes are. */
  selfUrl: () => string;
  /** Called after each call to a provider. */
  onCall: OnCall;
  /** Called when calls of all nodes to a provider fail. */
  onProviderFailing: (provider: string) => void;
  log: FastifyBaseLogger;
}

type ProviderLog = CaptureOptions["log"];

export interface OpenProviders {
  /** By name, in the order in which they are enabled. */
  providers: ReadonlyMap<string, Provider>;
  /** By provider, of those that use one. */
  accessTokens: ReadonlyMap<string, StoredAccessToken>;
  terms: ReturnType<typeof createTerms>;
  allowance: ReturnType<typeof createAllowance>;
  /** The latest calls of all nodes. */
  calls: CallRecord;
  /** Closes the connections to providers; resolves when no call is in flight and all are counted. */
  close(): Promise<void>;
}

/** Makes no call: an adapter fetches its access token when it is first needed. */
export function openProviders(options: OpenProvidersOptions): OpenProviders {
  const { enabledProviders, secrets, apiKeys, captureDir, log } = options;
  const client = createClient();
  const capture =
    captureDir === undefined ? undefined : createCapture({ dir: captureDir, secrets: [...secrets, ...apiKeys], log });
  const calls = createCallRecord({
    pool: options.database.pool,
    onFailing: options.onProviderFailing,
    ...reportTask(options.log, "provider calls"),
  });
  const accessTokens = new Map<string, StoredAccessToken>();
  const onCall: OnCall = (call) => {
    calls.add(call);
    options.onCall(call);
  };
  const adapters = enabledProviders.map((enabled) => {
    const ownClient = capture?.ofClient(enabled.name, client) ?? client;
    const provider = enabled.create(
      contextOf(enabled, { ...options, client: ownClient, accessTokens, onCall }),
      secrets,
    );
    return capture?.ofProvider(provider) ?? provider;
  });
  const providers = measureProviders(adapters, onCall);
  return {
    providers,
    accessTokens,
    terms: createTerms(enabledProviders, providers),
    allowance: createAllowance(enabledProviders),
    calls,
    async close() {
      await client.close();
      await capture?.close();
      await calls.close();
    },
  };
}

type ContextParts = OpenProvidersOptions & { client: Client; accessTokens: Map<string, StoredAccessToken> };

function contextOf({ name, sandbox, baseUrl }: EnabledProvider, parts: ContextParts): ProviderContext {
  const { client, accessTokens, database, sealer, isBlocked, selfUrl, onCall, log } = parts;
  return {
    baseUrl: () => (sandbox ? `${selfUrl()}/sandbox/${name}` : baseUrl),
    client,
    accessToken({ fetch, ...rules }) {
      const measured = logDenials(name, measureFetch(name, fetch, onCall), log);
      const shared = { provider: name, pool: database.pool, sealer, isBlocked };
      const accessToken = createAccessToken({ ...rules, ...shared, fetch: measured });
      accessTokens.set(name, accessToken);
      return {
        ...accessToken,
        onRefused({ status, body }, token) {
          const text = providerText(body, [token]);
          log.warn({ event: "provider.token.refused", provider: name, status, text }, "the provider refused a token");
        },
      };
    },
  };
}

/** Wraps `fetch` so that the provider's status and text are logged when it issues no token. */
const logDenials =
  (provider: string, fetch: TokenRules["fetch"], log: ProviderLog): TokenRules["fetch"] =>
  async (refreshToken) => {
    try {
      return await fetch(refreshToken);
    } catch (error) {
      if (error instanceof Error && error.cause instanceof TokenDenied) {
        const { status, text } = error.cause;
        log.warn({ event: "provider.token.denied", provider, status, text }, "the provider issued no access token");
      }
      throw error;
    }
  };
