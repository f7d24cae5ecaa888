/**
 * Where webhooks wait while the database cannot be reached: a SQLite file per process below the data directory, whose lock
 * says that the process lives. What `append` resolved for is on disk, synced; a write that was cut off is as if it had
 * never begun. Webhooks leave in the order in which they came, each when it was applied: one may be applied twice, and
 * none is lost. The files of processes that died are adopted by whoever finds them unlocked.
 *
 * Writes are SQLite's own and hold up this process for a sync; those that come meanwhile share the next one.
 */
import { randomUUID } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { z } from "zod";
import { HubError } from "../errors.ts";

/** A webhook as it is to be handled again. Headers never include credentials. */
export interface SpooledWebhook {
  provider: string;
  /** Proven by the secret of the URL. */
  paymentId?: string;
  headers: Record<string, unknown>;
  body: Buffer;
}

/** What a webhook says: nothing new, what no other of its payment has said, or that for the first time it was paid. */
export type Weight = "idle" | "new" | "success";

export interface Spool {
  /**
   * Resolves when the webhook is on disk. Throws when it cannot be: the disk is full, read-only or gone, or so much waits;
   * `HubError` `rate_limited` when so much of its own payment waits. `weight`: `success` by default.
   */
  append(webhook: SpooledWebhook, weight?: Weight): Promise<void>;
  /** Whether the last write went well. */
  readonly isWritable: boolean;
  /** How many wait here, in this process's files. */
  readonly waiting: number;
  /** Hands out what waits, oldest first, here and in files that nobody owns; stops at the first that `apply` throws for. */
  drain(apply: (webhook: SpooledWebhook) => Promise<void>): Promise<void>;
  close(): void;
}

export interface SpoolOptions {
  /** Made if missing. */
  dir: string;
  /** Of each file. */
  maxMb: number;
  log: { warn(details: object, message: string): void; error(details: object, message: string): void };
}

const extension = ".webhooks";
const pageBytes = 4_096;
const batchMax = 100;

/**
 * One payment has 1/64 of a file, but at least 256 KiB, so that no single address fills it. What says nothing new has half of
 * that and what says no success three quarters, so that they leave room for what says more.
 */
const shareOf = (maxMb: number): number => Math.max(2 ** 18, (maxMb * 2 ** 20) / 64);

const partOf: Record<Weight, number> = { idle: 1 / 2, new: 3 / 4, success: 1 };

/** https://www.sqlite.org/rescode.html: the low byte of an extended code. */
const sqlite = { error: 1, busy: 5, corrupt: 11, notADatabase: 26 } as const;

const rowShape = z.object({
  id: z.number(),
  provider: z.string(),
  payment_id: z.string().nullable(),
  headers: z.string().transform((text) => z.record(z.string(), z.unknown()).parse(JSON.parse(text))),
  body: z.instanceof(Uint8Array),
});

