/** The checks of PostgreSQL: its version and schema, the settings that keep commits, connections, vacuum, standbys, and its clock. */
import type pg from "pg";
import { type StorageSetting, storageSettings } from "../database/durability.ts";
import { schemaVersion } from "../database/migrate.ts";
import { connectionsPerNode, type Database, sqlState } from "../database/pool.ts";
import { type Check, error, type Finding, ok, type Part, warning } from "./check.ts";
import { codeOf, countText, listText, secondsText } from "./text.ts";

export interface DatabaseCheckOptions {
  database: Pick<Database, "connectAlone" | "pool">;
  /** The settings that the operator vouches for. */
  accepted: readonly StorageSetting[];
  isProduction: boolean;
}

/** One row, of catalogs only. The figures of other sessions need the role pg_monitor; without it they are null. */
export const databaseStatement = `
  select current_setting('server_version_num')::int as version, current_setting('server_version') as "versionText",
    (select version from tukio_schema) as schema,
    current_setting('fsync') = 'on' as "fsync", current_setting('full_page_writes') = 'on' as "fullPageWrites",
    (select reset_val from pg_settings where name = 'synchronous_commit') as "synchronousCommit",
    current_setting('autovacuum') = 'on' and current_setting('track_counts') = 'on' as autovacuum,
    current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
      - coalesce(current_setting('reserved_connections', true)::int, 0) as "connectionsMax",
    (select count(*)::int from pg_stat_activity 
      where datid is not null and coalesce(backend_type, 'client backend') = 'client backend') as connections,
    (select least(nullif(rolconnlimit, -1), nullif(datconnlimit, -1)) from pg_roles, pg_database
      where rolname = current_user and datname = current_database()) as "ownLimit",
    pg_is_in_recovery() as "isStandby", current_setting('synchronous_standby_names') as "synchronousNames",
    (select count(*)::int from pg_stat_replication where state = 'streaming') as standbys,
    (select count(*)::int from pg_stat_replication where sync_state in ('sync', 'quorum')) as "synchronousStandbys",
    (select max(extract(epoch from replay_lag))::float8 from pg_stat_replication) as "lagS",
    (select age(datfrozenxid) from pg_database where datname = current_database())::float8 as "xidAge",
    (select max(extract(epoch from now() - xact_start))::float8 from pg_stat_activity
      where xact_start is not null and backend_type = 'client backend' and pid <> pg_backend_pid()) as "oldestTransactionS"`;

export interface DatabaseFacts {
  version: number;
  versionText: string;
  schema: number | null;
  fsync: boolean;
  fullPageWrites: boolean;
  synchronousCommit: string;
  autovacuum: boolean;
  connectionsMax: number;
  connections: number;
  ownLimit: number | null;
  isStandby: boolean;
  synchronousNames: string;
  standbys: number;
  synchronousStandbys: number;
  lagS: number | null;
  xidAge: number;
  oldestTransactionS: number | null;
}

export const databaseCheck = (options: DatabaseCheckOptions): Check => ({
  id: "database",
  name: "PostgreSQL",
  async run(signal) {
    let facts: DatabaseFacts;
    try {
      facts = await read(options.database, signal);
    } catch (cause) {
      return unreachable(cause);
    }
    return [
      server(facts),
      { part: "durability", name: "Durability", ...durability(facts, options) },
      { part: "connections", name: "Connections", ...connections(facts, options.database.pool) },
      { part: "vacuum", name: "Vacuum", ...vacuum(facts) },
      { part: "standbys", name: "Standbys", ...standbys(facts) },
    ] satisfies Part[];
  },
});

/** On a connection of its own, because a busy pool must not hide why it is busy. */
async function read(database: DatabaseCheckOptions["database"], signal: AbortSignal): Promise<DatabaseFacts> {
  const client: pg.Client = await database.connectAlone("tukio doctor");
  const end = (): void => void client.end().catch(() => undefined);
  signal.addEventListener("abort", end, { once: true });
  try {
    const { rows } = await client.query<DatabaseFacts>(databaseStatement);
    if (!rows[0]) throw new Error("the statement always returns one row");
    return rows[0];
  } finally {
    signal.removeEventListener("abort", end);
    end();
  }
}

/** SQLSTATEs that the operator can do something about. */
const refusals: Readonly<Record<string, [message: string, action: string]>> = {
  "28P01": ["refuses the password", "Correct the password in DATABASE_URL."],
  "28000": ["refuses the login", "Correct the role in DATABASE_URL, or pg_hba.conf."],
  "3D000": ["has no such database", "Correct the database in DATABASE_URL."],
  "53300": ["has no connection left", "Raise max_connections, or end other programs' connections."],
  "42P01": ["has no tables of Tukio", "Look whether DATABASE_URL names the right database."],
  "57P03": ["is starting or shutting down", "Wait, and read its log."],
};

function unreachable(cause: unknown): Finding {
  const [what, action] = refusals[sqlState(cause) ?? ""] ?? [
    `does not answer (${sqlState(cause) ?? codeOf(cause)})`,
    "Look whether PostgreSQL runs, and whether this node reaches the host and port of DATABASE_URL.",
  ];
  return error(`PostgreSQL ${what}. Webhooks go to the spool; no payment can start.`, action);
}

/** 15, because statements use what older versions lack. */
const versionMin = 150_000;

