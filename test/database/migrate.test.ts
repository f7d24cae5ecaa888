/** Migration of empty databases and of other schema versions, on a real PostgreSQL. */
import { createHash, randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import type { Socket } from "node:net";
import pg from "pg";
import { describe, expect, inject, it, onTestFinished, vi } from "vitest";
import { migrate, migrations, schemaVersion } from "../../server/database/migrate.ts";
import { type Database, openDatabase } from "../../server/database/pool.ts";
import { createOrderStore } from "../../server/order/store.ts";
import { administer, urlOf } from "../support/database.ts";
import { draftOf, failed } from "../support/store.ts";

/** Creates a database without a schema, unlike the clones of other tests. */
async function createEmptyDatabase(): Promise<string> {
  const { serverUrl } = inject("database");
  const name = `empty_${randomUUID().replaceAll("-", "")}`;
  await administer(serverUrl, `create database ${name} template template0`);
  onTestFinished(() => administer(serverUrl, `drop database ${name} with (force)`));
  return urlOf(serverUrl, name);
}

/** Opens the pools of one process. */
function open(url: string): Database {
  const database = openDatabase(url, () => undefined);
  onTestFinished(database.close);
  return database;
}

/** Opens a connection without the time limits of the pools. */
async function connect(url: string): Promise<pg.Client> {
  const client = new pg.Client(url);
  await client.connect();
  onTestFinished(() => client.end());
  return client;
}

/** Blocks every migration until `release`: an open transaction creates a table with the name of its first table. */
async function holdMigration(
  url: string,
): Promise<{ waiters(count: number): Promise<void>; release(): Promise<void> }> {
  const client = await connect(url);
  await client.query("begin; create table tukio_schema (version int not null)");
  return {
    async waiters(count) {
      for (let waiting = 0; waiting < count; ) {
        const { rows } = await client.query(
          "select count(*)::int as waiting from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
        );
        waiting = rows[0].waiting;
        await client.query("select pg_stat_clear_snapshot()");
      }
    },
    async release() {
      await client.query("rollback");
    },
  };
}

/** Every relation, function, column and constraint of the schema, with the transaction that last changed it. */
async function catalogOf({ pool }: Database): Promise<Record<string, string>> {
  const { rows } = await pool.query<{ name: string; touched: string }>(`
    select 'relation ' || relname as name, xmin::text as touched from pg_class where relnamespace = 'public'::regnamespace
    union all select 'function ' || proname, xmin::text from pg_proc where pronamespace = 'public'::regnamespace
    union all select 'column ' || attrelid::regclass || '.' || attname, a.xmin::text
              from pg_attribute a join pg_class c on c.oid = attrelid where relnamespace = 'public'::regnamespace
    union all select 'constraint ' || conname, xmin::text from pg_constraint where connamespace = 'public'::regnamespace`);
  return Object.fromEntries(rows.map(({ name, touched }) => [name, touched]));
}

/** Every row of every table. */
async function rowsOf({ pool }: Database): Promise<Record<string, unknown[]>> {
  const tables = ["order", "payment", "receipt", "event", "webhook", "idempotency", "credential"];
  const entries = tables.map(async (table) => {
    const { rows } = await pool.query(`select to_jsonb(t) as row from "${table}" t order by to_jsonb(t)::text`);
    return [table, rows.map(({ row }) => row)];
  });
  return Object.fromEntries(await Promise.all(entries));
}

const versionsOf = async ({ pool }: Database): Promise<number[]> =>
  (await pool.query<{ version: number }>("select version from tukio_schema")).rows.map(({ version }) => version);

/** Opens an order and lets its payment fail, which inserts into most tables. */
async function useStore(database: Database): Promise<string> {
  const store = createOrderStore({ database, announce: () => undefined, amountlessProviders: [] });
  const draft = draftOf({ idempotencyKey: randomUUID() });
  const { payment } = await store.open(draft);
  const webhook = { provider: "daraja", proof: "secret", headers: {}, body: Buffer.from("{}") } as const;
  await store.advance(payment?.id ?? "", failed({ reference: "ws_1" }), webhook);
  return draft.orderId;
}

/** Whether no connection of the pool is in use. */
const isIdle = ({ pool }: Database): boolean => pool.idleCount === pool.totalCount && pool.waitingCount === 0;

describe("migrate", () => {
  it("creates the whole schema in an empty database, with its version", async () => {
    const database = open(await createEmptyDatabase());
    await migrate(database.pool);
    expect(await versionsOf(database)).toEqual([schemaVersion]);
    await useStore(database);
    const counts = Object.entries(await rowsOf(database)).map(([table, rows]) => [table, rows.length]);
    expect(Object.fromEntries(counts)).toEqual({
      order: 1,
      payment: 1,
      receipt: 0,
      event: 2,
      webhook: 1,
      idempotency: 1,
      credential: 0,
    });
    expect(isIdle(database)).toBe(true);
  });

  it("changes nothing in a database of the current version", async () => {
    const database = open(await createEmptyDatabase());
    await migrate(database.pool);
    await useStore(database);
    const before = [await catalogOf(database), await rowsOf(database)];
    await migrate(database.pool);
    expect([await catalogOf(database), await rowsOf(database)]).toEqual(before);
    expect(await versionsOf(database)).toEqual([schemaVersion]);
  });

  it("runs once when ten processes start it at the same time, and all of them succeed", async () => {
    const url = await createEmptyDatabase();
    const processes = Array.from({ length: 10 }, () => open(url));
    const held = await holdMigration(url);
    const migrating = Promise.allSettled(processes.map(({ pool }) => migrate(pool)));
    await held.waiters(10);
    await held.release();
    expect(await migrating).toEqual(processes.map(() => ({ status: "fulfilled", value: schemaVersion })));
    for (const database of processes) {
      expect(await versionsOf(database)).toEqual([schemaVersion]);
      await useStore(database);
    }
    const [database] = processes;
    if (!database) throw new Error("there are ten");
    // One transaction created everything, so no file was applied twice.
    const { tukio_schema: _, ...touched } = await catalogOf(database);
    expect(new Set(Object.values(touched)).size).toBe(1);
  });

  it("has no statement timeout, so that it can wait for another process", async () => {
    const url = await createEmptyDatabase();
    const database = open(url);
    const held = await holdMigration(url);
    const acquired: pg.PoolClient[] = [];
    database.pool.on("acquire", (client) => acquired.push(client));
    const migrating = migrate(database.pool);
    await held.waiters(1);
    const timeoutsMs = () => acquired.map(({ connection }) => (connection.stream as Socket).timeout);
    expect(timeoutsMs()).toEqual([0]);
    await held.release();
    await migrating;
    expect(timeoutsMs()).toEqual([6_000]);
    expect(await versionsOf(database)).toEqual([schemaVersion]);
  });

  it("needs no right to create tables for a database of the current version, and one to read for a newer one", async () => {
    const url = await createEmptyDatabase();
    const database = open(url);
    await migrate(database.pool);
    const role = `reader_${randomUUID().replaceAll("-", "")}`;
    await database.pool.query(`create role ${role} login password 'pw'; grant select on tukio_schema to ${role}`);
    onTestFinished(async () => void (await database.pool.query(`drop owned by ${role}; drop role ${role}`)));
    const limited = open(Object.assign(new URL(url), { username: role, password: "pw" }).href);
    await migrate(limited.pool);
    await database.pool.query("update tukio_schema set version = version + 1, oldest = version + 1");
    await expect(migrate(limited.pool)).rejects.toThrow("Run a newer Tukio");
    await database.pool.query("update tukio_schema set version = version - 2");
    await expect(migrate(limited.pool)).rejects.toThrow("permission denied");
  });

  it("refuses a database of a newer version, names both versions, and changes nothing", async () => {
    const database = open(await createEmptyDatabase());
    await migrate(database.pool);
    await useStore(database);
    const newer = schemaVersion + 1;
    await database.pool.query("update tukio_schema set version = $1, oldest = $1", [newer]);
    // A newer schema may lack what this code's files would create.
    await database.pool.query("drop index order_status; drop function iso(timestamptz)");
    const before = [await catalogOf(database), await rowsOf(database)];
    for (let times = 0; times < 2; times += 1) {
      await expect(migrate(database.pool)).rejects.toThrow(
        `The database has schema version ${newer}, this version of Tukio supports up to ${schemaVersion}. Run a newer Tukio, or use another database.`,
      );
    }
    expect([await catalogOf(database), await rowsOf(database)]).toEqual(before);
    expect(await versionsOf(database)).toEqual([newer]);
    expect(isIdle(database)).toBe(true);
  });

  it("accepts a database that the next release has migrated and that supports this one, and changes nothing", async () => {
    const database = open(await createEmptyDatabase());
    expect(await migrate(database.pool)).toBe(schemaVersion);
    const newer = schemaVersion + 1;
    await database.pool.query("update tukio_schema set version = $1, oldest = $2", [newer, schemaVersion]);
    await database.pool.query('alter table "order" add column of_next_release int not null default 1');
    const before = await catalogOf(database);
    expect(await migrate(database.pool)).toBe(newer);
    expect(await catalogOf(database)).toEqual(before);
    await useStore(database);
    // A release that removed what this one needs raises the oldest version.
    await database.pool.query("update tukio_schema set oldest = $1", [newer]);
    await expect(migrate(database.pool)).rejects.toThrow("Run a newer Tukio");
    // So does the missing column of a release before this one.
    await database.pool.query("alter table tukio_schema drop column oldest");
    await expect(migrate(database.pool)).rejects.toThrow("Run a newer Tukio");
  });

  it("applies the files to a database of an older version, and keeps every row", async () => {
    const database = open(await createEmptyDatabase());
    await migrate(database.pool);
    const orderId = await useStore(database);
    const rows = await rowsOf(database);
    await database.pool.query("update tukio_schema set version = 0");
    await database.pool.query("drop index order_status; drop table credential");
    await migrate(database.pool);
    expect(await versionsOf(database)).toEqual([schemaVersion]);
    expect(await rowsOf(database)).toEqual(rows);
    expect(await catalogOf(database)).toMatchObject({
      "relation order_status": expect.any(String),
      "relation credential": expect.any(String),
    });
    const store = createOrderStore({ database, announce: () => undefined, amountlessProviders: [] });
    expect((await store.open(draftOf({ orderId }))).event).toMatchObject({ orderId, version: 3, status: "pending" });
  });
});

const fileOf = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), "utf8");

