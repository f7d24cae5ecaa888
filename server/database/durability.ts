/**
 * The settings of PostgreSQL that make a commit survive a crash (G1).
 *
 * Guarantees: every connection of a pool has a `synchronous_commit` other than `off`, whatever the server, the database or
 * the role sets, now or later. `checkDurability` finds what a session cannot set itself, and a pooler that dropped the setting.
 * Does not guarantee: that the settings stay. They are checked when the node starts.
 */
import pg from "pg";

/** The values of `synchronous_commit` that wait for this server's disk. They differ in their wait for standbys. */
const commitLevels = ["on", "local", "remote_write", "remote_apply"] as const;

export type CommitLevel = (typeof commitLevels)[number];

/** The settings that an operator can vouch for, because storage beneath PostgreSQL may make them unnecessary. */
export const storageSettings = ["fsync", "full_page_writes"] as const;

export type StorageSetting = (typeof storageSettings)[number];

/**
 * The commit level for the pools: the one that the server, the database, the role or the URL sets, and `on` in place of `off`.
 * The others are the operator's choice about standbys: `on` in place of `local` would stop commits while a standby is down.
 * Throws an Error that contains "timeout" if PostgreSQL does not answer within `waitMs`.
 */
export async function readCommitLevel(url: string, waitMs: number): Promise<CommitLevel> {
  const client = new pg.Client({
    connectionString: url,
    application_name: "tukio",
    connectionTimeoutMillis: waitMs,
    query_timeout: waitMs,
  });
  // Without a listener, an error of the connection would end the process.
  client.on("error", () => undefined);
  await client.connect();
  try {
    const { rows } = await client.query<{ synchronous_commit: string }>("show synchronous_commit");
    return commitLevels.find((level) => level === rows[0]?.synchronous_commit) ?? "on";
  } finally {
    await client.end().catch(() => undefined);
  }
}

/**
 * Adds the commit level to the URL's startup options, because they take precedence over the settings of roles and databases
 * and cost no statement. PostgreSQL uses the last value of an option, so the URL's own is replaced.
 */
export function withCommitLevel(url: string, level: CommitLevel): string {
  const changed = new URL(url);
  const given = changed.searchParams.get("options") ?? "";
  changed.searchParams.set("options", `${given} -c synchronous_commit=${level}`.trim());
  return changed.href;
}

interface DurabilityOptions {
  isProduction: boolean;
  /** The settings that the operator vouches for. */
  accepted: readonly StorageSetting[];
  log: Record<"warn", (details: object, message: string) => void>;
}

/** Throws an Error for the operator, in production, if a setting allows PostgreSQL to lose commits. Logs a warning otherwise. */
export async function checkDurability(
  pool: pg.Pool,
  { isProduction, accepted, log }: DurabilityOptions,
): Promise<void> {
  const { rows } = await pool.query<{ name: string }>(
    "select name from pg_settings where name = any ($1) and setting = 'off' order by name",
    [["synchronous_commit", ...storageSettings]],
  );
  const settings = rows.map(({ name }) => name);
  if (settings.length === 0) return;
  log.warn({ event: "database.durability.off", settings }, "a crash of PostgreSQL may lose acknowledged webhooks");
  const isAccepted = (name: string): boolean => accepted.some((one) => one === name);
  const refused = settings.filter((name) => !isAccepted(name));
  if (!isProduction || refused.length === 0) return;
  throw new Error(
    `PostgreSQL may lose acknowledged webhooks in a crash: ${refused.map((name) => `${name} is off`).join(", ")}. Turn it on. If the storage makes it unnecessary, name it in DATABASE_ACCEPT_OFF.`,
  );
}
