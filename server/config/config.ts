/** Reads the environment once, into a frozen Config. One error names every wrong variable, before anything starts. */
import { isIP } from "node:net";
import { join } from "node:path";
import { z } from "zod";
import { type StorageSetting, storageSettings } from "../database/durability.ts";
import type { EnvironmentEndpoint } from "../delivery/environment.ts";
import { issueSentence } from "../issue.ts";
import { type EnabledProvider, modeOf } from "../provider/enabled.ts";
import { providerNames } from "../provider/registry.ts";
import { commaList } from "../validation.ts";
import { commonSettingsOf } from "./common-setting.ts";
import { readEndpoint } from "./endpoint.ts";
import { isLoopback, reachOf } from "./host.ts";
import { type MailSettings, readMail } from "./mail.ts";
import { httpUrl, optional, readProviders, whole } from "./providers.ts";
import { brandOf, type ShopBrand, shopVariables } from "./shop.ts";
import { readSms, type SmsConfig } from "./sms.ts";

export interface Config extends Readonly<MailSettings> {
  readonly isProduction: boolean;
  readonly port: number;
  readonly host: string;
  /** Base of the URLs given to clients and providers, without a slash at the end; absent: `http://localhost:<port>`. */
  readonly publicUrl?: string;
  /** Absent: the node runs an embedded PostgreSQL. */
  readonly databaseUrl?: string;
  /** The settings of PostgreSQL that may be off in production. */
  readonly databaseAcceptOff: readonly StorageSetting[];
  /** Absent: events stay in this process. A comma list names the nodes of a Redis Cluster. */
  readonly redisUrl?: string;
  readonly dataDir: string;
  /** The endpoint that receives events without a call of the API. */
  readonly environmentEndpoint?: EnvironmentEndpoint;
  /** The gateway for the SMS of live payments. Absent: none is sent. */
  readonly sms?: SmsConfig;
  /** The spool of webhooks, used while PostgreSQL is unreachable. Absent: the node answers 503 to the provider. */
  readonly spool?: { readonly dir: string; readonly maxMb: number };
  /** Where messages of providers are recorded. Absent: nowhere. */
  readonly captureDir?: string;
  /** All are accepted. Empty in development, where a key is created and stored in the data directory. */
  readonly apiKeys: readonly string[];
  /** The key that this node created in development; absent if the environment has one. */
  readonly createdApiKey?: string;
  /** The first creates, all verify. Empty in development, like `apiKeys`. */
  readonly secrets: readonly string[];
  /** Seconds. */
  readonly watchTokenTtlS: number;
  /** Origins whose pages may call the API. */
  readonly allowedOrigins: "any" | readonly string[];
  /** Addresses and CIDR ranges whose `X-Forwarded-For` is believed. */
  readonly trustedProxies: readonly string[];
  /** In the order of the provider registry. */
  readonly enabledProviders: readonly EnabledProvider[];
  readonly limit: {
    /** Payments per phone, and per order, in 10 minutes. */
    readonly phone: number;
    readonly order: number;
    /** Requests per client address and minute. */
    readonly ip: number;
    /** Payments that the pages of payment links start: per phone and per client address in an hour, per provider in a minute. */
    readonly pagePhone: number;
    readonly pageIp: number;
    readonly pageProvider: number;
    /** Open watcher connections per client address on this node: long polls, streams and sockets. */
    readonly connections: number;
  };
  /** The most that a customer may owe on instalments, in minor units of each currency. Absent: any amount. */
  readonly planCreditMaxMinor?: number;
  readonly shop: ShopBrand;
  readonly logLevel: string;
  /** The settings that must be the same on all nodes, as they were given, by the name of the variable. Some are secrets. */
  readonly commonSettings: Readonly<Record<string, string>>;
}

/** The environment is not valid. The message names every wrong variable. */
export class ConfigError extends Error {
  constructor(problems: readonly string[]) {
    super(`The environment is not valid:\n${problems.map((problem) => `  ${problem}`).join("\n")}`);
    this.name = "ConfigError";
  }
}

const origin = z
  .string()
  .refine(
    (text) => URL.canParse(text) && new URL(text).origin === text,
    "must be origins such as https://shop.example",
  );
const cidr = z
  .string()
  .refine((text) => {
    const [address = "", bits] = text.split("/");
    const family = isIP(address);
    return family !== 0 && (bits === undefined || (/^\d+$/.test(bits) && Number(bits) <= (family === 4 ? 32 : 128)));
  }, "must be addresses or CIDR ranges")
  .refine(
    (text) => !/\/0+$/.test(text),
    "must not trust all addresses (/0), because any client could then claim any address and avoid every limit",
  );

