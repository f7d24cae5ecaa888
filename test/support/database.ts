/** A separate database for each test file, with Tukio's tables and no rows. */
import { randomUUID } from "node:crypto";
import pg from "pg";
import { inject } from "vitest";

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
