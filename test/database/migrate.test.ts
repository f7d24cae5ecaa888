/** Bringing a database to this code's schema, on real PostgreSQL, from nothing and from other versions. */
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

/** A database with nothing in it, unlike the clones that other tests get. */
async function createEmptyDatabase(): Promise<string> {
  const { serverUrl } = inject("database");
  const name = `empty_${randomUUID().replaceAll("-", "")}`;
  await administer(serverUrl, `create database ${name} template template0`);
  onTestFinished(() => administer(serverUrl, `drop database ${name} with (force)`));
  return urlOf(serverUrl, name);
}

/** Pools as a process has them. */
function open(url: string): Database {
  const database = openDatabase(url, () => undefined);
  onTestFinished(database.close);
  return database;
}

/** A session beside the ones that migrate, without their time limits. */
async function connect(url: string): Promise<pg.Client> {
  const client = new pg.Client(url);
  await client.connect();
  onTestFinished(() => client.end());
  return client;
}

/** Makes whoever migrates wait: a table of the same name as the first one is being made, until `release`. */
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

/** Every relation, function, column and constraint of ours, with the transaction that last touched it. */
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

/** Opens an order and lets it fail; an insert into every table that this fills. */
async function useStore(database: Database): Promise<string> {
  const store = createOrderStore({ database, announce: () => undefined, amountlessProviders: [] });
  const draft = draftOf({ idempotencyKey: randomUUID() });
  const { payment } = await store.open(draft);
  const webhook = { provider: "daraja", proof: "secret", headers: {}, body: Buffer.from("{}") } as const;
  await store.advance(payment?.id ?? "", failed({ reference: "ws_1" }), webhook);
  return draft.orderId;
}

/** What must be true of a pool that was used: nothing of it is still taken. */
const isIdle = ({ pool }: Database): boolean => pool.idleCount === pool.totalCount && pool.waitingCount === 0;