/** The schema as lines of text. Columns are sorted, because a migration adds a column at the end of its table. */
async function structureOf({ pool }: Database): Promise<string[]> {
  const { rows } = await pool.query<{ line: string }>(`
    select concat_ws(' ', 'column', attrelid::regclass, attname, format_type(atttypid, atttypmod),
             case when attnotnull then 'not null' end, attidentity, pg_get_expr(adbin, adrelid)) as line
      from pg_attribute join pg_class c on c.oid = attrelid left join pg_attrdef on adrelid = attrelid and adnum = attnum
      where relnamespace = 'public'::regnamespace and relkind = 'r' and attnum > 0 and not attisdropped
        and relname <> 'tukio_schema'
    union all select concat_ws(' ', 'constraint', conrelid::regclass, conname, replace(pg_get_constraintdef(oid), ' NOT VALID', ''))
      from pg_constraint where connamespace = 'public'::regnamespace and conrelid is distinct from to_regclass('tukio_schema')
    union all select pg_get_indexdef(indexrelid) from pg_index join pg_class c on c.oid = indrelid
      where relnamespace = 'public'::regnamespace
    union all select pg_get_functiondef(oid) from pg_proc where pronamespace = 'public'::regnamespace`);
  return rows.map(({ line }) => line).toSorted();
}