const redisUrls = commaList.pipe(z.array(z.url({ protocol: /^rediss?$/, hostname: /./ })).min(1));
const redisUrl = z
  .string()
  .refine((text) => redisUrls.safeParse(text).success, {
    error: "must be a redis:// or rediss:// URL, or a comma list of them for a Cluster",
    abort: true,
  })
  .refine((text) => !text.includes(",") || new Set(redisUrls.parse(text).map(credentialsOf)).size === 1, {
    error: "must have the same protocol, user and password in every URL, because a Cluster has one of each",
    abort: true,
  })
  .refine(
    (text) => !text.includes(",") || redisUrls.parse(text).every((url) => /^\/?0?$/.test(new URL(url).pathname)),
    {
      error: "must name no database, because a Cluster has only one",
    },
  );

const environment = z.object({
  // A misspelt "production" must not run without the safeguards of production.
  NODE_ENV: optional(z.enum(["production", "development", "test"])),
  PORT: optional(whole(0, 65_535)),
  HOST: optional(z.string()),
  PUBLIC_URL: optional(httpUrl),
  DATABASE_URL: optional(z.url({ protocol: /^postgres(ql)?$/, error: "must be a postgres:// URL" })),
  DATABASE_ACCEPT_OFF: optional(commaList.pipe(z.array(z.enum(storageSettings)))),
  REDIS_URL: optional(redisUrl),
  DATA_DIR: optional(z.string()),
  CAPTURE: optional(z.enum(["on", "off"])),
  SPOOL: optional(z.enum(["on", "off"])),
  SPOOL_MAX_MB: optional(whole(1, 1_000_000)),
  TUKIO_API_KEY: optional(commaList.pipe(z.array(z.string().min(16, "must have 16 characters or more")).min(1))),
  TUKIO_SECRET: optional(commaList.pipe(z.array(z.string().min(32, "must have 32 characters or more")).min(1))),
  // Because a timer of Node lasts less than 25 days (2^31 ms).
  WATCH_TOKEN_TTL_S: optional(whole(1, 2_000_000)),
  ALLOWED_ORIGINS: optional(commaList.pipe(z.array(origin))),
  TRUSTED_PROXIES: optional(commaList.pipe(z.array(cidr))),
  SANDBOX: z.preprocess((value) => value, commaList.pipe(z.array(z.enum(providerNames))).optional()),
  LIMIT_PHONE: optional(whole(1, 1_000_000)),
  LIMIT_ORDER: optional(whole(1, 1_000_000)),
  LIMIT_IP: optional(whole(1, 100_000_000)),
  LIMIT_CONNECTIONS: optional(whole(1, 1_000_000)),
  LIMIT_PAGE_PHONE: optional(whole(1, 1_000_000)),
  LIMIT_PAGE_IP: optional(whole(1, 1_000_000)),
  LIMIT_PAGE_PROVIDER: optional(whole(1, 1_000_000)),
  PLAN_CREDIT_MAX_MINOR: optional(whole(1, 1_000_000_000_000)),
  ...shopVariables,
  LOG_LEVEL: optional(z.enum(["fatal", "error", "warn", "info", "debug", "trace", "silent"])),
});

type Environment = z.infer<typeof environment>;

/** Reads the environment. Throws `ConfigError`, which names every wrong variable. */
export function readConfig(env: Record<string, string | undefined>): Config {
  const parsed = environment.safeParse(env, { error: issueSentence });
  if (!parsed.success) {
    const problems = parsed.error.issues.map(({ path, message }) => `${path[0]?.toString()}: ${message}`);
    // Adds the problems of the providers' variables, so that one error names all.
    readProviders(env, { sandbox: undefined, isServing: false, problems });
    throw new ConfigError(problems);
  }
  const found = parsed.data;
  const isProduction = found.NODE_ENV === "production";
  const host = hostOf(found);
  const problems = isProduction ? missingInProduction(found) : [];
  const enabledProviders = readProviders(env, {
    sandbox: found.SANDBOX,
    isServing: isProduction || !isLoopback(host),
    problems,
  });
  const unreached = providersWithoutWebhooks({ publicUrl: found.PUBLIC_URL, enabledProviders }).filter(
    (one) => modeOf(one) === "live",
  );
  if (isProduction && found.PUBLIC_URL !== undefined && unreached.length > 0) {
    const names = unreached.map(({ name }) => name).join(", ");
    problems.push(`PUBLIC_URL: must not be this machine's own address, because ${names} cannot send webhooks to it`);
  }
  const environmentEndpoint = readEndpoint(env, { isProduction, problems });
  const sms = readSms(env, { isProduction, problems });
  const hasLiveProvider = enabledProviders.some((one) => modeOf(one) === "live");
  const mailSettings = readMail(env, { hasLiveProvider, problems });
  if (problems.length > 0) throw new ConfigError(problems);
  return Object.freeze({
    ...withDefaults(found, isProduction),
    isProduction,
    host,
    ...(found.PUBLIC_URL && { publicUrl: found.PUBLIC_URL }),
    ...(found.DATABASE_URL && { databaseUrl: found.DATABASE_URL }),
    ...(found.PLAN_CREDIT_MAX_MINOR !== undefined && { planCreditMaxMinor: found.PLAN_CREDIT_MAX_MINOR }),
    ...(found.REDIS_URL && { redisUrl: found.REDIS_URL }),
    ...spoolOf(found),
    ...(found.CAPTURE === "on" && { captureDir: join(found.DATA_DIR ?? defaultDataDir, "capture") }),
    ...(environmentEndpoint && { environmentEndpoint }),
    ...(sms && { sms }),
    ...mailSettings,
    enabledProviders,
    limit: limitsOf(found),
    shop: brandOf(found),
    commonSettings: commonSettingsOf(env, enabledProviders),
  });
}

