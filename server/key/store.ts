/** The table of keys and sessions. A secret is stored as its hash, and shown once. */
import { randomBytes } from "node:crypto";
import type pg from "pg";
import { v7 as uuidv7 } from "uuid";
import { type ApiKey, hashOf, type Scope } from "../auth/api-key.ts";
import { HubError } from "../errors.ts";
import { run } from "../order/statement.ts";

/** 1,000, because each node keeps all keys in memory. */
export const keysMax = 1_000;

/** Sessions of one key. The next one ends the oldest. 20, because a key may be shared by a few people with several devices. */
export const sessionsMax = 20;

/** Rows of expired sessions that one sign-in deletes. */
const expiredMax = 100;

/** A session lasts for a working day. */
export const sessionHours = 12;

/** Scanners that look for leaked secrets find them by the prefix, and the log masks them by it (server/log.ts). */
const createSecret = (kind: "key" | "session"): string => `tukio_${kind}_${randomBytes(32).toString("base64url")}`;

export interface KeyView {
  id: string;
  name: string;
  scopes: Scope[];
  createdAt: string;
}

export interface Keys {
  /** Throws `key_limit`. The secret is shown only here. */
  create(draft: { name: string; scopes: readonly Scope[] }): Promise<{ key: KeyView; secret: string }>;
  /** The oldest first. */
  list(): Promise<KeyView[]>;
  /** Ends the key and its sessions. Throws `key_unknown`. */
  revoke(id: string): Promise<void>;
  /** Opens a session of a key; ends the one of `previous`, which the same browser has used until now. */
  openSession(key: ApiKey, previous: ApiKey | undefined): Promise<{ token: string; expiresAt: Date }>;
  endSession(id: string): Promise<void>;
}

/** Tells every node to read the keys again. */
const marked = "marked as (update api_key_mark set mark = gen_random_uuid())";

const returned = `id, name, scopes, iso(created_at) as "createdAt"`;

/** No row when there are `keysMax` already. */
const createStatement = {
  name: "create-key",
  text: `with ${marked}
    insert into api_key (id, hash, name, scopes) select $1, $2, $3, $4
    where (select count(*) from api_key where session_of is null) < ${keysMax} returning ${returned}`,
} as const;

const listStatement = {
  name: "list-keys",
  text: `select ${returned} from api_key where session_of is null order by created_at, id`,
} as const;

/** The sessions end because no node accepts a session without its key. Their rows are deleted when they expire. */
const revokeStatement = {
  name: "revoke-key",
  text: `with ${marked} delete from api_key where id = $1 and session_of is null returning id`,
} as const;

/** $3: the fingerprint of the key. $4: the session to end, or null. $5, $6: the id and the name of the key, for the record of changes. */
const openSessionStatement = {
  name: "open-session",
  text: `with ${marked},
    ended as (delete from api_key where id = any (array(
      select $4::uuid
      union all (select id from api_key where expires_at < statement_timestamp() order by expires_at limit ${expiredMax})
      union all (select id from api_key where session_of = $3 order by created_at desc offset ${sessionsMax - 1})))),
    recorded as (insert into audit (operation, key_id, key_name, is_desk, is_done) values ('signIn', $5, $6, true, true))
    insert into api_key (id, hash, session_of, expires_at)
    values ($1, $2, $3, clock_timestamp() + interval '${sessionHours} hours') returning expires_at as "expiresAt"`,
} as const;

const endSessionStatement = {
  name: "end-session",
  text: `with ${marked} delete from api_key where id = $1 and session_of is not null`,
} as const;

/** `onChange`: reads the keys again on this node. */
export function createKeys({ pool, onChange }: { pool: pg.Pool; onChange: () => Promise<void> }): Keys {
  // Other nodes read the change within a second, and so does this one if it cannot read it now.
  const changed = (): Promise<void> => onChange().catch(() => undefined);
  return {
    async create({ name, scopes }) {
      const secret = createSecret("key");
      const [key] = await run<KeyView>(pool, createStatement, [uuidv7(), hashOf(secret), name, [...new Set(scopes)]]);
      if (!key) throw new HubError("key_limit");
      await changed();
      return { key, secret };
    },
    list: () => run<KeyView>(pool, listStatement, []),
    async revoke(id) {
      if ((await run(pool, revokeStatement, [id])).length === 0) throw new HubError("key_unknown");
      await changed();
    },
    async openSession({ id, name, fingerprint }, previous) {
      const token = createSecret("session");
      const values = [uuidv7(), hashOf(token), fingerprint, previous?.session?.id, id, name];
      const [row] = await run<{ expiresAt: Date }>(pool, openSessionStatement, values);
      if (!row) throw new HubError("internal");
      await changed();
      return { token, expiresAt: row.expiresAt };
    },
    async endSession(id) {
      await run(pool, endSessionStatement, [id]);
      await changed();
    },
  };
}
