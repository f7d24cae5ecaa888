/**
 * Connections to PostgreSQL. Two pools: webhooks have a small one of their own, so that slow reads elsewhere never
 * keep a provider waiting. Every statement is bounded in time by the server, and a silent server by ourselves.
 */
import type { Socket } from "node:net";
import pg from "pg";
import { HubError } from "../errors.ts";

export interface Database {
  /** Everything but webhooks: 5 s for a statement. */
  pool: pg.Pool;
  /** Webhooks only: 2 s for a statement, 1.5 s for a lock. */
  webhookPool: pg.Pool;
  /** Whether the schema can be read now: the server answers, within its time, and lets us in. */
  isUp(): Promise<boolean>;
  /** The version of the schema it has, 0 for none; undefined when it cannot be read. */
  schemaVersion(): Promise<number | undefined>;
  close(): Promise<void>;
}

/** A server that was asked ends a slow statement itself; this long after that, it is not there any more. */
const silenceMs = 1_000;

/** How long an answer to "is it up" is good for. */
const lookMs = 1_000;

/** Reads bigint columns as numbers and refuses what a number cannot hold. */
const parseBigint = (text: string): number => {
  const value = Number(text);
  if (!Number.isSafeInteger(value)) throw new RangeError(`bigint beyond 2^53: ${text}`);
  return value;
};

const types = {
  getTypeParser(oid: number, format?: "text" | "binary") {
    return oid === pg.types.builtins.INT8 ? parseBigint : pg.types.getTypeParser(oid, format);
  },
} as pg.CustomTypesConfig;

/** Opens both pools. Connections are made when first needed; `onError` hears of those that broke. */
export function openDatabase(url: string, onError: (error: Error) => void): Database {
  let isClosing = false;
  const pools: pg.Pool[] = [];
  // What ends while we close is meant to end.
  const report = (error: Error): void => {
    if (!isClosing) onError(error);
  };
  const open = (max: number, waitMs: number, limits: { statement_timeout: number; lock_timeout: number }): pg.Pool => {
    const pool = new pg.Pool({
      connectionString: url,
      application_name: "tukio",
      max,
      connectionTimeoutMillis: waitMs,
      idleTimeoutMillis: 60_000,
      keepAlive: true,
      types,
      ...limits,
    });
    const usualMs = limits.statement_timeout + silenceMs;
    const lent = new Set<pg.PoolClient>();
    pools.push(pool);
    pool.on("error", report);
    pool.on("connect", (client) => {
      // A connection that breaks while it is lent out has no other listener, and would end the process.
      client.on("error", report);
      // Not pg's `query_timeout`: a timer for each statement keeps a quarter of its garbage from being collected early.
      setSilenceTimeout(client, usualMs);
      const socket = socketOf(client);
      socket.on("timeout", () => {
        if (lent.has(client)) socket.destroy(new Silence("The database has gone silent"));
      });
    });
    pool.on("acquire", (client) => void lent.add(client));
    pool.on("release", (error: unknown, client) => {
      lent.delete(client);
      if (socketOf(client).timeout !== usualMs) setSilenceTimeout(client, usualMs);
      if (error instanceof Silence) for (const one of pools) dropIdle(one);
    });
    return pool;
  };
  const pool = open(12, 1_000, { statement_timeout: 5_000, lock_timeout: 5_000 });
  // Also the wait for a free connection: a burst of webhooks is better late than lost.
  // A deadlock is noticed within 1 s, unless the server is told otherwise: it is told apart from a lock that is held.
  const webhookPool = open(10, 3_000, { statement_timeout: 2_000, lock_timeout: 1_500 });
  let looking: Promise<number | undefined> | undefined;
  let lookedAtMs = Number.NEGATIVE_INFINITY;
  /** However many ask, one look a second: whoever asks must not be in the way of a webhook. */
  const look = (): Promise<number | undefined> => {
    if (looking && performance.now() - lookedAtMs < lookMs) return looking;
    lookedAtMs = performance.now();
    looking = webhookPool.query<{ version: number }>("select version from tukio_schema").then(
      ({ rows }) => rows[0]?.version ?? 0,
      (error) => (sqlState(error) === undefinedTable ? 0 : undefined),
    );
    return looking;
  };

  return {
    pool,
    webhookPool,
    isUp: async () => (await look()) !== undefined,
    schemaVersion: look,
    async close() {
      isClosing = true;
      await Promise.all(pools.map((one) => one.end()));
    },
  };
}

class Silence extends Error {}

const socketOf = (client: pg.PoolClient): Socket => client.connection.stream as Socket;

/**
 * How long nothing may be heard on a connection, asked or not, until it is given up; 0: for ever. It holds while the
 * connection is lent this time.
 */
export function setSilenceTimeout(client: pg.PoolClient, ms: number): void {
  socketOf(client).setTimeout(ms);
}

/**
 * Gives up the connections that lie idle. The server ends a slow statement before we stop waiting for it, so where
 * nothing was heard at all the way to it is broken, and the others may be as dead: each would cost its user as long.
 */
function dropIdle(pool: pg.Pool): void {
  for (let count = pool.idleCount; count > 0; count -= 1) {
    pool.connect().then(
      (client) => client.release(true),
      () => undefined,
    );
  }
}

/** SQLSTATE classes that mean "not now" rather than "never": connection, resources, operator intervention, locks. */
const transientClasses = new Set(["08", "53", "57", "40", "55", "58", "XX"]);

/**
 * Whether the statement failed because the database could not be reached or was too busy. A constraint or a bad byte
 * is not that: repeating such a statement fails again.
 */
export function isUnavailable(error: unknown): boolean {
  if (error instanceof TypeError || error instanceof RangeError) return false;
  const code = sqlState(error);
  return code === undefined || transientClasses.has(code.slice(0, 2));
}

export const deadlock = "40P01";

const undefinedTable = "42P01";

/** The SQLSTATE of a PostgreSQL error, or undefined where the server never answered. */
export function sqlState(error: unknown): string | undefined {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  return typeof code === "string" && /^[0-9A-Z]{5}$/.test(code) && !code.startsWith("E") ? code : undefined;
}

/** Turns a failure to reach the database into `store_unavailable`; anything else passes unchanged. */
export function asHubError(error: unknown): unknown {
  return error instanceof HubError || !isUnavailable(error)
    ? error
    : new HubError("store_unavailable", undefined, { cause: error, retryAfterS: 1 });
}
