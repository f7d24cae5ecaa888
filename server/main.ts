/** The process: environment, resources, signals, listen. */
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { link, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { createApp } from "./app.ts";
import { type Config, ConfigError, readConfig, withKeys } from "./config/config.ts";
import { warnOf } from "./config/warning.ts";
import { checkDurability } from "./database/durability.ts";
import { startEmbedded } from "./database/embedded-postgres.ts";
import { migrate, schemaVersion } from "./database/migrate.ts";
import { type Database, openDatabase } from "./database/pool.ts";
import { createLogger } from "./log.ts";
import { namesByMode } from "./provider/enabled.ts";
import { type Counter, createFallbackCounter, createMemoryCounter } from "./rate-limit.ts";
import { createRedisBus } from "./redis/bus.ts";
import { createRedisCounter } from "./redis/counter.ts";
import { shutDownOnSignal } from "./shutdown.ts";
import { createMemoryBus } from "./status/bus.ts";

async function main(): Promise<void> {
  if (existsSync(".env")) process.loadEnvFile();
  const given = readConfig(process.env);
  const log = createLogger(given.logLevel);
  const config = await withStoredKeys(given);
  // Resources are closed in the reverse order of their opening.
  const releases: (() => Promise<void>)[] = [];
  let released: Promise<void> | undefined;
  // A signal during the start may come together with a failure of the start.
  const release = (): Promise<void> => {
    released ??= closeAll(releases.reverse(), log);
    return released;
  };

  try {
    const embedded =
      config.databaseUrl === undefined ? await startEmbedded({ dataDir: config.dataDir, log }) : undefined;
    if (embedded) releases.push(embedded.close);
    const databaseUrl = config.databaseUrl ?? embedded?.url ?? "";
    const onError = (err: Error): void =>
      log.warn({ event: "database.connection.failed", err }, "a connection to PostgreSQL failed");
    const database = openDatabase(databaseUrl, onError);
    releases.push(database.close);
    if (config.databaseUrl !== undefined) await requireReachable(database, config.databaseUrl);
    await checkDurability(database.pool, { ...config, accepted: config.databaseAcceptOff, log });
    warnOfNewerSchema(await migrate(database.pool), log);
    const bus = config.redisUrl === undefined ? createMemoryBus() : createRedisBus({ url: config.redisUrl, log });
    releases.push(bus.close);
    const counter = await openCounter(config.redisUrl, releases);
    const app = await createApp(config, { database, bus, counter, log });
    releases.push(app.close);
    // Before the node listens, because it may take requests from then on.
    shutDownOnSignal(process, { release, log });
    const url = await app.listen().catch((cause: NodeJS.ErrnoException) => {
      throw listenError(config, cause);
    });
    log.info({ event: "process.started", url, ...namesByMode(config.enabledProviders) }, "the node listens");
    warnOf(config, log);
    printGreeting(config, url);
    // Frees the garbage of the start, because V8 would keep it for long: with 10,000 watchers it is an eighth of all memory.
    void globalThis.gc?.();
  } catch (error) {
    await release();
    throw error;
  }
}

/** After a return to the previous release. */
function warnOfNewerSchema(version: number, log: ReturnType<typeof createLogger>): void {
  if (version <= schemaVersion) return;
  log.warn(
    { event: "database.schema.newer", version, own: schemaVersion },
    "a newer release has migrated the database; this release works with it",
  );
}

async function closeAll(
  releases: readonly (() => Promise<void>)[],
  log: ReturnType<typeof createLogger>,
): Promise<void> {
  for (const close of releases) {
    await close().catch((err: unknown) =>
      log.error({ event: "process.release.failed", err }, "a resource was not closed"),
    );
  }
}

/** Longer than a request waits for a connection (1 s), because a machine that has just started is slow. */
const databaseWaitMs = 10_000;

/** Throws an Error for the operator, without the password, when no server answers at `DATABASE_URL` within 10 s. */
async function requireReachable(
  database: Database,
  databaseUrl: string,
  untilMs = performance.now() + databaseWaitMs,
): Promise<void> {
  try {
    (await database.pool.connect()).release();
  } catch (cause) {
    const isSlow = cause instanceof Error && cause.message.includes("timeout");
    if (isSlow && performance.now() < untilMs) return requireReachable(database, databaseUrl, untilMs);
    const { host, pathname } = new URL(databaseUrl);
    // An error that covers several addresses has a code and no message.
    const { code, message } = cause as NodeJS.ErrnoException;
    throw new Error(`DATABASE_URL cannot be reached (${host}${pathname}): ${message || code}`, { cause });
  }
}

/** Waits for Redis because requests before it is ready are counted on this node alone. The node starts without Redis after that. */
const redisWaitMs = 1_000;

/** Counts limits in Redis, and in memory while Redis is down or not configured. */
async function openCounter(redisUrl: string | undefined, releases: (() => Promise<void>)[]): Promise<Counter> {
  const memory = createMemoryCounter();
  if (redisUrl === undefined) return memory;
  const redis = createRedisCounter(redisUrl);
  releases.push(redis.close);
  await redis.ready(redisWaitMs);
  return createFallbackCounter(redis, memory);
}

/** The causes of a failure to listen that the operator can remove, by the error's code. */
const listenFailures: Readonly<Record<string, (config: Config) => string>> = {
  EADDRINUSE: ({ port, host }) =>
    `PORT ${port} of ${host} is in use by another process, perhaps another Tukio node or another development server. Stop it, or set PORT to another port.`,
  EACCES: ({ port }) => `PORT ${port} needs a privilege that this process does not have. Set PORT to 1024 or more.`,
  EADDRNOTAVAIL: ({ host }) =>
    `HOST ${host} is not an address of this machine. Set HOST to one of its addresses, or to 0.0.0.0 for all.`,
  ENOTFOUND: ({ host }) => `HOST ${host} is not an address, and no name that this machine knows.`,
};

/** The error for the operator, with the variable to change. Other errors stay as they are. */
function listenError(config: Config, cause: NodeJS.ErrnoException): Error {
  const explain =
    cause.syscall === "listen" || cause.syscall === "getaddrinfo" ? listenFailures[cause.code ?? ""] : undefined;
  return explain ? new Error(explain(config), { cause }) : cause;
}

/** Adds the keys that development creates once and keeps in the data directory. In production `readConfig` requires them. */
async function withStoredKeys(config: Config): Promise<Config> {
  if (config.apiKeys.length > 0 && config.secrets.length > 0) return config;
  const dataDir = resolve(config.dataDir);
  await mkdir(dataDir, { recursive: true });
  return withKeys(config, {
    apiKey: await readOrCreate(join(dataDir, "api-key"), () => `tk_${randomBytes(24).toString("base64url")}`),
    secret: await readOrCreate(join(dataDir, "secret"), () => randomBytes(48).toString("base64url")),
  });
}

/** Reads a file, after creating it for its owner only if it does not exist. The file appears whole or not at all. */
async function readOrCreate(path: string, create: () => string): Promise<string> {
  const draft = `${path}.${process.pid}`;
  await writeFile(draft, create(), { mode: 0o600, flush: true });
  await link(draft, path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "EEXIST") throw error;
  });
  await rm(draft);
  const text = (await readFile(path, "utf8")).trim();
  if (text.length < 32) throw new Error(`${path} is damaged. Restore it, or remove it and a new one is created.`);
  return text;
}

