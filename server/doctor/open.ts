/** Creates the doctor of a node, which examines the node and what it depends on, and the node's row in the database. */
import type { FastifyBaseLogger, FastifyInstance } from "fastify";
import type { SecretState } from "../auth/secret-comparison.ts";
import type { Config } from "../config/config.ts";
import type { Database } from "../database/pool.ts";
import type { SmsGateway } from "../notification/sms/gateway.ts";
import type { StoredAccessToken } from "../provider/access-token.ts";
import { modeOf } from "../provider/enabled.ts";
import type { Provider } from "../provider/provider.ts";
import type { StatusBus } from "../status/bus.ts";
import type { Spool } from "../webhook/spool.ts";
import { type Check, createDoctor, type Doctor } from "./check.ts";
import { databaseCheck } from "./database.ts";
import { endpointCheck } from "./endpoint.ts";
import { mailCheck, smsCheck } from "./message.ts";
import { createNode } from "./node.ts";
import { providerCheck } from "./provider.ts";
import { publicUrlCheck } from "./public-url.ts";
import { redisCheck } from "./redis.ts";
import { spoolCheck } from "./spool.ts";

export interface OpenDoctorOptions {
  app: FastifyInstance;
  config: Config;
  database: Database;
  bus: StatusBus;
  secretComparison: { readonly state: SecretState };
  providers: ReadonlyMap<string, Provider>;
  accessTokens: ReadonlyMap<string, Pick<StoredAccessToken, "renew">>;
  spool: Spool | undefined;
  smsGateway: SmsGateway | undefined;
  publicUrl: () => string;
  selfUrl: () => string;
  log: FastifyBaseLogger;
}

/** The row is written when the server listens, and deleted when it closes. */
export function openDoctor({ app, config, database, bus, spool, ...options }: OpenDoctorOptions): Doctor {
  const { enabledProviders, isProduction, redisUrl } = config;
  const { secretComparison, providers, accessTokens, smsGateway, publicUrl, selfUrl, log } = options;
  const isBusUp = (): boolean => bus.healthy;
  const node = createNode({
    ...config,
    // In development they may come from files.
    commonSettings: { ...config.commonSettings, TUKIO_API_KEY: config.apiKeys.toSorted().join(",") },
    database,
    redisUrl,
    selfUrl,
    isBusUp,
    spooled: () => spool?.waiting ?? 0,
    secretState: () => secretComparison.state,
    log,
  });
  app.addHook("onListen", node.start);
  app.addHook("onClose", node.close);
  const accounts = enabledProviders.flatMap((enabled): Check[] => {
    const provider = providers.get(enabled.name);
    return provider
      ? [providerCheck({ enabled, provider, accessToken: accessTokens.get(enabled.name), isProduction })]
      : [];
  });
  const hasLiveProvider = enabledProviders.some((one) => modeOf(one) === "live");
  return createDoctor({
    node: node.name,
    checks: [
      ...accounts,
      publicUrlCheck({ publicUrl: config.publicUrl, usedUrl: publicUrl, enabledProviders, isProduction }),
      databaseCheck({ database, accepted: config.databaseAcceptOff, isProduction }),
      ...node.checks,
      redisCheck({ redisUrl, isBusUp }),
      spoolCheck({ spool, settings: config.spool }),
      endpointCheck(database.pool),
      mailCheck({ ...config, hasLiveProvider }),
      smsCheck({ sms: config.sms, gateway: smsGateway }),
    ],
    onError: (check, err) => log.error({ event: "doctor.check.failed", check, err }, "A check of the doctor failed"),
  });
}
