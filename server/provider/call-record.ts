/**
 * The calls to providers of all nodes, in the table `provider_call`: counts by minute, provider, verb and duration. Each node adds its calls
 * every 5 s, apart from the calls themselves, which never wait for it.
 *
 * Not exact: durations have two digits, a killed node's calls since its last write are not counted, and calls are counted twice if
 * PostgreSQL's answer to a write is lost. While PostgreSQL is away a node keeps one count for each duration, which bounds them, and forgets
 * all of them after 15 min.
 */
import type pg from "pg";
import { type Loop, startLoop } from "../loop.ts";
import { run } from "../order/statement.ts";
import { type CallFigures, type FinishedCall, figuresOf, type Verb } from "./call-stats.ts";

export interface CallRecord {
  add(call: FinishedCall): void;
  /**
   * The calls of all nodes in the last 15 minutes, by provider: those of this node until the read began, those of others up to 5 s late.
   * Callers at the same time share a read. Throws `store_unavailable`.
   */
  recent(): Promise<(provider: string) => Record<Verb, CallFigures>>;
  close(): Promise<void>;
}

export interface CallRecordOptions {
  pool: pg.Pool;
  /** Called after this node's failed calls were added, if calls of all nodes to that provider fail. */
  onFailing: (provider: string) => void;
  onError: (error: unknown) => void;
  onRecovered: () => void;
  /** A monotonic clock. */
  nowMs?: () => number;
}

interface Count {
  provider: string;
  verb: Verb;
  took_ms: number;
  calls: number;
  failed: number;
}

const periodMs = 5_000;
const forgottenMs = 900_000;

/** In the order of the key, so that two nodes never wait for each other. */
const addStatement = {
  name: "add-provider-calls",
  text: `insert into provider_call (minute, provider, verb, took_ms, calls, failed)
    select date_trunc('minute', statement_timestamp()), provider, verb, took_ms, calls, failed
    from jsonb_to_recordset($1::jsonb) as given (provider text, verb text, took_ms int, calls int, failed int)
    order by provider, verb, took_ms
    on conflict (minute, provider, verb, took_ms) do update
      set calls = provider_call.calls + excluded.calls, failed = provider_call.failed + excluded.failed
    returning 1 as one`,
} as const;

const removeStatement = {
  name: "remove-provider-calls",
  text: `delete from provider_call where ctid = any (array(
    select ctid from provider_call where minute < statement_timestamp() - interval '1 hour'
    order by minute limit 500 for update skip locked)) returning 1 as one`,
} as const;

const readStatement = {
  name: "read-provider-calls",
  text: `select provider, verb, took_ms, sum(calls)::int as calls, sum(failed)::int as failed from provider_call
    where minute > statement_timestamp() - interval '15 minutes'
    group by provider, verb, took_ms order by provider, verb, took_ms`,
} as const;

/**
 * $1: providers. Those of which in the last 20 calls, and all others of their minutes, ten and half of all failed: ten, because some calls
 * fail with every provider. A shop with few calls has fewer than 20 in an hour.
 */
const failingStatement = {
  name: "failing-providers",
  text: `select provider from (
      select provider, sum(calls) as calls, sum(failed) as failed, sum(sum(calls)) over newer as newer
      from provider_call where minute > statement_timestamp() - interval '1 hour' and provider = any ($1::text[])
      group by provider, minute
      window newer as (partition by provider order by minute desc rows between unbounded preceding and 1 preceding)) by_minute
    where newer is null or newer < 20 group by provider having sum(failed) >= 10 and 2 * sum(failed) >= sum(calls)`,
} as const;

export function createCallRecord({ pool, nowMs = () => performance.now(), ...options }: CallRecordOptions): CallRecord {
  let counts = new Map<string, Count>();
  let writtenMs = nowMs();
  let writing: Promise<void> = Promise.resolve();
  let reading: ReturnType<CallRecord["recent"]> | undefined;

  const write = async (): Promise<void> => {
    const taken = [...counts.values()];
    if (taken.length > 0) {
      counts = new Map();
      await run(pool, addStatement, [JSON.stringify(taken)]).catch((error: unknown) => {
        putBack(taken);
        throw error;
      });
      const failing = new Set(taken.filter(({ failed }) => failed > 0).map(({ provider }) => provider));
      for (const provider of await readFailing(pool, [...failing])) options.onFailing(provider);
      await run(pool, removeStatement, []);
    }
    writtenMs = nowMs();
  };

  const putBack = (taken: readonly Count[]): void => {
    if (nowMs() - writtenMs <= forgottenMs) for (const one of taken) count(counts, one);
    else writtenMs = nowMs();
  };

  // One after the other, so that a read follows the write of every call that ended before it.
  const store = (): Promise<void> => {
    writing = writing.then(write, write);
    return writing;
  };
  const loop: Loop = startLoop({ ...options, task: store, delayMs: () => periodMs });

  const read = async (): ReturnType<CallRecord["recent"]> => {
    await store();
    const rows = await run<Count>(pool, readStatement, []);
    return (provider) => byVerb(rows.filter((row) => row.provider === provider));
  };

  return {
    add({ provider, verb, outcome, tookMs }) {
      count(counts, { provider, verb, took_ms: twoDigits(tookMs), calls: 1, failed: outcome === "failed" ? 1 : 0 });
    },
    recent() {
      reading ??= read().finally(() => {
        reading = undefined;
      });
      return reading;
    },
    async close() {
      await loop.close();
      // Without PostgreSQL, the calls since the last write are not counted.
      await store().catch(() => undefined);
    },
  };
}

function count(counts: Map<string, Count>, { calls, failed, ...key }: Count): void {
  const name = `${key.provider} ${key.verb} ${key.took_ms}`;
  const known = counts.get(name) ?? { ...key, calls: 0, failed: 0 };
  counts.set(name, { ...known, calls: known.calls + calls, failed: known.failed + failed });
}

/** Rounds to whole milliseconds of two digits, so that calls of up to 100 s have at most 371 durations. */
export function twoDigits(ms: number): number {
  const unit = 10 ** Math.max(0, Math.floor(Math.log10(Math.max(1, ms))) - 1);
  return Math.round(ms / unit) * unit;
}

async function readFailing(pool: pg.Pool, providers: readonly string[]): Promise<string[]> {
  if (providers.length === 0) return [];
  const rows = await run<{ provider: string }>(pool, failingStatement, [providers]);
  return rows.map(({ provider }) => provider);
}

function byVerb(rows: readonly Count[]): Record<Verb, CallFigures> {
  const figures = (verb: Verb): CallFigures => figuresOf(rows.filter((row) => row.verb === verb));
  return {
    initiate: figures("initiate"),
    complete: figures("complete"),
    confirm: figures("confirm"),
    token: figures("token"),
  };
}