/** Prints what a developer needs to begin. Shows the API key only if the node created it. Prints nothing in production. */
function printGreeting(config: Config, url: string): void {
  if (config.isProduction) return;
  const base = config.publicUrl ?? url.replace("127.0.0.1", "localhost");
  const { live, test, sandbox } = namesByMode(config.enabledProviders);
  const lines = [
    `Tukio listens on ${base}`,
    ...(sandbox.length > 0 ? [`  demo shop  ${base}/`] : []),
    ...(config.createdApiKey !== undefined ? [`  API key    ${config.createdApiKey}`] : []),
    `  live       ${live.length > 0 ? `${live.join(", ")} (real money)` : "none"}`,
    ...(test.length > 0 ? [`  test       ${test.join(", ")} (the provider's own test environment)`] : []),
    `  sandbox    ${sandbox.join(", ") || "none"}`,
    `  database   ${config.databaseUrl === undefined ? `embedded, in ${config.dataDir}` : "DATABASE_URL"}`,
    `  events     ${config.redisUrl === undefined ? "in this process" : "Redis"}`,
  ];
  process.stdout.write(`${lines.join("\n")}\n`);
}

main().catch((error: unknown) => {
  const isExpected = error instanceof ConfigError || (error instanceof Error && !(error instanceof TypeError));
  process.stderr.write(`${isExpected ? (error as Error).message : String((error as Error)?.stack ?? error)}\n`);
  process.exit(1);
});
