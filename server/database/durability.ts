/**
 * The settings of PostgreSQL that make a commit survive a crash (G1).
 *
 * Guarantees: every connection of a pool has a `synchronous_commit` other than `off`, whatever the server, the database or
 * the role sets, now or later. `checkDurability` finds what a session cannot set itself.
 * Does not guarantee: that the settings stay. They are checked when the node starts.
 */
import type pg from "pg";

/** The settings that an operator can vouch for, because storage beneath PostgreSQL may make them unnecessary. */
export const storageSettings = ["fsync", "full_page_writes"] as const;

export type StorageSetting = (typeof storageSettings)[number];

/**
 * Sets the commit level of a new connection: `on` in place of `off`. Any other level waits for this server's disk too and is the
 * operator's choice about standbys: `on` in place of `local` would stop commits while a standby is down. The level is set in any
 * case, because a session's own setting outlasts a change of the server's.
 */
export async function setCommitLevel(client: pg.ClientBase): Promise<void> {
  await client.query(`select set_config('synchronous_commit', case level when 'off' then 'on' else level end, false)
    from current_setting('synchronous_commit') as level`);
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
