/**
 * What every test file shares: one PostgreSQL with a template database to clone, and one Redis. Both are started here,
 * unless TEST_DATABASE_URL or REDIS_URL name running ones, and stopped at the end, however the run went.
 */
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import type { TestProject } from "vitest/node";
import { startEmbedded } from "../../server/database/embedded-postgres.ts";
import { migrate } from "../../server/database/migrate.ts";
import { administer, urlOf } from "./database.ts";
import { ensureProgram } from "./debian.ts";
import { startRedis } from "./redis.ts";

declare module "vitest" {
  export interface ProvidedContext {
    database: { serverUrl: string; template: string };
    redisUrl: string;
  }
}

type Release = () => Promise<void>;

interface Shared {
  given: Promise<{ database: { serverUrl: string; template: string }; redisUrl: string; teardown: Release }>;
  users: number;
}

/** Each project loads this module for itself, and all run in one process. */
const place = globalThis as { tukioTest?: Shared };

export default async function setup(project: TestProject): Promise<Release> {
  place.tukioTest ??= { given: start(), users: 0 };
  const shared = place.tukioTest;
  shared.users += 1;
  const { database, redisUrl, teardown } = await shared.given;
  project.provide("database", database);
  project.provide("redisUrl", redisUrl);
  return async () => {
    shared.users -= 1;
    if (shared.users > 0) return;
    delete place.tukioTest;
    await teardown();
  };
}

async function start(): Promise<Awaited<Shared["given"]>> {
  const releases: Release[] = [];
  const teardown = async (): Promise<void> => {
    const errors: unknown[] = [];
    for (const release of releases.reverse()) await release().catch((error: unknown) => errors.push(error));
    if (errors.length > 0) throw new AggregateError(errors, "not everything could be stopped");
  };
  try {
    const serverUrl = process.env.TEST_DATABASE_URL || (await startPostgres(releases));
    const database = { serverUrl, template: await createTemplate(serverUrl, releases) };
    return { database, redisUrl: process.env.REDIS_URL || (await startSharedRedis(releases)), teardown };
  } catch (error) {
    await teardown();
    throw error;
  }
}

async function startPostgres(releases: Release[]): Promise<string> {
  const dataDir = await mkdtemp(join(tmpdir(), "tukio-test-"));
  releases.push(() => rm(dataDir, { recursive: true, force: true, maxRetries: 10 }));
  // Where root has to run PostgreSQL as nobody, the data is still in here and goes with it.
  await chmod(dataDir, 0o755);
  const { url, close } = await startEmbedded({ dataDir, log: { info: () => undefined }, fsync: false });
  releases.push(close);
  return url;
}

/** Nobody may be connected to a template while it is cloned, so its pool is closed before any test begins. */
async function createTemplate(serverUrl: string, releases: Release[]): Promise<string> {
  const template = `template_${process.pid}`;
  await administer(serverUrl, `create database ${template}`);
  releases.push(() => administer(serverUrl, `drop database ${template}`));
  const pool = new pg.Pool({ connectionString: urlOf(serverUrl, template) });
  await migrate(pool);
  await pool.end();
  return template;
}

async function startSharedRedis(releases: Release[]): Promise<string> {
  await ensureProgram("redis-server", "redis-server"); // 7 or newer
  const redis = await startRedis();
  releases.push(redis.stop);
  return redis.url;
}
