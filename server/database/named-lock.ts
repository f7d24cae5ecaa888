/**
 * Advisory locks that show the name of their holder. A lock is held on a connection of its own, whose `application_name` is the
 * name, so that lock and name end with the holder, however it ends.
 *
 * Not guaranteed: that a holder still has its lock. PostgreSQL frees it when the connection breaks; `onLost` reports that.
 */
import type pg from "pg";
import type { Database } from "./pool.ts";

export interface NamedLockOptions {
  database: Pick<Database, "connectAlone">;
  /** The class of all locks of one kind, and the key of this one. */
  lockClass: number;
  key: number;
  /** Visible ASCII, at most 63 characters. */
  name: string;
  /** Called once, when the connection that holds the lock breaks. */
  onLost: () => void;
  /** Throws if the lock must not be held beside these others. Called before the lock is taken, and again while it is held. */
  check: (others: LockHolder[]) => void;
}

export interface LockHolder {
  key: number;
  name: string;
}

export interface NamedLock {
  /** Frees the lock. */
  release(): Promise<void>;
}

/** Takes the lock without waiting; undefined if it is held. `others` are the holders of all other locks of the class. */
export async function takeLock(
  options: NamedLockOptions,
): Promise<{ lock: NamedLock | undefined; others: LockHolder[] }> {
  const { database, lockClass, key, name, onLost, check } = options;
  const client = await database.connectAlone(name);
  try {
    check(await othersOf(client, options));
    const { rows } = await client.query<{ held: boolean }>("select pg_try_advisory_lock($1, $2) as held", [
      lockClass,
      key,
    ]);
    const others = await othersOf(client, options);
    // Again, because two nodes that start at the same time see each other only now.
    if (rows[0]?.held) {
      check(others);
      return { lock: keep(client, onLost), others };
    }
    await end(client);
    return { lock: undefined, others };
  } catch (error) {
    await end(client);
    throw error;
  }
}

/** `objsubid` 2 marks locks with two keys. */
const holdersStatement = `select objid::int as key, application_name as name
  from pg_locks join pg_stat_activity using (pid)
  where locktype = 'advisory' and granted and classid = $1 and objsubid = 2
    and database = (select oid from pg_database where datname = current_database())`;

async function othersOf(client: pg.Client, { lockClass, name }: NamedLockOptions): Promise<LockHolder[]> {
  const { rows } = await client.query<LockHolder>(holdersStatement, [lockClass]);
  return rows.filter((one) => one.name !== name);
}

function keep(client: pg.Client, onLost: () => void): NamedLock {
  let isReleased = false;
  client.once("end", () => {
    if (!isReleased) onLost();
  });
  return {
    release() {
      isReleased = true;
      return end(client);
    },
  };
}

/** Because a server that does not answer must not delay a shutdown. */
const endMsMax = 1_000;

/** Ends the connection, and destroys it if the server does not close it in time. */
async function end(client: pg.Client): Promise<void> {
  const timer = setTimeout(() => client.connection.stream.destroy(), endMsMax);
  await client.end().catch(() => undefined);
  clearTimeout(timer);
}