const defaultDataDir = ".tukio";

const withDefaults = (found: Environment, isProduction: boolean) => ({
  port: found.PORT ?? 3_000,
  dataDir: found.DATA_DIR ?? defaultDataDir,
  apiKeys: found.TUKIO_API_KEY ?? [],
  secrets: found.TUKIO_SECRET ?? [],
  databaseAcceptOff: found.DATABASE_ACCEPT_OFF ?? [],
  watchTokenTtlS: found.WATCH_TOKEN_TTL_S ?? 86_400,
  allowedOrigins: found.ALLOWED_ORIGINS ?? (isProduction ? [] : ("any" as const)),
  trustedProxies: found.TRUSTED_PROXIES ?? [],
  logLevel: found.LOG_LEVEL ?? "info",
});

/** Not "localhost", because Fastify would open a second server on ::1, and the limits of connections hold for one server. */
const hostOf = ({ HOST }: Environment): string => (HOST === undefined || HOST === "localhost" ? "127.0.0.1" : HOST);

const spoolOf = ({ SPOOL, SPOOL_MAX_MB, DATA_DIR = defaultDataDir }: Environment): Pick<Config, "spool"> =>
  SPOOL === "off" ? {} : { spool: { dir: join(DATA_DIR, "spool"), maxMb: SPOOL_MAX_MB ?? 256 } };

const limitsOf = (found: Environment): Config["limit"] => ({
  phone: found.LIMIT_PHONE ?? 10,
  order: found.LIMIT_ORDER ?? 5,
  ip: found.LIMIT_IP ?? 600,
  connections: found.LIMIT_CONNECTIONS ?? 10_000,
  pagePhone: found.LIMIT_PAGE_PHONE ?? 3,
  pageIp: found.LIMIT_PAGE_IP ?? 10,
  pageProvider: found.LIMIT_PAGE_PROVIDER ?? 60,
});

/** Adds the API key and the secret of development, where the environment has none. */
export const withKeys = (config: Config, keys: { apiKey: string; secret: string }): Config =>
  Object.freeze({
    ...config,
    ...(config.apiKeys.length === 0 && { apiKeys: [keys.apiKey], createdApiKey: keys.apiKey }),
    secrets: config.secrets.length > 0 ? config.secrets : [keys.secret],
  });

function credentialsOf(url: string): string {
  const { protocol, username, password } = new URL(url);
  return [protocol, username, password].join(" ");
}

function missingInProduction(found: Environment): string[] {
  const needed = ["DATABASE_URL", "TUKIO_API_KEY", "TUKIO_SECRET", "PUBLIC_URL"] as const;
  const missing = needed.filter((name) => found[name] === undefined).map((name) => `${name}: is needed in production`);
  const isPlain = (url: string | undefined): boolean => url !== undefined && !/^https:/i.test(url);
  const plain = (["PUBLIC_URL", "SHOP_LOGO_URL"] as const).filter((name) => isPlain(found[name]));
  return [...missing, ...plain.map((name) => `${name}: must be https in production`)];
}

/**
 * The enabled providers whose webhooks cannot arrive, because the public URL is this machine's own and the provider is on
 * another machine. Their payments are settled by queries only.
 */
export const providersWithoutWebhooks = ({
  publicUrl,
  enabledProviders,
}: {
  publicUrl?: string | undefined;
  enabledProviders: readonly EnabledProvider[];
}): EnabledProvider[] =>
  publicUrl === undefined || reachOf(publicUrl) === "own"
    ? enabledProviders.filter((one) => modeOf(one) !== "sandbox" && reachOf(one.baseUrl) !== "own")
    : [];
