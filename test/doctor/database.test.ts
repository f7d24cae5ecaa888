/** What the doctor says about a PostgreSQL whose settings or state endanger payments. */
import pg from "pg";
import { afterEach, beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { migrate, schemaVersion } from "../../server/database/migrate.ts";
import { openDatabase } from "../../server/database/pool.ts";
import { databaseCheck } from "../../server/doctor/database.ts";
import { administer } from "../support/database.ts";
import { startPostgres, type TestPostgres } from "../support/postgres.ts";

// 60 s, because PostgreSQL and the nodes start slowly on a busy machine.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

let postgres: TestPostgres;
let client: pg.Client;
beforeAll(async () => {
  postgres = await startPostgres();
  const database = openDatabase(postgres.url, () => undefined);
  await migrate(database.pool);
  await database.close();
  client = new pg.Client(postgres.url);
  await client.connect();
  return async () => {
    await client.end();
    await postgres.close();
  };
});

const run = async (...statements: string[]): Promise<void> => {
  for (const statement of [...statements, "select pg_reload_conf()"]) await administer(postgres.url, statement);
};

afterEach(() =>
  run("alter system reset all", "alter role tukio reset all", "alter database postgres connection limit -1"),
);

async function check(url = postgres.url, options: { isProduction?: boolean; accepted?: ["fsync"] } = {}) {
  const database = openDatabase(url, () => undefined);
  onTestFinished(database.close);
  const { id, run: find } = databaseCheck({ database, accepted: [], isProduction: true, ...options });
  const found = [await find(new AbortController().signal)].flat();
  return Object.fromEntries(found.map(({ part, ...one }) => [part === undefined ? id : `${id}.${part}`, one]));
}

/** Waits until new connections have the setting. */
const untilSet = (name: string, value: string): Promise<unknown> =>
  vi.waitUntil(async () => {
    const one = new pg.Client(postgres.url);
    await one.connect();
    const { rows } = await one.query("select current_setting($1) as value", [name]);
    await one.end();
    return rows[0].value === value;
  });

describe("the check of PostgreSQL", () => {
  it("finds nothing wrong with the defaults", async () => {
    const found = await check();
    for (const one of Object.values(found)) expect(one).toMatchObject({ status: "ok" });
    expect(found.database?.message).toContain(`schema version ${schemaVersion}`);
  });

  it("reports fsync that is off: an error in production, a warning elsewhere, fine if it is vouched for", async () => {
    const unsafe = await startPostgres({ fsync: false });
    onTestFinished(unsafe.close);
    const database = openDatabase(unsafe.url, () => undefined);
    await migrate(database.pool);
    await database.close();
    expect((await check(unsafe.url))["database.durability"]).toMatchObject({
      status: "error",
      message: expect.stringContaining("fsync is off"),
      action: expect.stringContaining("ALTER SYSTEM SET fsync = on"),
    });
    expect((await check(unsafe.url, { isProduction: false }))["database.durability"]).toMatchObject({
      status: "warning",
    });
    expect((await check(unsafe.url, { accepted: ["fsync"] }))["database.durability"]).toMatchObject({
      status: "ok",
      message: expect.stringContaining("You vouch for fsync."),
    });
  });

  it("reports synchronous_commit that is off, and standbys that are missing", async () => {
    await run("alter role tukio set synchronous_commit = off");
    expect((await check())["database.durability"]).toMatchObject({
      status: "warning",
      message: expect.stringContaining("synchronous_commit is off"),
    });
    await run("alter system set synchronous_standby_names = 'standby'");
    await untilSet("synchronous_standby_names", "standby");
    expect((await check())["database.standbys"]).toMatchObject({
      status: "error",
      message: expect.stringContaining("no synchronous standby is connected"),
    });
    // Before the next commit, which would wait for the standby.
    await run("alter system reset all");
    await untilSet("synchronous_standby_names", "");
  });

  it("reports autovacuum that is off", async () => {
    await run("alter system set autovacuum = off");
    await untilSet("autovacuum", "off");
    expect((await check())["database.vacuum"]).toMatchObject({ status: "error" });
    await run("alter system reset all");
    await untilSet("autovacuum", "on");
    expect((await check())["database.vacuum"]).toMatchObject({ status: "ok" });
  });

  it("reports too few connections for a node", async () => {
    await run("alter database postgres connection limit 20");
    expect((await check())["database.connections"]).toMatchObject({
      status: "error",
      message: "A node uses up to 28 connections, and the role or the database allows 20.",
    });
  });

  it("reports another schema", async () => {
    await client.query("update tukio_schema set version = version - 1");
    expect((await check()).database).toMatchObject({
      status: "error",
      message: expect.stringContaining("this node needs"),
    });
    await client.query("update tukio_schema set version = version + 2");
    expect((await check()).database).toMatchObject({ status: "warning" });
    await client.query("update tukio_schema set version = version - 1");
  });

  it("says what is wrong with the login", async () => {
    const other = (change: Partial<URL>): string => Object.assign(new URL(postgres.url), change).href;
    expect((await check(other({ pathname: "/nowhere" }))).database).toMatchObject({
      status: "error",
      message: expect.stringContaining("has no such database"),
    });
    expect((await check(other({ port: "1" }))).database).toMatchObject({
      status: "error",
      message: expect.stringContaining("does not answer (ECONNREFUSED)"),
    });
  });

  it("leaves no connection behind", async () => {
    await check();
    const { rows } = await client.query(
      "select count(*)::int as count from pg_stat_activity where application_name = 'tukio doctor'",
    );
    expect(rows[0].count).toBeLessThanOrEqual(1);
    await vi.waitUntil(async () => {
      const again = await client.query("select from pg_stat_activity where application_name = 'tukio doctor'");
      return again.rowCount === 0;
    });
  });
});
