/**
 * Connections to PostgreSQL, in three pools. Webhooks have a small pool of their own, so that slow reads elsewhere never delay the
 * answer to a provider. Deliveries have one too, so that a thousand attempts that end at once never delay the API. PostgreSQL limits the time of every statement; a socket timeout covers a server that does not answer.
 */
import type { Socket } from "node:net";
import pg from "pg";
import { HubError } from "../errors.ts";
import { setCommitLevel } from "./durability.ts";

export interface Database {
  /** For everything but webhooks. A statement may take 5 s. */
  pool: pg.Pool;
  /** For webhooks only. A statement may take 2 s, and wait 1.5 s for a lock. */
  webhookPool: pg.Pool;
  /** For deliveries to endpoints only. A statement may take 5 s, and wait 10 s for a connection. */
  deliveryPool: pg.Pool;
  /** Opens a connection outside the pools. The caller ends it. */
  connectAlone(applicationName: string): Promise<pg.Client>;
  /** Whether the schema can be read now. The answer may be 1 s old. */
  isUp(): Promise<boolean>;
  /** The version of the database's schema, 0 for an empty database; undefined if it cannot be read. May be 1 s old. */
  schemaVersion(): Promise<number | undefined>;
  close(): Promise<void>;
}

/** The connections of each pool at most. */
const sizes = { pool: 12, webhookPool: 10, deliveryPool: 4 } as const;

/** The connections of a node at most: the pools, one for the comparison of secrets, and one for the lock of the sandboxes. */
export const connectionsPerNode = sizes.pool + sizes.webhookPool + sizes.deliveryPool + 2;

/** Added to the statement timeout, because PostgreSQL ends a slow statement itself: a server that is silent for longer is unreachable. */
const socketMarginMs = 1_000;

const usualLimits = { statement_timeout: 5_000, lock_timeout: 5_000 };

/** 3 s include the wait for a free connection, because a late answer to a burst of webhooks is better than an error. */
const webhookWaitMs = 3_000;

/** The lock timeout is longer than 1 s, because PostgreSQL detects a deadlock after 1 s by default. */
const webhookLimits = { statement_timeout: 2_000, lock_timeout: 1_500 };

/** 10 s, because many attempts may end at once, and the lease of an attempt has room for the wait. */
const deliveryWaitMs = 10_000;

/** Time between two reads of the schema version. */
const probeMs = 1_000;

/** Reads bigint columns as numbers. Throws `RangeError` for a value that a number cannot hold. */
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

/**
 * Opens the pools. A connection is made when it is first needed. `onError` is called for each connection that breaks. A commit
 * on any connection is on disk when PostgreSQL answers (G1).
 */
export function openDatabase(url: string, onError: (error: Error) => void): Database {
  let isClosing = false;
  const pools: pg.Pool[] = [];
  // Connections that end during `close` are no errors.
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
      onConnect: setCommitLevel,
      ...limits,
    });
    const usualMs = limits.statement_timeout + socketMarginMs;
    const inUse = new Set<pg.PoolClient>();
    pools.push(pool);
    pool.on("error", report);
    pool.on("connect", (client) => {
      // Without a listener, an error of a connection that is in use would end the process.
      client.on("error", report);
      // Not pg's `query_timeout`, because a timer per statement keeps a quarter of the statement's garbage alive for longer.
      setSocketTimeout(client, usualMs);
      const socket = socketOf(client);
      socket.on("timeout", () => {
        if (inUse.has(client)) socket.destroy(new SocketTimeout("PostgreSQL did not answer"));
      });
    });
    pool.on("acquire", (client) => void inUse.add(client));
    pool.on("release", (error: unknown, client) => {
      inUse.delete(client);
      if (socketOf(client).timeout !== usualMs) setSocketTimeout(client, usualMs);
      if (error instanceof SocketTimeout) for (const one of pools) dropIdle(one);
    });
    return pool;
  };
  const pool = open(sizes.pool, 1_000, usualLimits);
  const webhookPool = open(sizes.webhookPool, webhookWaitMs, webhookLimits);
  const deliveryPool = open(sizes.deliveryPool, deliveryWaitMs, usualLimits);
  let probe: Promise<number | undefined> | undefined;
  let probedAtMs = Number.NEGATIVE_INFINITY;
  /** Runs at most one statement a second, because callers must not take connections from webhooks. */
  const readVersion = (): Promise<number | undefined> => {
    if (probe && performance.now() - probedAtMs < probeMs) return probe;
    probedAtMs = performance.now();
    probe = webhookPool.query<{ version: number }>("select version from tukio_schema").then(
      ({ rows }) => rows[0]?.version ?? 0,
      (error) => (sqlState(error) === undefinedTable ? 0 : undefined),
    );
    return probe;
  };

  return {
    pool,
    webhookPool,
    deliveryPool,
    connectAlone: (applicationName) => connectAlone(url, applicationName),
    isUp: async () => (await readVersion()) !== undefined,
    schemaVersion: readVersion,
    async close() {
      isClosing = true;
      await Promise.all(pools.map((one) => one.end()));
    },
  };
}

async function connectAlone(connectionString: string, applicationName: string): Promise<pg.Client> {
  const client = new pg.Client({
    connectionString,
    application_name: applicationName,
    connectionTimeoutMillis: 1_000,
    // Shorter than the client's own timeout, so that no statement goes on that its sender has given up.
    statement_timeout: 4_000,
    query_timeout: 5_000,
    keepAlive: true,
    types,
  });
  // Without a listener, an error of the connection would end the process. "end" follows every error.
  client.on("error", () => undefined);
  await client.connect();
  return client;
}

class SocketTimeout extends Error {}

const socketOf = (client: pg.PoolClient): Socket => client.connection.stream as Socket;

/**
 * Destroys the connection after `ms` without traffic; 0 disables the timeout. The pool sets its own timeout again when the
 * connection is released.
 */
export function setSocketTimeout(client: pg.PoolClient, ms: number): void {
  socketOf(client).setTimeout(ms);
}

/**
 * Closes the idle connections of a pool after a socket timeout. PostgreSQL ends a slow statement before that timeout, so the
 * network is broken and the idle connections may be dead too: each would make its next user wait for the timeout.
 */
function dropIdle(pool: pg.Pool): void {
  for (let count = pool.idleCount; count > 0; count -= 1) {
    pool.connect().then(
      (client) => client.release(true),
      () => undefined,
    );
  }
}

/** SQLSTATE classes of errors that a later attempt may not meet: connection, resources, operator intervention, locks. */
const transientClasses = new Set(["08", "53", "57", "40", "55", "58", "XX"]);

/**
 * Whether a statement failed because the database could not be reached or was too busy. False for a violated constraint or an
 * invalid byte, because such a statement fails again.
 */
export function isUnavailable(error: unknown): boolean {
  if (error instanceof TypeError || error instanceof RangeError) return false;
  const code = sqlState(error);
  return code === undefined || transientClasses.has(code.slice(0, 2));
}

export const deadlock = "40P01";

export const undefinedTable = "42P01";

/** The SQLSTATE of a PostgreSQL error, or undefined for an error that did not come from PostgreSQL. */
export function sqlState(error: unknown): string | undefined {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  return typeof code === "string" && /^[0-9A-Z]{5}$/.test(code) && !code.startsWith("E") ? code : undefined;
}

/** Turns an unavailable database into `store_unavailable` and returns any other error unchanged. */
export function asHubError(error: unknown): unknown {
  return error instanceof HubError || !isUnavailable(error)
    ? error
    : new HubError("store_unavailable", undefined, { cause: error, retryAfterS: 1 });
}
