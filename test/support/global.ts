/**
 * Vitest's global setup: one PostgreSQL with a template database to clone, and one Redis, shared by all test files. It
 * starts both, unless TEST_DATABASE_URL or REDIS_URL name running ones, and stops them even when tests fail.
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

/** On `globalThis`, because each Vitest project loads its own copy of this module in the same process. */
const globals = globalThis as { tukioTest?: Shared };

export default async function setup(project: TestProject): Promise<Release> {
  globals.tukioTest ??= { given: start(), users: 0 };
  const shared = globals.tukioTest;
  shared.users += 1;
  const { database, redisUrl, teardown } = await shared.given;
  project.provide("database", database);
  project.provide("redisUrl", redisUrl);
  return async () => {
    shared.users -= 1;
    if (shared.users > 0) return;
    delete globals.tukioTest;
    await teardown();
  };
}

async function start(): Promise<Awaited<Shared["given"]>> {
  const releases: Release[] = [];
  const teardown = async (): Promise<void> => {
    const errors: unknown[] = [];
    for (const release of releases.reverse()) await release().catch((error: unknown) => errors.push(error));
    if (errors.length > 0) throw new AggregateError(errors, "stopping the shared servers failed");
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
  // When root runs PostgreSQL as another user, that user's data is also in this directory.
  await chmod(dataDir, 0o755);
  const { url, close } = await startEmbedded({ dataDir, log: { info: () => undefined }, fsync: false });
  releases.push(close);
  return url;
}

/** PostgreSQL cannot clone a database that has connections, so the pool closes before any test begins. */
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
