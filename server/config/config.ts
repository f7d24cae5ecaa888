/** The environment, read once into one frozen Config. Whatever is wrong is said together, by variable, before anything starts. */
import { BlockList, isIP } from "node:net";
import { join } from "node:path";
import { z } from "zod";
import type { EnabledProvider } from "../provider/enabled.ts";
import { providerNames } from "../provider/registry.ts";
import { httpUrl, optional, readProviders, whole } from "./providers.ts";

export interface Config {
  readonly isProduction: boolean;
  readonly port: number;
  readonly host: string;
  /** Base of the URLs given to providers; absent: `http://localhost:<port>`, known once the server listens. */
  readonly publicUrl?: string;
  /** Absent: an embedded PostgreSQL. */
  readonly databaseUrl?: string;
  /** Absent: one process, events stay in it. A comma list is a Cluster. */
  readonly redisUrl?: string;
  readonly dataDir: string;
  /** Where webhooks wait while the database is away; absent: nowhere, and the provider is told to come again. */
  readonly spool?: { readonly dir: string; readonly maxMb: number };
  /** Empty in development: made once and kept in the data directory. The first is used, all are accepted. */
  readonly apiKeys: readonly string[];
  readonly secrets: readonly string[];
  readonly watchTokenTtlS: number;
  /** Origins that may watch from a browser. */
  readonly allowedOrigins: "any" | readonly string[];
  readonly trustedProxies: readonly string[];
  /** In the order of the table of providers. */
  readonly enabledProviders: readonly EnabledProvider[];
  readonly limit: {
    /** Initiations per phone, and per order, in 10 minutes. */
    readonly phone: number;
    readonly order: number;
    /** Requests per address and minute. */
    readonly ip: number;
    /** Watchers at a time per address on this node: long polls, streams and sockets. */
    readonly connections: number;
  };
  readonly logLevel: string;
}

/** The environment cannot be run with. The message names every variable that is wrong. */
export class ConfigError extends Error {
  constructor(problems: readonly string[]) {
    super(`The environment cannot be run with:\n${problems.map((problem) => `  ${problem}`).join("\n")}`);
    this.name = "ConfigError";
  }
}

const list = z.string().transform((text) =>
  text
    .split(",")
    .map((item) => item.trim())
    .filter(Boolean),
);
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
    "must not trust everybody (/0): anybody could then say to be any address, and no limit would hold",
  );

const redisUrls = list.pipe(z.array(z.url({ protocol: /^rediss?$/, hostname: /./ })).min(1));
const redisUrl = z
  .string()
  .refine((text) => redisUrls.safeParse(text).success, {
    error: "must be a redis:// or rediss:// URL, or a comma list of them for a Cluster",
    abort: true,
  })
  .refine((text) => !text.includes(",") || new Set(redisUrls.parse(text).map(accessOf)).size === 1, {
    error: "must have the same protocol, user and password throughout, for they are those of the whole Cluster",
    abort: true,
  })
  .refine(
    (text) => !text.includes(",") || redisUrls.parse(text).every((url) => /^\/?0?$/.test(new URL(url).pathname)),
    {
      error: "must name no database for a Cluster, which has one only",
    },
  );

const environment = z.object({
  // A misspelt "production" would be one without its safeguards.
  NODE_ENV: optional(z.enum(["production", "development", "test"])),
  PORT: optional(whole(0, 65_535)),
  HOST: optional(z.string()),
  PUBLIC_URL: optional(httpUrl),
  DATABASE_URL: optional(z.url({ protocol: /^postgres(ql)?$/, error: "must be a postgres:// URL" })),
  REDIS_URL: optional(redisUrl),
  DATA_DIR: optional(z.string()),
  SPOOL: optional(z.enum(["on", "off"])),
  SPOOL_MAX_MB: optional(whole(1, 1_000_000)),
  TUKIO_API_KEY: optional(list.pipe(z.array(z.string().min(16, "must have 16 characters or more")).min(1))),
  TUKIO_SECRET: optional(list.pipe(z.array(z.string().min(32, "must have 32 characters or more")).min(1))),
  // Timers hold at most 2^31 ms, a little under 25 days.
  WATCH_TOKEN_TTL_S: optional(whole(1, 2_000_000)),
  ALLOWED_ORIGINS: optional(list.pipe(z.array(origin))),
  TRUSTED_PROXIES: optional(list.pipe(z.array(cidr))),
  SANDBOX: z.preprocess((value) => value, list.pipe(z.array(z.enum(providerNames))).optional()),
  LIMIT_PHONE: optional(whole(1, 1_000_000)),
  LIMIT_ORDER: optional(whole(1, 1_000_000)),
  LIMIT_IP: optional(whole(1, 100_000_000)),
  LIMIT_CONNECTIONS: optional(whole(1, 1_000_000)),
  LOG_LEVEL: optional(z.enum(["fatal", "error", "warn", "info", "debug", "trace", "silent"])),
});

