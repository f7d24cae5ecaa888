/** The process: environment, resources, signals, listen. */
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { link, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { createApp } from "./app.ts";
import { type Config, ConfigError, readConfig, withKeys } from "./config/config.ts";
import { startEmbedded } from "./database/embedded-postgres.ts";
import { migrate } from "./database/migrate.ts";
import { type Database, openDatabase } from "./database/pool.ts";
import { createLogger } from "./log.ts";
import { type Counter, createFallbackCounter, createMemoryCounter } from "./rate-limit.ts";
import { createRedisBus } from "./redis/bus.ts";
import { createRedisCounter } from "./redis/counter.ts";
import { stopOnSignal } from "./shutdown.ts";
import { createMemoryBus } from "./status/bus.ts";

async function main(): Promise<void> {
  if (existsSync(".env")) process.loadEnvFile();
  const given = readConfig(process.env);
  const log = createLogger(given.logLevel);
  const config = await completed(given);
  // What was opened is closed last-in first-out.
  const releases: (() => Promise<void>)[] = [];
  const release = async (): Promise<void> => {
    for (const close of releases.reverse()) {
      await close().catch((error: unknown) => log.error({ err: error }, "not closed"));
    }
  };

  try {
    const embedded =
      config.databaseUrl === undefined ? await startEmbedded({ dataDir: config.dataDir, log }) : undefined;
    if (embedded) releases.push(embedded.close);
    const databaseUrl = config.databaseUrl ?? embedded?.url ?? "";
    const database = openDatabase(databaseUrl, (error) => log.warn({ err: error }, "database connection failed"));
    releases.push(database.close);
    if (config.databaseUrl !== undefined) await reach(database, config.databaseUrl);
    await migrate(database.pool);
    const bus = config.redisUrl === undefined ? createMemoryBus() : createRedisBus({ url: config.redisUrl, log });
    releases.push(bus.close);
    const counter = await openCounter(config.redisUrl, releases);
    const app = await createApp(config, { database, bus, counter, log });
    releases.push(app.close);
    const url = await app.listen();
    announce(config, given, url);
    // What starting has left behind would be kept for long: with 10,000 watchers an eighth of all memory.
    void globalThis.gc?.();
    stopOnSignal(process, { release, log });
  } catch (error) {
    await release();
    throw error;
  }
}

/** A machine that has just started is slow: it is given longer than a request waits for a connection (1 s). */
const databaseWaitMs = 10_000;

/** Throws an Error for a person, without the password, when nobody can be spoken to at `DATABASE_URL`. */
async function reach(
  database: Database,
  databaseUrl: string,
  untilMs = performance.now() + databaseWaitMs,
): Promise<void> {
  try {
    (await database.pool.connect()).release();
  } catch (cause) {
    const isSlow = cause instanceof Error && cause.message.includes("timeout");
    if (isSlow && performance.now() < untilMs) return reach(database, databaseUrl, untilMs);
    const { host, pathname } = new URL(databaseUrl);
    // What was tried at several addresses has no message of its own.
    const { code, message } = cause as NodeJS.ErrnoException;
    throw new Error(`DATABASE_URL cannot be reached (${host}${pathname}): ${message || code}`, { cause });
  }
}

/** Because requests that come before Redis can be asked are counted on this node alone. A Redis that is down is not waited for any longer. */
const redisWaitMs = 1_000;

/** Limits are counted in Redis, and in memory while there is none. */
async function openCounter(redisUrl: string | undefined, releases: (() => Promise<void>)[]): Promise<Counter> {
  const memory = createMemoryCounter();
  if (redisUrl === undefined) return memory;
  const redis = createRedisCounter(redisUrl);
  releases.push(redis.close);
  await redis.ready(redisWaitMs);
  return createFallbackCounter(redis, memory);
}

/** In development, keys are made once and kept; in production `readConfig` has insisted on them. */
async function completed(config: Config): Promise<Config> {
  if (config.apiKeys.length > 0 && config.secrets.length > 0) return config;
  const dataDir = resolve(config.dataDir);
  await mkdir(dataDir, { recursive: true });
  return withKeys(config, {
    apiKey: await kept(join(dataDir, "api-key"), () => `tk_${randomBytes(24).toString("base64url")}`),
    secret: await kept(join(dataDir, "secret"), () => randomBytes(48).toString("base64url")),
  });
}

/** Reads a file that is made, for its owner only, when it is not there yet. It appears whole or not at all. */
async function kept(path: string, make: () => string): Promise<string> {
  const draft = `${path}.${process.pid}`;
  await writeFile(draft, make(), { mode: 0o600, flush: true });
  await link(draft, path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "EEXIST") throw error;
  });
  await rm(draft);
  const text = (await readFile(path, "utf8")).trim();
  if (text.length < 32) throw new Error(`${path} is damaged. Restore it, or remove it to have a new one made.`);
  return text;
}

/** What a person at a terminal needs to begin. The key is shown only where it was made here. */
function announce(config: Config, given: Config, url: string): void {
  if (config.isProduction) return;
  const base = config.publicUrl ?? url.replace("127.0.0.1", "localhost");
  const hasShop = config.enabledProviders.some(({ sandbox }) => sandbox);
  const lines = [
    `Tukio listens on ${base}`,
    ...(hasShop ? [`  demo shop  ${base}/`] : []),
    ...(given.apiKeys.length === 0 ? [`  API key    ${config.apiKeys[0]}`] : []),
    `  sandbox    ${
      config.enabledProviders
        .filter(({ sandbox }) => sandbox)
        .map(({ name }) => name)
        .join(", ") || "none"
    }`,
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
