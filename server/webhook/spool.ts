/**
 * Keeps webhooks on this machine's disk while PostgreSQL is away: one SQLite file per process (spool-file.ts).
 *
 * Guarantees that a webhook is synced to the disk when `append` resolves (G1), that webhooks leave in the order in which they
 * came, and that each leaves only after it was applied. So one may be applied twice, and none is lost. A process empties the
 * files of dead processes too. An empty spool has no bytes of webhooks.
 *
 * A write blocks this process for one sync of the disk. Webhooks that come in the meantime share the next sync.
 */
import { randomUUID } from "node:crypto";
import { mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { HubError } from "../errors.ts";
import {
  causeOf,
  isSetAsideBefore,
  openOtherFile,
  openOwnFile,
  type PrioritizedWebhook,
  type Priority,
  removeFile,
  type SpoolContents,
  type SpooledWebhook,
  type SpoolFile,
  setAside,
} from "./spool-file.ts";

export type { Priority, SpooledWebhook };

export interface Spool {
  /**
   * Resolves when the webhook is on disk. Throws when the disk is full, read-only or gone, or the file has reached its limit;
   * throws `HubError` `rate_limited` when its payment has used up its share. `priority`: `success` by default.
   */
  append(webhook: SpooledWebhook, priority?: Priority): Promise<void>;
  /** Whether the last write succeeded. */
  readonly isWritable: boolean;
  /** The number of webhooks in this process's file. */
  readonly waiting: number;
  /** When the file became other than empty; undefined while it is empty. */
  readonly waitingSince: Date | undefined;
  /**
   * Applies the webhooks of this process's file, then of files without a live process, oldest first. Stops at the first that
   * `apply` throws for, and throws the same.
   */
  drain(apply: Apply): Promise<void>;
  /** Deletes the damaged files of all processes that were set aside before this time. */
  removeDamaged(before: Date): void;
  close(): void;
}

export interface SpoolOptions {
  /** Created if missing. */
  dir: string;
  /** The limit of each file, in MiB. */
  maxMb: number;
  log: { warn(details: object, message: string): void; error(details: object, message: string): void };
}

type Apply = (webhook: SpooledWebhook) => Promise<void>;

interface QueuedWebhook extends PrioritizedWebhook {
  done: (error?: unknown) => void;
}

interface State extends SpoolOptions {
  /** Of this process's own file. */
  readonly name: string;
  own: SpoolFile | undefined;
  isWritable: boolean;
  waiting: number;
  waitingSince: Date | undefined;
  queue: QueuedWebhook[];
  /** Files whose failure is in the log. */
  readonly reported: Set<string>;
}

const extension = ".webhooks";

export function openSpool(options: SpoolOptions): Spool {
  const state: State = {
    ...options,
    name: `${randomUUID()}${extension}`,
    own: undefined,
    isWritable: false,
    waiting: 0,
    waitingSince: undefined,
    queue: [],
    reported: new Set(),
  };
  try {
    openOwn(state);
  } catch (err) {
    const { log, dir } = options;
    log.warn({ event: "webhook.spool.open_failed", err, dir }, "Cannot spool webhooks to this directory");
  }
  return {
    append: (webhook, priority = "success") => append(state, webhook, priority),
    get isWritable() {
      return state.isWritable;
    },
    get waiting() {
      return state.waiting;
    },
    get waitingSince() {
      return state.waitingSince;
    },
    async drain(apply) {
      if (state.own) await drainOwn(state, state.own, apply);
      const others = filesIn(options.dir).filter((file) => file.endsWith(extension) && file !== state.name);
      for (const file of others) await drainOther(state, join(options.dir, file), apply);
    },
    removeDamaged: (before) => removeDamaged(state, before),
    close: () => close(state),
  };
}

function openOwn(state: State): SpoolFile {
  mkdirSync(state.dir, { recursive: true, mode: 0o700 });
  state.own ??= openOwnFile(join(state.dir, state.name), state.maxMb);
  state.isWritable = true;
  return state.own;
}

function append(state: State, webhook: SpooledWebhook, priority: Priority): Promise<void> {
  return new Promise((resolve, reject) => {
    const done = (error?: unknown): void => (error ? reject(error) : resolve());
    if (state.queue.push({ webhook, priority, done }) === 1) setImmediate(() => flush(state));
  });
}

function flush(state: State): void {
  const batch = state.queue;
  state.queue = [];
  try {
    state.isWritable = write(state, openOwn(state), batch);
  } catch (error) {
    state.isWritable = false;
    for (const { done } of batch) done(error);
  }
}

/** Returns whether any webhook is on disk. Halves a failing batch until each webhook that cannot be written is alone. */
function write(state: State, file: SpoolFile, batch: readonly QueuedWebhook[]): boolean {
  try {
    const written = file.write(batch);
    count(state, written.filter(Boolean).length);
    for (const [index, { done }] of batch.entries()) done(written[index] ? undefined : overShare());
    return true;
  } catch (error) {
    const half = Math.ceil(batch.length / 2);
    if (batch.length > 1) {
      return [batch.slice(0, half), batch.slice(half)].map((part) => write(state, file, part)).some(Boolean);
    }
    batch[0]?.done(error);
    return false;
  }
}

function count(state: State, added: number): void {
  state.waiting += added;
  state.waitingSince = state.waiting > 0 ? (state.waitingSince ?? new Date()) : undefined;
}

async function drainFile(state: State, file: SpoolContents, apply: Apply): Promise<void> {
  for (let rows = file.oldest(); rows.length > 0; rows = file.oldest()) {
    for (const { id, provider, payment_id, headers, body } of rows) {
      await apply({
        provider,
        headers,
        body: Buffer.from(body),
        ...(payment_id !== null && { paymentId: payment_id }),
      });
      file.remove(id);
      if (file === state.own) count(state, -1);
    }
  }
}

async function drainOwn(state: State, file: SpoolFile, apply: Apply): Promise<void> {
  await drainFile(state, file, apply);
  try {
    file.eraseLog();
  } catch (error) {
    // The webhooks are applied. The next pass erases the log.
    handleFileError(state, join(state.dir, state.name), error);
  }
}

/** Empties and removes the file of a dead process. */
async function drainOther(state: State, path: string, apply: Apply): Promise<void> {
  let file: SpoolContents | undefined;
  try {
    file = openOtherFile(path);
    if (file) await drainFile(state, file, apply);
  } catch (error) {
    file?.close();
    return handleFileError(state, path, error);
  }
  file?.close();
  removeFile(path);
}

/** Throws an error that is not the file's: the webhook could not be applied. */
function handleFileError({ reported, log }: State, path: string, err: unknown): void {
  const cause = causeOf(err);
  if (cause === undefined) throw err;
  if (cause === "locked") return; // Its process is alive.
  if (cause === "damaged") {
    log.error({ event: "webhook.spool.file_damaged", err, path }, "Renamed a damaged spool file");
    setAside(path);
    return;
  }
  // Logged once per file, because a temporary failure, such as a full disk, is retried twice a second.
  if (reported.has(path)) return;
  reported.add(path);
  log.warn({ event: "webhook.spool.file_unreadable", err, path }, "Cannot read a spool file now; will retry");
}

function removeDamaged({ dir, log }: State, before: Date): void {
  for (const path of filesIn(dir).map((file) => join(dir, file))) {
    if (!isSetAsideBefore(path, before)) continue;
    rmSync(path, { force: true });
    log.warn(
      { event: "webhook.spool.damaged_removed", path },
      "Deleted a damaged spool file whose retention has ended",
    );
  }
}

function close(state: State): void {
  const { own } = state;
  if (!own) return;
  const isEmpty = own.count() === 0;
  own.close();
  if (isEmpty) removeFile(own.path);
  state.own = undefined;
}

const overShare = (): HubError =>
  new HubError("rate_limited", "Too many webhooks of this payment are waiting", { retryAfterS: 60 });

function filesIn(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch {
    return []; // The directory is missing or not readable, so this process has no file in it.
  }
}
