/** API keys and sessions beside a million orders, and the calls that send every statement about them. */
import { type ApiKey, scopes } from "../../server/auth/api-key.ts";
import type { Database } from "../../server/database/pool.ts";
import { beginStatement, endStatement, recordStatement, withdrawStatement } from "../../server/key/audit.ts";
import { listAudit } from "../../server/key/audit-list.ts";
import { createKeyRing } from "../../server/key/ring.ts";
import { createKeys, keysMax, sessionsMax } from "../../server/key/store.ts";
import { run } from "../../server/order/statement.ts";

/** The id of the `n`th key. */
const keyIdOf = (n: number): string => `019f0000-0000-7000-d000-${n.toString(16).padStart(12, "0")}`;

/** One key fewer than are allowed, each with as many sessions as are allowed. */
export const keyRows: readonly string[] = [
  `insert into api_key (id, hash, name, scopes)
   select ('019f0000-0000-7000-d000-' || lpad(to_hex(n), 12, '0'))::uuid, sha256(convert_to('key-' || n, 'UTF8')), 'key ' || n, '{read,pay}'
   from generate_series(1, ${keysMax - 1}) n`,
  `insert into api_key (id, hash, session_of, created_at, expires_at)
   select gen_random_uuid(), sha256(convert_to('session-' || n || '-' || k, 'UTF8')), 'fingerprint-' || n, now() - k * interval '1 hour',
     now() + (12 - k) * interval '1 hour'
   from generate_series(1, ${keysMax - 1}) n cross join generate_series(1, ${sessionsMax}) k where k < 12`,
  // Nearly all are of one key and one operation. Those of 400 days ago are expired.
  `insert into audit (at, operation, key_id, key_name, is_desk, subject, is_done)
   select at - case when n > 290000 then interval '400 days' else interval '0' end,
     case when n % 1000 = 0 then 'resolveReview' else 'startPayment' end, case when n % 500 = 0 then 'rare' else 'TUKIO_API_KEY' end,
     'a key', false, 'MILLION-' || n, true
   from made where n <= 300000`,
];

/** Rows that a method's statements may read besides those of the result, because a limit of the statement bounds them. */
export const keyReads: Record<string, number> = {
  // All keys and their sessions, in one row of the answer.
  readKeys: keysMax * (sessionsMax + 1),
  // The number of keys.
  createKey: keysMax,
  // Expired sessions that a sign-in deletes, and the sessions of the key.
  openSession: 2 * (100 + sessionsMax),
};

/** Named as the keys of `keyReads`. */
export function keyCalls(database: Database): Record<string, (() => Promise<unknown>)[]> {
  const { pool } = database;
  const onError = (): void => undefined;
  // With a connection of the pool, because its statements are explained.
  const connectAlone = async () => {
    const client = await pool.connect();
    const end = async (): Promise<void> => {
      // The pool ends the connection itself later.
      Reflect.deleteProperty(client, "end");
      client.release();
    };
    return Object.assign(client, { end });
  };
  const ring = createKeyRing({ apiKeys: [], database: { connectAlone }, onError, onRecovered: onError });
  const keys = createKeys({ pool, onChange: async () => undefined });
  const key: ApiKey = {
    id: keyIdOf(7),
    name: "key 7",
    scopes,
    fingerprint: "fingerprint-7",
    hasEnded: false,
    held: new Set(),
  };
  const filters = [
    {},
    { to: new Date(Date.now() - 30 * 86_400_000) },
    { from: new Date(Date.now() - 86_400_000) },
    ...["TUKIO_API_KEY", "rare", "none"].map((keyId) => ({ keyId })),
    ...["startPayment", "resolveReview", "none"].map((operation) => ({ operation })),
    ...["MILLION-77", "none"].map((subject) => ({ subject })),
  ];
  return {
    readKeys: [ring.refresh, ring.refresh, ring.close],
    createKey: [() => keys.create({ name: "new", scopes }), () => keys.create({ name: "one too many", scopes })],
    listKeys: [() => keys.list()],
    revokeKey: [() => keys.revoke(keyIdOf(8)), () => keys.revoke(keyIdOf(0))],
    openSession: [() => keys.openSession(key, undefined)],
    listAudit: filters.map((filter) => async () => {
      const { nextCursor } = await listAudit(pool, { ...filter, limit: 50 });
      if (nextCursor !== null) await listAudit(pool, { ...filter, limit: 50, cursor: nextCursor });
    }),
    recordChanges: [
      () => run(pool, beginStatement, ["createKey", "TUKIO_API_KEY", "TUKIO_API_KEY", false, null]),
      () => run(pool, endStatement, [new Date(), 7, "x"]),
      () => run(pool, withdrawStatement, [new Date(), 7]),
      () =>
        run(pool, recordStatement, [[1], ["startPayment"], ["TUKIO_API_KEY"], ["TUKIO_API_KEY"], [false], ["ORD-1"]]),
    ],
    endSession: [() => keys.endSession(keyIdOf(0))],
  };
}
