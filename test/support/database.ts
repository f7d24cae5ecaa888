/** A separate database for each test file, with Tukio's tables and no rows. */
import { randomUUID } from "node:crypto";
import pg from "pg";
import { beforeAll, inject } from "vitest";
import { type Database, openDatabase } from "../../server/database/pool.ts";

/** Clones the template database. `drop` also closes connections that a test left open. */
export async function createDatabase(): Promise<{ url: string; drop(): Promise<void> }> {
  const { serverUrl, template } = inject("database");
  const name = `test_${randomUUID().replaceAll("-", "")}`;
  await administer(serverUrl, `create database ${name} template ${template} strategy file_copy`);
  return {
    url: urlOf(serverUrl, name),
    drop: () => administer(serverUrl, `drop database ${name} with (force)`),
  };
}

/** Runs one statement outside a transaction, as `create database` requires. */
export async function administer(serverUrl: string, statement: string): Promise<void> {
  const client = new pg.Client(serverUrl);
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}

/** The URL of another database on the same server. */
export function urlOf(serverUrl: string, database: string): string {
  const url = new URL(serverUrl);
  url.pathname = `/${database}`;
  return url.href;
}

export interface FileDatabase {
  readonly url: string;
  readonly database: Database;
}

/** Opens a database before the tests of a file, and drops it after them. Call it at the top level of the file. */
export function useDatabase(): FileDatabase {
  let opened: FileDatabase | undefined;
  const use = (): FileDatabase => {
    if (!opened) throw new Error("the database is open only in tests");
    return opened;
  };
  beforeAll(async () => {
    const { url, drop } = await createDatabase();
    opened = { url, database: openDatabase(url, () => undefined) };
    return async () => {
      await opened?.database.close();
      await drop();
    };
  });
  return {
    get url() {
      return use().url;
    },
    get database() {
      return use().database;
    },
  };
}
