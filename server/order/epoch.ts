/**
 * The epoch numbers the timelines of the database. Versions of an order compare within one epoch, and a later epoch is newer. A new
 * epoch starts when commits that watchers have seen may be lost, so that every watcher receives the current states again (G4, G5).
 *
 * Each node remembers the newest place that it has seen in the write-ahead log. It starts a new epoch when:
 * - the database runs on another server or timeline than the epoch: after a failover, or a restore on another server,
 * - the log is behind the remembered place: after a restore on the same server,
 * - the epoch itself is behind the remembered one,
 * - a read of an order returns a lower version than the node knew before the read.
 *
 * Not guaranteed: a restore on the same server while no node runs. An operator then calls `select start_epoch()`.
 * Any number of nodes may check at once: one of them starts the epoch, the others read it.
 */
import assert from "node:assert/strict";
import type pg from "pg";
import { asHubError, sqlState } from "../database/pool.ts";
import { run, type Statement } from "./statement.ts";

export type EpochReason = "other_server" | "log_behind" | "epoch_behind" | "version_behind";

export interface EpochOptions {
  pool: pg.Pool;
  /** Called when this node has started a new epoch. */
  onStarted?: ((epoch: number, reason: EpochReason) => void) | undefined;
  /** Called once when the role may not read the server's place: only lower versions then show a loss. */
  onUnreadable?: ((error: unknown) => void) | undefined;
}

export interface Epochs {
  /** Starts a new epoch if commits may be lost, and returns the current one. Throws `store_unavailable`. */
  check(): Promise<number>;
  /** Starts a new epoch after `epoch`, because an order had a lower version in it than before. */
  reportLoss(epoch: number): Promise<void>;
}

/** The flushed place in the log never moves back on a server, not even in a crash. */
const placeStatement = {
  name: "timeline-place",
  text: `select epoch, server as epoch_server,
    (select system_identifier from pg_control_system()) || '/' || left(pg_walfile_name(pg_current_wal_flush_lsn()), 8) as server,
    (pg_current_wal_flush_lsn() - '0/0'::pg_lsn)::text as log_bytes
  from timeline`,
} as const;

const epochStatement = {
  name: "timeline-epoch",
  text: "select epoch, server as epoch_server, null as server, null as log_bytes from timeline",
} as const;

/** The first node that reads the server's place records it for the first epoch. */
const recordServerStatement = {
  name: "timeline-record-server",
  text: "update timeline set server = $1 where server is null",
} as const;

/** No row if another node has started an epoch meanwhile. $1 may be an epoch that the database has lost. */
const startStatement = {
  name: "timeline-start",
  text: `update timeline set epoch = greatest($1::bigint + 1, extract(epoch from clock_timestamp())::bigint), server = coalesce($2, server)
    where epoch <= $1 returning epoch`,
} as const;

interface Place {
  epoch: number;
  /** The server and timeline of the epoch. */
  epoch_server: string | null;
  /** The server and timeline that answered. Null: the role may not read it. */
  server: string | null;
  log_bytes: string | null;
}

/**
 * SQLSTATEs of a function that is missing, forbidden or cannot run: syntax error or access rule violation, feature not supported,
 * and a standby, whose log has no place to write to.
 */
const isUnreadable = (error: unknown): boolean => /^(42|0A|55000)/.test(sqlState(error) ?? "");

/** "object not in prerequisite state": recovery is in progress. */
const standby = "55000";

export function createEpochs({ pool, onStarted, onUnreadable }: EpochOptions): Epochs {
  let statement: Statement = placeStatement;
  let known: Place | undefined;

  const readPlace = async (): Promise<Place> => {
    try {
      return await readOne(pool, statement);
    } catch (error) {
      if (statement === epochStatement || !isUnreadable(error)) throw asHubError(error);
      // A standby may be promoted at any time, so that only this read goes without the place.
      if (sqlState(error) === standby) return readOne(pool, epochStatement);
      statement = epochStatement;
      onUnreadable?.(error);
      return readOne(pool, statement);
    }
  };

  const start = async (after: number, server: string | null, reason: EpochReason): Promise<void> => {
    const [started] = await run<{ epoch: number }>(pool, startStatement, [after, server]);
    if (started) onStarted?.(started.epoch, reason);
  };

  return {
    async check() {
      const before = known;
      const place = await readPlace();
      if (place.server !== null && place.epoch_server === null) await run(pool, recordServerStatement, [place.server]);
      const reason = lossReason(place, before);
      if (reason) await start(Math.max(place.epoch, before?.epoch ?? 0), place.server, reason);
      known = reason ? await readPlace() : place;
      return known.epoch;
    },
    reportLoss: (epoch) => start(epoch, null, "version_behind"),
  };
}

async function readOne(pool: pg.Pool, { name, text }: Statement): Promise<Place> {
  const [row] = (await pool.query<Place>({ name, text })).rows;
  assert(row, "the table timeline always has one row");
  return row;
}

/** The reason to start a new epoch, given the place that the node remembers. */
function lossReason({ epoch, epoch_server, server, log_bytes }: Place, known?: Place): EpochReason | undefined {
  if (known && epoch < known.epoch) return "epoch_behind";
  if (epoch_server !== null && server !== null && epoch_server !== server) return "other_server";
  const isSameServer = known !== undefined && server !== null && server === known.server;
  if (isSameServer && BigInt(log_bytes ?? 0) < BigInt(known.log_bytes ?? 0)) return "log_behind";
  return undefined;
}