/** A file, locked for as long as it is open. Throws when it is locked by another process, or not one. */
function openLocked(path: string, prepare: (db: DatabaseSync) => void): DatabaseSync {
  const db = new DatabaseSync(path);
  try {
    db.exec("pragma locking_mode = exclusive; pragma journal_mode = wal; pragma synchronous = full");
    prepare(db);
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

/** What is in a file, whichever version wrote it. Throws when that has not the form of ours. */
function openContents(db: DatabaseSync, path: string) {
  const select = db.prepare("select id, provider, payment_id, headers, body from webhook order by id limit ?");
  const remove = db.prepare("delete from webhook where id = ?");
  const count = db.prepare("select count(*) as waiting from webhook");
  return {
    path,
    oldest: () => select.all(batchMax).map((row) => rowShape.parse(row)),
    remove: (id: number) => void remove.run(id),
    waiting: () => z.object({ waiting: z.number() }).parse(count.get()).waiting,
    close: () => db.close(),
  };
}

type Contents = ReturnType<typeof openContents>;

/**
 * A file of another process, only to be emptied: nothing is made in it and nothing bounds it, for it may be full. Undefined
 * when its process died before it had made anything.
 */
function openOther(path: string): Contents | undefined {
  const db = openLocked(path, (db) => db.exec("begin exclusive; commit"));
  try {
    if (db.prepare("select 1 from sqlite_schema").get()) return openContents(db, path);
  } catch (error) {
    db.close();
    throw error;
  }
  db.close();
  return undefined;
}

/** A file of our own. */
function openFile(path: string, maxMb: number) {
  const db = openLocked(path, (db) =>
    db.exec(`pragma page_size = ${pageBytes}; pragma max_page_count = ${Math.max(4, Math.floor((maxMb * 2 ** 20) / pageBytes))};
      begin exclusive;
      create table if not exists webhook (id integer primary key, provider text not null, payment_id text, headers text not null, body blob not null);
      create index if not exists webhook_payment on webhook (payment_id) where payment_id is not null;
      commit`),
  );
  const insert = db.prepare("insert into webhook (provider, payment_id, headers, body) values (?, ?, ?, ?)");
  const bytesOf = db.prepare(
    "select coalesce(sum(length(headers) + length(body)), 0) as bytes from webhook where payment_id = ?",
  );
  const isWithinShare = ({ webhook, weight }: Pick<Waiting, "webhook" | "weight">, bytes: number): boolean => {
    if (webhook.paymentId === undefined) return true;
    const kept = z.object({ bytes: z.number() }).parse(bytesOf.get(webhook.paymentId)).bytes;
    return kept + bytes <= shareOf(maxMb) * partOf[weight];
  };
  return {
    ...openContents(db, path),
    /** Whether each was within its payment's share. Those are all on disk, or it throws and none is. */
    write(batch: readonly Pick<Waiting, "webhook" | "weight">[]): boolean[] {
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

type SpoolFile = ReturnType<typeof openFile>;

interface Waiting {
  webhook: SpooledWebhook;
  weight: Weight;
  done: (error?: unknown) => void;
}

export function openSpool({ dir, maxMb, log }: SpoolOptions): Spool {
  const name = `${randomUUID()}${extension}`;
  let own: SpoolFile | undefined;
  let isWritable = false;
  let waiting = 0;
  let queue: Waiting[] = [];
  const reported = new Set<string>();

  const openOwn = (): SpoolFile => {
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    own ??= openFile(join(dir, name), maxMb);
    isWritable = true;
    return own;
  };

  /** Returns whether any is on disk. A batch that fails is halved, until what cannot be written is alone. */
  const write = (file: SpoolFile, batch: readonly Waiting[]): boolean => {
    try {
      const written = file.write(batch);
      waiting += written.filter(Boolean).length;
      for (const [index, { done }] of batch.entries()) done(written[index] ? undefined : beyondShare());
      return true;
    } catch (error) {
      const half = Math.ceil(batch.length / 2);
      if (batch.length > 1) {
        return [batch.slice(0, half), batch.slice(half)].map((part) => write(file, part)).some(Boolean);
      }
      batch[0]?.done(error);
      return false;
    }
  };

  const flush = (): void => {
    const batch = queue;
    queue = [];
    try {
      isWritable = write(openOwn(), batch);
    } catch (error) {
      isWritable = false;
      for (const { done } of batch) done(error);
    }
  };

  const drainFile = async (file: Contents, apply: (webhook: SpooledWebhook) => Promise<void>): Promise<void> => {
    for (let rows = file.oldest(); rows.length > 0; rows = file.oldest()) {
      for (const { id, provider, payment_id, headers, body } of rows) {
        await apply({
          provider,
          headers,
          body: Buffer.from(body),
          ...(payment_id !== null && { paymentId: payment_id }),
        });
        file.remove(id);
        if (file === own) waiting -= 1;
      }
    }
  };

  const adopt = async (path: string, apply: (webhook: SpooledWebhook) => Promise<void>): Promise<void> => {
    let file: Contents | undefined;
    try {
      file = openOther(path);
      if (file) await drainFile(file, apply);
    } catch (error) {
      file?.close();
      const code = codeOf(error);
      if (code === undefined) throw error; // Not the file's: the webhook could not be applied.
      if (code === sqlite.busy) return; // Its process lives.
      if (!isDamage(code)) return report(path, error);
      log.error({ err: error, path }, "a spool file cannot be read; it is set aside");
      setAside(path);
      return;
    }
    file?.close();
    removeFile(path);
  };

  /** What may pass, such as a full disk: once for each file, for it is tried again twice a second. */
  const report = (path: string, error: unknown): void => {
    if (reported.has(path)) return;
    reported.add(path);
    log.warn({ err: error, path }, "a spool file cannot be read now; it is tried again");
  };

  try {
    openOwn();
  } catch (error) {
    log.warn({ err: error, dir }, "webhooks cannot wait on this disk while the database is away");
  }

  return {
    append(webhook, weight = "success") {
      return new Promise((resolve, reject) => {
        const done = (error?: unknown): void => (error ? reject(error) : resolve());
        if (queue.push({ webhook, weight, done }) === 1) setImmediate(flush);
      });
    },
    get isWritable() {
      return isWritable;
    },
    get waiting() {
      return waiting;
    },
    async drain(apply) {
      if (own) await drainFile(own, apply);
      const others = existing(dir).filter((file) => file.endsWith(extension) && file !== name);
      for (const file of others) await adopt(join(dir, file), apply);
    },
    close() {
      if (!own) return;
      const isEmpty = own.waiting() === 0;
      own.close();
      if (isEmpty) removeFile(own.path);
      own = undefined;
    },
  };
}

const beyondShare = (): HubError =>
  new HubError("rate_limited", "Too many webhooks of this payment wait", { retryAfterS: 60 });

function removeFile(path: string): void {
  for (const suffix of ["", "-wal", "-shm", "-journal"]) rmSync(path + suffix, { force: true });
}

/** With what was not yet moved from its log, which belongs to it by its name. */
function setAside(path: string): void {
  renameSync(path, `${path}.damaged`);
  if (existsSync(`${path}-wal`)) renameSync(`${path}-wal`, `${path}.damaged-wal`);
}

function existing(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch {
    return []; // Not made yet, or not readable: then nothing of ours is in it.
  }
}

/** Undefined for what SQLite did not throw. */
const codeOf = (error: unknown): number | undefined =>
  error instanceof Error && "errcode" in error && typeof error.errcode === "number" ? error.errcode & 0xff : undefined;

/** Not a file of ours, as far as SQLite can tell: no database, a broken one, or one without our table. */
const isDamage = (code: number): boolean =>
  code === sqlite.notADatabase || code === sqlite.corrupt || code === sqlite.error;