describe("the migrations", () => {
  it("are numbered without a gap", () => {
    expect(migrations).toEqual(migrations.map((_, index) => `${String(index + 1).padStart(4, "0")}.sql`));
  });

  it("have not changed since their release, because a database never applies one twice", () => {
    const sums = migrations.map((name) =>
      createHash("sha256")
        .update(fileOf(`migration/${name}`))
        .digest("hex"),
    );
    expect(sums).toEqual([
      "1a39870dca674038faf4f3306d4a51e00d8a88f13731d1aed8b2e73868664e47",
      "5f0718c6de9ff190570861b8b30590c258397b1889c31d8fee90e4c754f0271d",
      "3ef55f864526744f0eb2063c49d16df58a32d8a79fd713a75a60e612eaf0b634",
      "8a991085940320077c687ebe28ca41668cd47093086a92a2e8ce0b9edd0d054d",
      "1e785c794bc2b10ff68d3da55619a59291daa8249da368b89d98ec4a796db2eb",
      "c1bf9e0cfa631531bd50695cd52e7a66a8ca93144bfff2dd255ddf6f869c538b",
      "d848f87707325712e45527521b93a6191423f2741b299f3201155dff846075e8",
      "44ba3fa3433bfb680949b03e7789708b35afaf466fd5176623e9695c9fe1946a",
      "bf42af2c7e4c0f748274f4ee238de201a7edbad60538f7390ad6a90e030a8256",
      "def78982fd71fcfe507a586dc5cac4431a26489460d83b13dda24ae96ab6fe7c",
      "e03325c1b8481e76025066dc3c6465dbf2a20505910af0f615f52f38132e98c9",
      "e83631697492c4faec433df03909bbf8c199aa2499980e03aa4168b44fe3559f",
      "0fbe0e7b3654bac65cf69d358e5babcb1ae532cdd9393e8a31fc6caab69a7b0c",
      "8bb2212de83a30ece38afee75e18ea72f4e8afee055f4b18c92bd507a83674ef",
      "196f91bb1e94afeddc2cc1fc2ac63fa1f93cedf6bc9a5714cb872cbb00f34821",
      "2ea9ce14623917eb30f6557ca2d4a031f67e65b93fc62bae4f8281b9d3963cad",
      "a74b7e8191628a0dfd893fe1440be868b98aeead7802589cad31a0e4e296bfcc",
      "41742a004512c64b0f7428027b184bbb9af7fd7b76f4f557df6e32f813e1b27d",
      "7a00b41294a571d5512f809fe749a109a4da2f5cbbd86507c58599c25319829a",
      "70775d9a25cc085b43d617489d7f5f71b4c3e5a6af298b3a3959d88561675874",
      "96f9d4232e870777df59a39afa6cb7ffa4f775d0802001e4bee09dc4b166d96d",
      "3249feb3c4ff62a3bf96b75af2886e121e7c01e3772247945491c9ea428461f0",
    ]);
  });

  it("create the schema of schema.sql", async () => {
    const [migrated, written] = [open(await createEmptyDatabase()), open(await createEmptyDatabase())];
    await migrate(migrated.pool);
    await written.pool.query(fileOf("schema.sql"));
    expect(await structureOf(migrated)).toEqual(await structureOf(written));
  });

  // The schemas of commits 6d43135^, 6d43135 and 057cf99. Two schemas have the version 5.
  it.each<[name: string, version: number]>([
    ["version-4", 4],
    ["version-5-first", 5],
    ["version-5", 5],
    // Every later version is its files.
    ...migrations.slice(0, -1).map((name, index) => [name, index + 6] satisfies [string, number]),
  ])("migrate a database of %s to the same schema, and keep its rows", async (name, version) => {
    const [old, written] = [open(await createEmptyDatabase()), open(await createEmptyDatabase())];
    await written.pool.query(fileOf("schema.sql"));
    const isFile = name.endsWith(".sql");
    const made = isFile
      ? migrations.slice(0, version - 5).map((file) => `migration/${file}`)
      : [`test/fixture/schema/${name}.sql`];
    for (const file of made) await old.pool.query(fileOf(file));
    await old.pool.query("create table tukio_schema (version int not null)");
    await old.pool.query("insert into tukio_schema values ($1)", [version]);
    const [id, paymentId] = [randomUUID(), randomUUID()];
    await old.pool.query(
      `insert into "order" (id, order_id, amount_minor, currency, version, status, attempt, payment, opened_at, changed_at)
       values ($1, 'ORD-1', 15000, 'KES', 1, 'failed', 1, '{}', now(), now())`,
      [id],
    );
    await old.pool.query(
      `insert into payment (id, order_uuid, attempt, provider, live, amount_minor, currency, status, started_at, expires_at)
       values ($1, $2, 1, 'daraja', false, 15000, 'KES', 'failed', now(), now())`,
      [paymentId, id],
    );
    await migrate(old.pool);
    // The first schema of version 5 has one more function, which its nodes may still call.
    const structure = (await structureOf(old)).filter((line) => !line.includes("FUNCTION public.tried("));
    expect(structure).toEqual(await structureOf(written));
    expect(await versionsOf(old)).toEqual([schemaVersion]);
    expect((await rowsOf(old)).payment).toMatchObject([{ id: paymentId, order_uuid: id, status: "failed" }]);
    const store = createOrderStore({ database: old, announce: () => undefined, amountlessProviders: [] });
    expect((await store.open(draftOf({ orderId: "ORD-1" }))).event).toMatchObject({ version: 2, status: "pending" });
  });
});

