/**
 * The keys and sessions in memory. A request is checked without the database, also one with an unknown key.
 *
 * Guarantees: each node reads every second whether a key was created or revoked, and reads the keys again if so. It reads PostgreSQL and
 * not Redis. If it could not for 4 s, `isCurrent` is false, and keys of the table are not accepted until it can: so a revoked key works
 * on no node for longer than 5 s, whatever fails. `TUKIO_API_KEY` works on. What an accepted key holds open, such as a stream, ends when
 * the node learns of the key's end.
 *
 * Uses a connection of its own, because a busy pool must not make the keys invalid.
 */
import { hash } from "node:crypto";
import type pg from "pg";
import {
  type ApiKey,
  environmentKey,
  fingerprintOfHash,
  hashOf,
  type KeyRing,
  type Scope,
  scopes,
} from "../auth/api-key.ts";
import type { Database } from "../database/pool.ts";
import { type Loop, startLoop } from "../loop.ts";

/** A row of the table, as the statement returns it. */
interface KeyRow {
  id: string;
  /** In hex. */
  hash: string;
  name: string | null;
  scopes: Scope[] | null;
  sessionOf: string | null;
  /** Milliseconds since 1970, by PostgreSQL's clock, and from now on. */
  expiresAt: number | null;
  leftMs: number | null;
}

/** $1: the mark of the keys that this node knows. Returns the keys only if the mark is another one. */
const readStatement = `
  select mark, case when mark is distinct from $1 then coalesce((
    select json_agg(json_build_object('id', id, 'hash', encode(hash, 'hex'), 'name', name, 'scopes', scopes, 'sessionOf', session_of,
      'expiresAt', extract(epoch from expires_at) * 1000,
      'leftMs', extract(epoch from expires_at - clock_timestamp()) * 1000))
    from api_key where expires_at is null or expires_at > statement_timestamp()), '[]') end as keys
  from api_key_mark`;

const periodMs = 1_000;

/** From the start of the last read that succeeded. With the period it stays below 5 s. */
const currentMs = 4_000;

export interface OpenKeyRing extends KeyRing {
  /** Reads the keys if they have changed. Rejects while PostgreSQL is unreachable. */
  refresh(): Promise<void>;
  /** Reads every second from now on. Resolves after the first read, or when it has failed. */
  start(): Promise<void>;
  close(): Promise<void>;
}

export interface KeyRingOptions {
  /** Those of `TUKIO_API_KEY`. */
  apiKeys: readonly string[];
  database: Pick<Database, "connectAlone">;
  onError: (error: unknown) => void;
  onRecovered: () => void;
  /** A monotonic clock in milliseconds. */
  nowMs?: () => number;
}

export function createKeyRing(options: KeyRingOptions): OpenKeyRing {
  const { apiKeys, database, onError, onRecovered, nowMs = () => performance.now() } = options;
  const own = apiKeys.map(environmentKeyOf);
  const known = createKnownKeys(own, nowMs);
  let client: pg.Client | undefined;
  let mark: string | undefined;
  let readAtMs = Number.NEGATIVE_INFINITY;
  let reading: Promise<void> = Promise.resolve();
  let loop: Loop | undefined;

  const read = async (): Promise<void> => {
    const startedMs = nowMs();
    known.endExpired();
    try {
      client ??= await database.connectAlone("tukio");
      const { rows } = await client.query<{ mark: string; keys: KeyRow[] | null }>(readStatement, [mark]);
      const [found] = rows;
      if (!found) throw new Error("the table api_key_mark is empty");
      if (found.keys) known.replace(found.keys);
      mark = found.mark;
      readAtMs = startedMs;
    } catch (error) {
      void client?.end().catch(() => undefined);
      client = undefined;
      throw error;
    }
  };

  const ring: OpenKeyRing = {
    keyOf: (secret) => known.keys.get(idOf(secret)),
    sessionOf(token) {
      const session = known.sessions.get(idOf(token));
      return session && session.endsAtMs > nowMs() ? session.key : undefined;
    },
    get isCurrent() {
      return nowMs() - readAtMs < currentMs;
    },
    // One after the other, because an older read must not replace the keys of a newer one.
    refresh() {
      reading = reading.then(read, read);
      return reading;
    },
    async start() {
      await ring.refresh().catch(onError);
      loop = startLoop({ task: ring.refresh, delayMs: () => periodMs, onError, onRecovered });
    },
    async close() {
      await loop?.close();
      await reading.catch(() => undefined);
      await client?.end().catch(() => undefined);
    },
  };
  return ring;
}

/** The place of a secret in a map. */
const idOf = (secret: string): string => hash("sha256", secret, "hex");

const environmentKeyOf = (secret: string): { hash: string; key: ApiKey } => ({
  hash: idOf(secret),
  key: {
    id: environmentKey,
    name: environmentKey,
    scopes,
    fingerprint: fingerprintOfHash(hashOf(secret)),
    hasEnded: false,
    held: new Set(),
  },
});

interface Session {
  key: ApiKey;
  /** By the monotonic clock. */
  endsAtMs: number;
}

/** The keys and sessions by their hash in hex. A key that stays keeps its object, and so what it holds. */
function createKnownKeys(own: readonly { hash: string; key: ApiKey }[], nowMs: () => number) {
  const environmentKeys = own.map(({ hash, key }) => [hash, key] as const);
  const known = {
    keys: new Map(environmentKeys),
    sessions: new Map<string, Session>(),

    replace(rows: readonly KeyRow[]): void {
      const before = allOf(known);
      const found = rows.filter(({ sessionOf }) => sessionOf === null);
      const keys = found.map((row) => [row.hash, known.keys.get(row.hash) ?? keyOf(row)] as const);
      known.keys = new Map([...environmentKeys, ...keys]);
      const parents = new Map([...known.keys.values()].map((key) => [key.fingerprint, key]));
      const sessions = rows.flatMap((row) => {
        const parent = parents.get(row.sessionOf ?? "");
        return parent ? [[row.hash, known.sessions.get(row.hash) ?? sessionOf(row, parent, nowMs())] as const] : [];
      });
      known.sessions = new Map(sessions);
      const after = new Set(allOf(known));
      for (const key of before) if (!after.has(key)) end(key);
    },

    /** Ends what sessions hold whose time is over. */
    endExpired(): void {
      for (const [hash, { key, endsAtMs }] of known.sessions) {
        if (endsAtMs > nowMs()) continue;
        known.sessions.delete(hash);
        end(key);
      }
    },
  };
  return known;
}

const allOf = (known: { keys: Map<string, ApiKey>; sessions: Map<string, Session> }): ApiKey[] => [
  ...known.keys.values(),
  ...[...known.sessions.values()].map(({ key }) => key),
];

const keyOf = ({ id, hash, name, scopes: granted }: KeyRow): ApiKey => ({
  id,
  name: name ?? "",
  scopes: granted ?? [],
  fingerprint: fingerprintOfHash(Buffer.from(hash, "hex")),
  hasEnded: false,
  held: new Set(),
});

const sessionOf = ({ id, expiresAt, leftMs }: KeyRow, parent: ApiKey, now: number): Session => ({
  key: { ...parent, session: { id, expiresAt: new Date(expiresAt ?? 0) }, hasEnded: false, held: new Set() },
  endsAtMs: now + (leftMs ?? 0),
});

function end(key: ApiKey): void {
  key.hasEnded = true;
  for (const held of [...key.held]) held.expire();
  key.held.clear();
}
