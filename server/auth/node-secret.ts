/**
 * The table of the nodes' secrets: one row per running node, and one with the secret that was used last. It has fingerprints
 * only.
 *
 * Uses a connection of its own, because a busy pool must not keep a node from renewing its row. It is made when it is first
 * needed, and again after an error.
 */
import { randomUUID } from "node:crypto";
import type pg from "pg";
import type { Database } from "../database/pool.ts";

/** The fingerprints of a node's secrets. */
export interface Fingerprints {
  /** Of the secret that creates. */
  used: string;
  /** Of all secrets that verify. */
  accepted: string[];
}

export interface OtherNode extends Fingerprints {
  /** It has served for longer than this node. */
  precedes: boolean;
}

/** The rows as this node writes and reads them. Every method rejects, except `leave`, while PostgreSQL is unreachable. */
export interface NodeSecrets {
  /** Writes this node's row, which then counts for 15 s. Returns whether it did not count until now. */
  renew(isServing: boolean): Promise<boolean>;
  /** The other nodes whose rows count. `countsExpired`: a node counts too that served when its row expired. */
  others(countsExpired: boolean): Promise<OtherNode[]>;
  /** The fingerprint of the secret that nodes on this database used last. */
  last(): Promise<string | undefined>;
  /** Stores that this node's secret is used. */
  remember(): Promise<void>;
  /** Removes the rows of killed nodes. */
  removeOld(): Promise<void>;
  /** Deletes this node's row, and disconnects. Never rejects: without PostgreSQL the row expires. */
  leave(): Promise<void>;
  disconnect(): void;
}

/** 15 s: three times the period, because a slow statement or a long pause of the process must not hide a node. */
export const lifetimeMs = 15_000;

export function createNodeSecrets(
  database: Pick<Database, "connectAlone">,
  { used, accepted }: Fingerprints,
): NodeSecrets {
  const node = randomUUID();
  let client: pg.Client | undefined;

  const query = async <Row extends pg.QueryResultRow>(text: string, values: unknown[] = []): Promise<Row[]> => {
    client ??= await database.connectAlone("tukio");
    return (await client.query<Row>(text, values)).rows;
  };

  const disconnect = (): void => {
    // Not awaited, because a server that does not answer would delay the caller.
    void client?.end().catch(() => undefined);
    client = undefined;
  };

  return {
    async renew(isServing) {
      const values = [node, used, accepted, isServing, lifetimeMs / 1_000];
      const [row] = await query<{ wasAway: boolean }>(renewStatement, values);
      return row?.wasAway ?? true;
    },
    others: (countsExpired) => query<OtherNode>(readStatement, [node, countsExpired]),
    async last() {
      const [row] = await query<{ used: string }>(lastStatement);
      return row?.used;
    },
    async remember() {
      await query(rememberStatement, [used]);
    },
    async removeOld() {
      await query(removeStatement);
    },
    async leave() {
      await query("delete from node_secret where node = $1", [node]).catch(() => undefined);
      disconnect();
    },
    disconnect,
  };
}

/** The row of no node: it has the secret that nodes used last. It never counts, because it has expired and does not serve. */
const lastNode = "00000000-0000-0000-0000-000000000000";

const lastStatement = `select used from node_secret where node = '${lastNode}'`;

/** $1: the secret that this node uses. Writes nothing if another one has the same. */
const rememberStatement = `
  insert into node_secret (node, used, accepted, expires_at)
  select '${lastNode}', $1, array[$1], 'epoch'
  where not exists (select from node_secret where node = '${lastNode}' and used = $1)
  on conflict (node) do update set used = excluded.used, accepted = excluded.accepted`;

/** 10 min, because a failover takes minutes at most, and all nodes may have been replaced while one was cut off for longer. */
const keptS = 600;

/** $4: whether the node serves. */
const renewStatement = `
  with own_before as (select expires_at from node_secret where node = $1)
  insert into node_secret as own (node, used, accepted, serving_since, expires_at)
  values ($1, $2, $3, case when $4 then clock_timestamp() end, clock_timestamp() + $5 * interval '1 second')
  on conflict (node) do update set
    expires_at = excluded.expires_at,
    serving_since = case
      when own.serving_since is not null and $4 and own.expires_at > clock_timestamp() - interval '${keptS} seconds'
        then own.serving_since
      else excluded.serving_since end
  returning not exists (select from own_before where expires_at > clock_timestamp()) as "wasAway"`;

/** $2: whether a node counts that served when its row expired. */
const readStatement = `
  select other.used, other.accepted,
    other.serving_since is not null
      and (own.serving_since is null or (other.serving_since, other.node) < (own.serving_since, own.node)) as precedes
  from node_secret own, node_secret other
  where own.node = $1 and other.node <> own.node
    and (other.expires_at > clock_timestamp() or ($2 and other.serving_since is not null))`;

/** Removes the rows of killed nodes. Skips locked rows, because two nodes that wait for each other would deadlock. */
const removeStatement = `
  delete from node_secret where node in (
    select node from node_secret
    where node <> '${lastNode}' and expires_at < clock_timestamp() - interval '${keptS} seconds' for update skip locked)`;