describe("a database of version 2", () => {
  it("gets the index for the payments of a day", async () => {
    const database = open(await createEmptyDatabase());
    await migrate(database.pool);
    await database.pool.query("drop index payment_provider; update tukio_schema set version = 2");
    await migrate(database.pool);
    expect(await versionsOf(database)).toEqual([schemaVersion]);
    expect(await catalogOf(database)).toHaveProperty("relation payment_provider");
  });
});

describe("a failed migration", () => {
  it("changes nothing, and succeeds once the cause is removed", async () => {
    const database = open(await createEmptyDatabase());
    // Fails in the middle of the file: after the table of orders, because a view cannot have an index.
    await database.pool.query("create view payment as select 'a' as provider, 'b' as reference, now() as check_at");
    const before = await catalogOf(database);
    await expect(migrate(database.pool)).rejects.toThrow(/payment/);
    expect(await catalogOf(database)).toEqual(before);
    expect(isIdle(database)).toBe(true);
    await database.pool.query("drop view payment");
    await migrate(database.pool);
    await useStore(database);
    expect(await versionsOf(database)).toEqual([schemaVersion]);
  });

  it("leaves an older version unchanged", async () => {
    const database = open(await createEmptyDatabase());
    await migrate(database.pool);
    await useStore(database);
    await database.pool.query("update tukio_schema set version = 0");
    await database.pool.query("drop index order_status; drop table credential");
    await database.pool.query("create view credential as select 1 as provider; alter table webhook drop received_at");
    const before = await catalogOf(database);
    await expect(migrate(database.pool)).rejects.toThrow(/received_at/);
    expect(await catalogOf(database)).toEqual(before);
    expect(await versionsOf(database)).toEqual([0]);
  });

  it("is repeated after a deadlock with a statement of another node", async () => {
    const url = await createEmptyDatabase();
    const { pool } = open(url);
    await migrate(pool);
    // The first file locks tables.
    await pool.query("update tukio_schema set version = 5");
    const client = await connect(url);
    // PostgreSQL then ends the migration and not this transaction.
    await client.query("set deadlock_timeout = '1h'; begin; lock table event in row exclusive mode");
    const migrating = migrate(pool);
    await vi.waitUntil(async () => {
      const { rows } = await client.query("select from pg_locks where not granted and relation = 'event'::regclass");
      return rows.length > 0;
    });
    await client.query("lock table payment in row exclusive mode");
    await client.query("commit");
    await migrating;
    expect((await pool.query("select version from tukio_schema")).rows).toEqual([{ version: schemaVersion }]);
  });
});