function server({ version, versionText, schema, isStandby }: DatabaseFacts): Finding {
  if (version < versionMin)
    return error(`PostgreSQL has version ${versionText}; Tukio needs 15 or newer.`, "Upgrade PostgreSQL.");
  if (isStandby)
    return error(
      "DATABASE_URL leads to a standby, which takes no writes.",
      "Set DATABASE_URL to the primary, or promote the standby.",
    );
  const versions = `PostgreSQL ${versionText} has schema version ${schema ?? "none"}`;
  if (schema === null || schema < schemaVersion)
    return error(
      `${versions}; this node needs ${schemaVersion}.`,
      "Start a node of this version whose role may change tables: it migrates the database.",
    );
  if (schema > schemaVersion)
    return warning(
      `${versions}; this node is of an older version, which knows ${schemaVersion}.`,
      "Finish the upgrade: restart this node with the new version.",
    );
  return ok(`${versions}, as this node needs.`);
}

function durability(facts: DatabaseFacts, { accepted, isProduction }: DatabaseCheckOptions): Finding {
  const isOn = { fsync: facts.fsync, full_page_writes: facts.fullPageWrites };
  const off = storageSettings.filter((name) => !isOn[name]);
  const refused = off.filter((name) => !accepted.includes(name));
  if (refused.length > 0)
    return (isProduction ? error : warning)(
      `${listText(refused)} ${refused.length === 1 ? "is" : "are"} off: a crash of PostgreSQL's machine loses webhooks that were acknowledged, or the whole database.`,
      `ALTER SYSTEM SET ${refused[0]} = on, then SELECT pg_reload_conf(). If the storage makes it unnecessary, name it in DATABASE_ACCEPT_OFF.`,
    );
  const level = facts.synchronousCommit;
  const commit =
    level === "off"
      ? "synchronous_commit is off on the server; the nodes set it to on for themselves"
      : `synchronous_commit is ${level}`;
  if (level === "off")
    return warning(
      `Commits are on disk when they are acknowledged: ${commit}, which a connection pooler may undo.`,
      "Behind a pooler that shares connections, set synchronous_commit = on for the role.",
    );
  const vouched = off.length > 0 ? ` You vouch for ${listText(off)}.` : "";
  return ok(`Commits are on disk when they are acknowledged: ${commit}.${vouched}`);
}

function connections({ connections: used, connectionsMax, ownLimit }: DatabaseFacts, pool: pg.Pool): Finding {
  const max = Math.min(connectionsMax, ownLimit ?? connectionsMax);
  const need = `A node uses up to ${connectionsPerNode} connections`;
  const limit =
    ownLimit !== null && ownLimit < connectionsMax
      ? "the role or the database allows"
      : "PostgreSQL has for ordinary roles";
  if (max < connectionsPerNode)
    return error(
      `${need}, and ${limit} ${max}.`,
      "Raise max_connections, or the connection limit of the role or the database.",
    );
  if (used > 0.9 * max)
    return warning(
      `${used} of ${max} connections are in use. ${need}.`,
      "Raise max_connections, or find who holds them in pg_stat_activity.",
    );
  if (pool.waitingCount > 0)
    return warning(
      `${countText(pool.waitingCount, "request waits", "requests wait")} for a connection of this node now.`,
      "Look for slow statements in pg_stat_activity; start another node if there are none.",
    );
  return ok(
    `${used} of ${max} connections are in use. ${need}, so that ${countText(Math.floor(max / connectionsPerNode), "node has", "nodes have")} room.`,
  );
}

/** PostgreSQL stops at 2.1 billion; autovacuum begins to freeze at 0.2 billion. */
const xidAgeMax = 1_000_000_000;

/** An hour, because vacuum keeps every row version that has died since then. */
const transactionSMax = 3_600;

function vacuum({ autovacuum, xidAge, oldestTransactionS }: DatabaseFacts): Finding {
  if (!autovacuum)
    return error(
      "autovacuum or track_counts is off: tables grow without end, and erased personal data stays in their files.",
      "ALTER SYSTEM SET autovacuum = on and track_counts = on, then SELECT pg_reload_conf().",
    );
  if (xidAge > xidAgeMax)
    return error(
      `${(xidAge / 1e9).toFixed(1)} billion transactions wait to be frozen; at 2.1 billion PostgreSQL takes no writes.`,
      "Run VACUUM FREEZE, and look what holds autovacuum back: old transactions, replication slots, prepared transactions.",
    );
  if (oldestTransactionS !== null && oldestTransactionS > transactionSMax)
    return warning(
      `A transaction has been open for ${secondsText(oldestTransactionS)}: meanwhile vacuum frees nothing.`,
      "Find it in pg_stat_activity by xact_start, and end it with pg_terminate_backend.",
    );
  return ok("autovacuum is on, and no old transaction holds it back.");
}

/** 30 s, because a failover loses what the standby lacks. */
const lagSMax = 30;

function standbys({ synchronousNames, standbys: count, synchronousStandbys, lagS }: DatabaseFacts): Finding {
  if (synchronousNames !== "" && synchronousStandbys === 0)
    return error(
      "synchronous_standby_names is set, and no synchronous standby is connected: commits wait for one, and payments with them.",
      "Start the standby, or empty synchronous_standby_names and reload.",
    );
  if (count === 0) return ok("No standby is connected: what PostgreSQL's disk loses is only in your backups.");
  const lag = lagS === null ? "" : `, at most ${secondsText(lagS)} behind`;
  const found = `${countText(count, "standby follows", "standbys follow")}${lag}`;
  if ((lagS ?? 0) > lagSMax)
    return warning(
      `${found}: a failover loses what they lack.`,
      "Look at the network and the disk of the standby (pg_stat_replication).",
    );
  return ok(
    `${found}.${synchronousStandbys === 0 ? " None is synchronous: a failover may lose the last moments." : ""}`,
  );
}
