/** Explains every statement that code sends to PostgreSQL, at the moment when it is sent. */
import { createRequire } from "node:module";
import pg from "pg";
import { type Database, openDatabase, setSocketTimeout } from "../../server/database/pool.ts";

/** What PostgreSQL did for one statement. */
export interface StatementPlan {
  /** Undefined for a statement that is not prepared. */
  name: string | undefined;
  text: string;
  isGeneric: boolean;
  /** Rows that the statement returned or changed, whichever are more. Rows that it aggregated are none of them. */
  result: number;
  /** Rows that it inserted, updated or deleted. */
  changed: number;
  /** Rows that its scans read, also those that a filter removed, and the index entries of bitmap scans. */
  read: number;
  /** Pages that it read or wrote, also in functions that it called. */
  pages: number;
  /** Large tables that it scanned without an index. */
  scannedTables: string[];
}

/** One node of `explain (analyze, buffers, format json)`. */
interface PlanNode {
  "Node Type": string;
  "Relation Name"?: string;
  "Actual Rows": number;
  "Actual Loops": number;
  "Rows Removed by Filter"?: number;
  "Rows Removed by Index Recheck"?: number;
  "Shared Hit Blocks": number;
  "Shared Read Blocks": number;
  Plans?: PlanNode[];
}

interface Sent {
  name: string | undefined;
  text: string;
  values: readonly unknown[];
  /** Statements `set local …`, which the same message has before this one. */
  setting?: string;
}

/** A table with more rows must not be scanned. */
const smallTableRowsMax = 1_000;

/**
 * Opens the database so that each statement is first explained and rolled back, and then runs. A named statement is explained twice, because
 * PostgreSQL may run it by a plan for its values or by one for any values. The statements have no timeout.
 */
export async function openExplained(url: string): Promise<{ database: Database; plans: StatementPlan[] }> {
  const database = openDatabase(url, () => undefined);
  const plans: StatementPlan[] = [];
  const largeTables = await largeTablesOf(url);
  for (const pool of [database.pool, database.webhookPool, database.deliveryPool]) {
    pool.on("connect", (client) => {
      setSocketTimeout(client, 0);
      explainFirst(client, (plan) => {
        plans.push({ ...plan, scannedTables: plan.scannedTables.filter((table) => largeTables.has(table)) });
      });
    });
  }
  return { database, plans };
}

async function largeTablesOf(url: string): Promise<Set<string>> {
  const client = new pg.Client(url);
  await client.connect();
  const { rows } = await client.query("select relname from pg_class where relkind = 'r' and reltuples > $1", [
    smallTableRowsMax,
  ]);
  await client.end();
  return new Set(rows.map(({ relname }) => relname));
}

type Query = (...parameters: unknown[]) => Promise<pg.QueryResult>;
type Callback = (error: Error | null, result?: pg.QueryResult) => void;

function explainFirst(client: pg.PoolClient, onPlan: (plan: StatementPlan) => void): void {
  const send: Query = client.query.bind(client);
  const begun = send("set statement_timeout = 0");
  let isInTransaction = false;

  const explainAlone = async (sent: Sent, isGeneric: boolean): Promise<void> => {
    await send(isInTransaction ? "savepoint explained" : "begin");
    if (sent.setting !== undefined) await send(sent.setting);
    // A statement that fails here fails again when it runs.
    const plan = await explain(send, sent, isGeneric).catch(() => undefined);
    await send(isInTransaction ? "rollback to explained" : "rollback");
    if (plan) onPlan(plan);
  };

  const query: Query = async (...parameters) => {
    const sent = sentOf(parameters);
    await begun;
    if (/^(with|select|insert|update|delete)\b/i.test(sent.text)) {
      await explainAlone(sent, false);
      if (sent.name !== undefined) await explainAlone(sent, true);
    }
    if (/^begin\b/.test(sent.text)) isInTransaction = true;
    if (/^(commit|rollback)\b/.test(sent.text)) isInTransaction = false;
    return send(...parameters);
  };
  Object.assign(client, { query: withCallback(query) });
}

/** Accepts a callback as the last parameter, as pg's pool gives one. */
const withCallback =
  (query: Query) =>
  (...parameters: unknown[]): Promise<pg.QueryResult> | undefined => {
    const callback = parameters.at(-1);
    if (typeof callback !== "function") return query(...parameters);
    query(...parameters.slice(0, -1)).then(
      (result) => (callback as Callback)(null, result),
      (error) => (callback as Callback)(error),
    );
    return undefined;
  };

function sentOf([query, values]: readonly unknown[]): Sent {
  const { name, text = "", values: own } = (typeof query === "string" ? { text: query } : query) as Partial<Sent>;
  const [, setting, rest = text] = /^((?:set local [^;]+;\s*)+)(.*)$/s.exec(text) ?? [];
  const sent = { name, text: rest.trim(), values: own ?? (Array.isArray(values) ? values : []) };
  return setting === undefined ? sent : { ...sent, setting };
}

const { prepareValue }: { prepareValue: (value: unknown) => unknown } = createRequire(import.meta.url)("pg/lib/utils");

function literalOf(value: unknown): string {
  const prepared = prepareValue(value);
  if (prepared === null || prepared === undefined) return "null";
  return pg.escapeLiteral(Buffer.isBuffer(prepared) ? `\\x${prepared.toString("hex")}` : String(prepared));
}

/** Names each explained statement, because a prepared statement outlives its transaction. */
let statements = 0;

async function explain(send: Query, { name, text, values }: Sent, isGeneric: boolean): Promise<StatementPlan> {
  await send(`set local plan_cache_mode = ${isGeneric ? "force_generic_plan" : "force_custom_plan"}`);
  statements += 1;
  await send(`prepare explained_${statements} as ${text}`);
  const literals = values.length > 0 ? `(${values.map(literalOf).join(", ")})` : "";
  const { rows } = await send(`explain (analyze, buffers, format json) execute explained_${statements}${literals}`);
  const root = rows[0]["QUERY PLAN"][0].Plan as PlanNode;
  const nodes = nodesOf(root);
  const scans = nodes.filter((node) => node["Node Type"].endsWith(" Scan"));
  const ofTables = scans.filter((node) => "Relation Name" in node || node["Node Type"] === "Bitmap Index Scan");
  const writes = nodes.filter((node) => node["Node Type"] === "ModifyTable");
  const changed = sum(writes.flatMap(({ Plans = [] }) => Plans.map(rowsOf)));
  return {
    name,
    text,
    isGeneric,
    result: Math.max(rowsOf(root), changed),
    changed,
    read: sum(
      ofTables.map(
        (node) =>
          rowsOf(node) +
          ((node["Rows Removed by Filter"] ?? 0) + (node["Rows Removed by Index Recheck"] ?? 0)) * node["Actual Loops"],
      ),
    ),
    pages: root["Shared Hit Blocks"] + root["Shared Read Blocks"],
    scannedTables: scans
      .filter((node) => node["Node Type"].endsWith("Seq Scan"))
      .map((node) => node["Relation Name"] ?? ""),
  };
}

const nodesOf = (node: PlanNode): PlanNode[] => [node, ...(node.Plans ?? []).flatMap(nodesOf)];

const rowsOf = (node: PlanNode): number => node["Actual Rows"] * node["Actual Loops"];

const sum = (numbers: readonly number[]): number => numbers.reduce((total, one) => total + one, 0);
