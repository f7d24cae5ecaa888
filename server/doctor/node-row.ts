/**
 * The table of running nodes: one row per node, with facts that the doctor of any node compares. A row counts until it expires, so a killed
 * node counts for 15 s at most. The doctor works without the rows: while PostgreSQL is away it examines its own node.
 */
import { randomUUID } from "node:crypto";
import type pg from "pg";
import { z } from "zod";
import { run } from "../order/statement.ts";

/** What a node states about itself. Another version may state more or less. */
export const nodeFacts = z.object({
  /** Host and port, to tell nodes apart. */
  name: z.string(),
  version: z.string(),
  /** Of the code. */
  schema: z.int(),
  /** Fingerprints of settings, by the fingerprint of their key and the variable. */
  settings: z.record(z.string(), z.record(z.string(), z.string())),
  /** The node's clock minus PostgreSQL's, in seconds; null if it was not measured. */
  clockS: z.number().nullable(),
  redis: z.enum(["up", "down", "off"]),
  /** Webhooks in its spool. */
  spooled: z.int(),
});

export type NodeFacts = z.infer<typeof nodeFacts>;

export interface NodeRows {
  /** Writes this node's row, which then counts for 15 s. Returns PostgreSQL's time, in milliseconds since 1970. */
  renew(facts: NodeFacts): Promise<number>;
  /** The other nodes that run, and how many of them have facts that this version cannot read. */
  others(): Promise<{ nodes: NodeFacts[]; unreadable: number }>;
  /** Deletes this node's row. */
  leave(): Promise<void>;
}

/** 15 s: three times the period, because a slow statement must not hide a node. */
const lifetimeS = 15;

const renewStatement = {
  name: "renew-node",
  text: `insert into node (id, facts, expires_at) values ($1, $2, clock_timestamp() + interval '${lifetimeS} seconds')
    on conflict (id) do update set facts = excluded.facts, expires_at = excluded.expires_at
    returning extract(epoch from clock_timestamp())::float8 * 1000 as "nowMs"`,
} as const;

/** 100, because an answer must stay short. */
const othersStatement = {
  name: "other-nodes",
  text: "select facts from node where id <> $1 and expires_at > clock_timestamp() order by id limit 100",
} as const;

const leaveStatement = { name: "leave-node", text: "delete from node where id = $1 returning id" } as const;

/** Removes the rows of killed nodes. Skips locked rows, because two nodes that wait for each other would deadlock. */
const removeStatement = {
  name: "remove-nodes",
  text: `delete from node where id = any (array(
    select id from node where expires_at < clock_timestamp() - interval '1 hour' limit 100 for update skip locked)) returning id`,
} as const;

export function createNodeRows(pool: pg.Pool): NodeRows {
  const id = randomUUID();
  return {
    async renew(facts) {
      const [row] = await run<{ nowMs: number }>(pool, renewStatement, [id, JSON.stringify(facts)]);
      await run(pool, removeStatement, []);
      return row?.nowMs ?? Number.NaN;
    },
    async others() {
      const rows = await run<{ facts: unknown }>(pool, othersStatement, [id]);
      const nodes = rows.flatMap(({ facts }) => nodeFacts.safeParse(facts).data ?? []);
      return { nodes, unreadable: rows.length - nodes.length };
    },
    async leave() {
      await run(pool, leaveStatement, [id]);
    },
  };
}
