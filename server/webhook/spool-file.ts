/**
 * One file of the spool: a SQLite database with one table of webhooks. SQLite locks the file for as long as it is open, so
 * a locked file belongs to a live process. A committed write is synced to the disk, and a torn write is rolled back.
 *
 * A removed webhook leaves no bytes in the file, because it has the payer's data. Its bytes stay in the write-ahead log until
 * `eraseLog`.
 */
import { existsSync, renameSync, rmSync, statSync, utimesSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { z } from "zod";

/** A webhook to be handled again. Headers never include credentials. */
export interface SpooledWebhook {
  provider: string;
  /** Proven by the secret of the URL. */
  paymentId?: string;
  headers: Record<string, unknown>;
  body: Buffer;
}

/** `repeat`: no new evidence. `new`: new evidence of its payment. `success`: new evidence that the payer paid. */
export type Priority = "repeat" | "new" | "success";

/** The webhooks of a file. */
export interface SpoolContents {
  readonly path: string;
  /** The next batch, oldest first. */
  oldest(): SpooledRow[];
  /** Overwrites the webhook with zeros. */
  remove(id: number): void;
  count(): number;
  close(): void;
}

export interface SpoolFile extends SpoolContents {
  /**
   * Returns for each webhook whether it was within its payment's share. Those are all on disk when this returns; when it
   * throws, none is.
   */
  write(batch: readonly PrioritizedWebhook[]): boolean[];
  /** Empties the write-ahead log if it may have bytes of webhooks. For a file that has no webhook left. */
  eraseLog(): void;
}

export interface PrioritizedWebhook {
  webhook: SpooledWebhook;
  priority: Priority;
}

type SpooledRow = z.infer<typeof rowShape>;

const pageBytes = 4_096;
const batchMax = 100;

/** 1/64 of a file for each payment, so that no single address fills it (G12), but at least 256 KiB. */
const shareOf = (maxMb: number): number => Math.max(2 ** 18, (maxMb * 2 ** 20) / 64);

/** The part of its payment's share that a webhook may fill: less for repeats, so that they leave room for successes. */
const partOf: Record<Priority, number> = { repeat: 1 / 2, new: 3 / 4, success: 1 };

/** https://www.sqlite.org/rescode.html: the low byte of an extended code. */
const sqlite = { error: 1, busy: 5, corrupt: 11, notADatabase: 26 } as const;

const rowShape = z.object({
  id: z.number(),
  provider: z.string(),
  payment_id: z.string().nullable(),
  headers: z.string().transform((text) => z.record(z.string(), z.unknown()).parse(JSON.parse(text))),
  body: z.instanceof(Uint8Array),
});

/** Opens and locks a file. Throws when another process has locked it, or when it is no database. */
function openLocked(path: string, prepare: (db: DatabaseSync) => void): DatabaseSync {
  const db = new DatabaseSync(path);
  try {
    // `full` syncs each commit, without which a 2xx could be sent for a webhook that a power failure loses (G1).
    // `secure_delete` overwrites the bytes of deleted rows, which otherwise stay in free pages.
    db.exec(
      "pragma locking_mode = exclusive; pragma journal_mode = wal; pragma synchronous = full; pragma secure_delete = on",
    );
    prepare(db);
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

/** Reads a file that any version wrote. Throws when it has no table of webhooks. */
function openContents(db: DatabaseSync, path: string): SpoolContents {
  const select = db.prepare("select id, provider, payment_id, headers, body from webhook order by id limit ?");
  const remove = db.prepare("delete from webhook where id = ?");
  const count = db.prepare("select count(*) as count from webhook");
  return {
    path,
    oldest: () => select.all(batchMax).map((row) => rowShape.parse(row)),
    remove: (id) => void remove.run(id),
    count: () => z.object({ count: z.number() }).parse(count.get()).count,
    close: () => db.close(),
  };
}

/**
 * Opens a file of another process, only to empty it: creates nothing in it and sets no limit, because it may be full.
 * Undefined when its process died before it had created the table.
 */
export function openOtherFile(path: string): SpoolContents | undefined {
  const db = openLocked(path, (opened) => opened.exec("begin exclusive; commit"));
  try {
    if (db.prepare("select 1 from sqlite_schema").get()) return openContents(db, path);
  } catch (error) {
    db.close();
    throw error;
  }
  db.close();
  return undefined;
}

/** Opens this process's own file, and creates it if it is missing. */
export function openOwnFile(path: string, maxMb: number): SpoolFile {
  const pagesMax = Math.max(4, Math.floor((maxMb * 2 ** 20) / pageBytes));
  const db = openLocked(path, (opened) =>
    opened.exec(`pragma page_size = ${pageBytes}; pragma max_page_count = ${pagesMax};
      begin exclusive;
      create table if not exists webhook (id integer primary key, provider text not null, payment_id text, headers text not null, body blob not null);
      create index if not exists webhook_payment on webhook (payment_id) where payment_id is not null;
      commit`),
  );
  const insert = db.prepare("insert into webhook (provider, payment_id, headers, body) values (?, ?, ?, ?)");
  const bytesOf = db.prepare(
    "select coalesce(sum(length(headers) + length(body)), 0) as bytes from webhook where payment_id = ?",
  );
  const isWithinShare = ({ webhook, priority }: PrioritizedWebhook, bytes: number): boolean => {
    if (webhook.paymentId === undefined) return true;
    const stored = z.object({ bytes: z.number() }).parse(bytesOf.get(webhook.paymentId)).bytes;
    return stored + bytes <= shareOf(maxMb) * partOf[priority];
  };
  let isLogClean = true;
  const contents = openContents(db, path);
  return {
    ...contents,
    remove(id) {
      isLogClean = false;
      contents.remove(id);
    },
    eraseLog() {
      if (!isLogClean) db.exec("pragma wal_checkpoint(truncate)");
      isLogClean = true;
    },
    write(batch) {
      isLogClean = false;
      db.exec("begin");
      try {
        const written = batch.map((one) => {
          const { provider, paymentId, headers, body } = one.webhook;
          const headersText = JSON.stringify(headers);
          if (!isWithinShare(one, headersText.length + body.length)) return false;
          insert.run(provider, paymentId ?? null, headersText, body);
          return true;
        });
        db.exec("commit");
        return written;
      } catch (error) {
        if (db.isTransaction) db.exec("rollback");
        throw error;
      }
    },
  };
}

/** Why a file could not be opened or read; undefined when SQLite did not throw the error. */
export function causeOf(error: unknown): "locked" | "damaged" | "other" | undefined {
  if (!(error instanceof Error && "errcode" in error && typeof error.errcode === "number")) return undefined;
  const code = error.errcode & 0xff;
  if (code === sqlite.busy) return "locked";
  // No database, a broken one, or one without our table.
  const isDamage = code === sqlite.notADatabase || code === sqlite.corrupt || code === sqlite.error;
  return isDamage ? "damaged" : "other";
}

export function removeFile(path: string): void {
  for (const suffix of ["", "-wal", "-shm", "-journal"]) rmSync(path + suffix, { force: true });
}

/**
 * Renames a damaged file, and its write-ahead log, which may hold webhooks and belongs to it by its name. Sets their time to now,
 * because their retention begins here: a person may still save their webhooks.
 */
export function setAside(path: string): void {
  const now = new Date();
  for (const suffix of ["", "-wal"]) {
    if (!existsSync(path + suffix)) continue;
    renameSync(path + suffix, `${path}.damaged${suffix}`);
    utimesSync(`${path}.damaged${suffix}`, now, now);
  }
}

/** Whether the file was set aside before this time. False when another process has just deleted it. */
export const isSetAsideBefore = (path: string, time: Date): boolean => {
  const stats = /\.damaged(-wal)?$/.test(path) ? statSync(path, { throwIfNoEntry: false }) : undefined;
  return stats !== undefined && stats.mtime < time;
};