describe("an empty database", () => {
  it("gets everything that orders need, and the version", async () => {
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

  it("migrated twice is not touched the second time", async () => {
    const database = open(await createEmptyDatabase());
    await migrate(database.pool);
    await useStore(database);
    const before = [await catalogOf(database), await rowsOf(database)];
    await migrate(database.pool);
    expect([await catalogOf(database), await rowsOf(database)]).toEqual(before);
    expect(await versionsOf(database)).toEqual([schemaVersion]);
  });

  it("migrated by ten processes at once is migrated by one of them, and all go on", async () => {
    const url = await createEmptyDatabase();
    const processes = Array.from({ length: 10 }, () => open(url));
    const held = await holdMigration(url);
    const migrating = Promise.allSettled(processes.map(({ pool }) => migrate(pool)));
    await held.waiters(10);
    await held.release();
    expect(await migrating).toEqual(processes.map(() => ({ status: "fulfilled", value: undefined })));
    for (const database of processes) {
      expect(await versionsOf(database)).toEqual([schemaVersion]);
      await useStore(database);
    }
    const [database] = processes;
    if (!database) throw new Error("there are ten");
    // One transaction made all of it: nobody applied the file a second time.
    const { tukio_schema: _, ...touched } = await catalogOf(database);
    expect(new Set(Object.values(touched)).size).toBe(1);
  });

  it("may take longer to migrate, or wait longer for another process, than any other statement", async () => {
    const url = await createEmptyDatabase();
    const database = open(url);
    const held = await holdMigration(url);
    const lent: pg.PoolClient[] = [];
    database.pool.on("acquire", (client) => lent.push(client));
    const migrating = migrate(database.pool);
    await held.waiters(1);
    const silentMs = () => lent.map(({ connection }) => (connection.stream as Socket).timeout);
    expect(silentMs()).toEqual([0]);
    await held.release();
    await migrating;
    expect(silentMs()).toEqual([6_000]);
    expect(await versionsOf(database)).toEqual([schemaVersion]);
  });
});

describe("a database of a newer version", () => {
  it("is refused with both versions, and nothing of it changes", async () => {
    const database = open(await createEmptyDatabase());
    await migrate(database.pool);
    await useStore(database);
    const newer = schemaVersion + 1;
    await database.pool.query("update tukio_schema set version = $1", [newer]);
    // As a newer schema may have it: what this code's file would make is not there.
    await database.pool.query("drop index order_status; drop function iso(timestamptz)");
    const before = [await catalogOf(database), await rowsOf(database)];
    for (let times = 0; times < 2; times += 1) {
      await expect(migrate(database.pool)).rejects.toThrow(
        `The database has schema version ${newer}, this code knows ${schemaVersion}. Run a newer Tukio, or another database.`,
      );
    }
    expect([await catalogOf(database), await rowsOf(database)]).toEqual(before);
    expect(await versionsOf(database)).toEqual([newer]);
    expect(isIdle(database)).toBe(true);
  });
});

describe("a database of an older version", () => {
  it("gets the file applied again and keeps every row", async () => {
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

/** What statements can tell of a schema: columns in no order, for a column that was added later is the last. */
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

  it("are as they landed: a database that has one never gets it again", () => {
    const sums = migrations.map((name) =>
      createHash("sha256")
        .update(fileOf(`migration/${name}`))
        .digest("hex"),
    );
    expect(sums).toEqual([
      "1a39870dca674038faf4f3306d4a51e00d8a88f13731d1aed8b2e73868664e47",
      "5f0718c6de9ff190570861b8b30590c258397b1889c31d8fee90e4c754f0271d",
      "3ef55f864526744f0eb2063c49d16df58a32d8a79fd713a75a60e612eaf0b634",
    ]);
  });

  it("make what schema.sql says", async () => {
    const [migrated, written] = [open(await createEmptyDatabase()), open(await createEmptyDatabase())];
    await migrate(migrated.pool);
    await written.pool.query(fileOf("schema.sql"));
    expect(await structureOf(migrated)).toEqual(await structureOf(written));
  });

  // As commits 6d43135^, 6d43135 and 057cf99 made them. Two schemas once had the number 5.
  it.each([
    ["version-4", 4],
    ["version-5-first", 5],
    ["version-5", 5],
  ])("bring a database of %s to the same, and keep its rows", async (name, version) => {
    const [old, written] = [open(await createEmptyDatabase()), open(await createEmptyDatabase())];
    await written.pool.query(fileOf("schema.sql"));
    await old.pool.query(fileOf(`test/fixture/schema/${name}.sql`));
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
    // The first schema of that number had a function more, which its nodes may still call.
    const structure = (await structureOf(old)).filter((line) => !line.includes("FUNCTION public.tried("));
    expect(structure).toEqual(await structureOf(written));
    expect(await versionsOf(old)).toEqual([schemaVersion]);
    expect((await rowsOf(old)).payment).toMatchObject([{ id: paymentId, order_uuid: id, status: "failed" }]);
    const store = createOrderStore({ database: old, announce: () => undefined, amountlessProviders: [] });
    expect((await store.open(draftOf({ orderId: "ORD-1" }))).event).toMatchObject({ version: 2, status: "pending" });
  });
});

describe("a database of version 2", () => {
  it("gets the index by which a day of payments is read", async () => {
    const database = open(await createEmptyDatabase());
    await migrate(database.pool);
    await database.pool.query("drop index payment_started; update tukio_schema set version = 2");
    await migrate(database.pool);
    expect(await versionsOf(database)).toEqual([schemaVersion]);
    expect(await catalogOf(database)).toHaveProperty("relation payment_started");
  });
});

describe("a migration that fails", () => {
  it("leaves nothing half-done, and works once what was wrong is gone", async () => {
    const database = open(await createEmptyDatabase());
    // In the middle of the file: the order's table is made before, and a view cannot have an index.
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

  it("of an older version leaves that version as it was", async () => {
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

  it("is tried again when it and a statement of a node at work wait for each other", async () => {
    const url = await createEmptyDatabase();
    const { pool } = open(url);
    await migrate(pool);
    // The first file locks tables.
    await pool.query("update tukio_schema set version = 5");
    const client = await connect(url);
    // So it is the migration that is given up.
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