type Environment = z.infer<typeof environment>;

/** Reads the environment. Throws `ConfigError` naming everything that is wrong with it. */
export function readConfig(env: Record<string, string | undefined>): Config {
  const parsed = environment.safeParse(env);
  if (!parsed.success) {
    const problems = parsed.error.issues.map(({ path, message }) => `${path[0]?.toString()}: ${message}`);
    // Problems of the providers' variables are reported in the same error.
    readProviders(env, { sandbox: undefined, isServing: false, problems });
    throw new ConfigError(problems);
  }
  const found = parsed.data;
  const isProduction = found.NODE_ENV === "production";
  // Fastify would open a second server, on ::1, for "localhost"; the bounds of connections hold for one.
  const host = found.HOST === undefined || found.HOST === "localhost" ? "127.0.0.1" : found.HOST;
  const problems = isProduction ? missingInProduction(found) : [];
  const enabledProviders = readProviders(env, {
    sandbox: found.SANDBOX,
    isServing: isProduction || !isLoopback(host),
    problems,
  });
  if (problems.length > 0) throw new ConfigError(problems);
  return Object.freeze({
    isProduction,
    port: found.PORT ?? 3_000,
    host,
    ...(found.PUBLIC_URL && { publicUrl: found.PUBLIC_URL }),
    ...(found.DATABASE_URL && { databaseUrl: found.DATABASE_URL }),
    ...(found.REDIS_URL && { redisUrl: found.REDIS_URL }),
    dataDir: found.DATA_DIR ?? ".tukio",
    ...(found.SPOOL !== "off" && {
      spool: { dir: join(found.DATA_DIR ?? ".tukio", "spool"), maxMb: found.SPOOL_MAX_MB ?? 256 },
    }),
    apiKeys: found.TUKIO_API_KEY ?? [],
    secrets: found.TUKIO_SECRET ?? [],
    watchTokenTtlS: found.WATCH_TOKEN_TTL_S ?? 86_400,
    allowedOrigins: found.ALLOWED_ORIGINS ?? (isProduction ? [] : "any"),
    trustedProxies: found.TRUSTED_PROXIES ?? [],
    enabledProviders,
    limit: {
      phone: found.LIMIT_PHONE ?? 10,
      order: found.LIMIT_ORDER ?? 5,
      ip: found.LIMIT_IP ?? 600,
      connections: found.LIMIT_CONNECTIONS ?? 10_000,
    },
    logLevel: found.LOG_LEVEL ?? "info",
  });
}

/** Adds what development makes for itself: an API key and a secret kept in the data directory. */
export const withKeys = (config: Config, keys: { apiKey: string; secret: string }): Config =>
  Object.freeze({
    ...config,
    apiKeys: config.apiKeys.length > 0 ? config.apiKeys : [keys.apiKey],
    secrets: config.secrets.length > 0 ? config.secrets : [keys.secret],
  });

function accessOf(url: string): string {
  const { protocol, username, password } = new URL(url);
  return [protocol, username, password].join(" ");
}

function missingInProduction(found: Environment): string[] {
  const needed = ["DATABASE_URL", "TUKIO_API_KEY", "TUKIO_SECRET", "PUBLIC_URL"] as const;
  const missing = needed.filter((name) => found[name] === undefined).map((name) => `${name}: is needed in production`);
  const isPlain = found.PUBLIC_URL !== undefined && !found.PUBLIC_URL.startsWith("https:");
  return isPlain ? [...missing, "PUBLIC_URL: must be https in production"] : missing;
}

const loopback = new BlockList();
loopback.addSubnet("127.0.0.0", 8, "ipv4");
loopback.addAddress("::1", "ipv6");

/** Whether an address or `localhost` is this very machine. */
export const isLoopback = (host: string): boolean =>
  host === "localhost" || (isIP(host) !== 0 && loopback.check(host, isIP(host) === 6 ? "ipv6" : "ipv4"));
