/**
 * Compares this node's secrets with those of the other running nodes, through one row per node in PostgreSQL. The rows have
 * fingerprints only. A row counts until it expires, so a killed node counts for 15 s at most.
 *
 * Two nodes conflict if one of them refuses what the other creates: honest webhooks, returns and watch tokens then get 401.
 * Guarantees: both nodes of a conflict report it. Of two nodes in conflict, the one that served first stays ready, and the
 * other one is not ready. So a node with wrong secrets never takes the place of the nodes that serve, in whatever order nodes
 * start. It becomes ready once no node in conflict with it serves.
 *
 * Any number of nodes may compare at once. Each writes its row first and reads the others second, so of two nodes that begin
 * to serve at once, one sees the other, and the later one withdraws. Nodes of versions without this table are not compared.
 */
import { randomUUID } from "node:crypto";
import type { FastifyBaseLogger } from "fastify";
import type { Database } from "../database/pool.ts";
import { reportTask } from "../log.ts";
import { type Loop, startLoop } from "../loop.ts";
import { fingerprintOf } from "./keys.ts";

export interface SecretState {
  /** The number of other running nodes in conflict with this one. */
  readonly conflicts: number;
  /** One of them served first, so this node must not be ready. */
  readonly isBlocked: boolean;
}

export interface SecretComparison {
  /** The result of the latest comparison; it stays while PostgreSQL is unreachable. */
  readonly state: SecretState;
  /** Compares once. Rejects, and keeps the state, while PostgreSQL is unreachable. */
  compare(): Promise<void>;
  /** Deletes this node's row, so that it stops counting at once. Never rejects: without PostgreSQL the row expires. */
  leave(): Promise<void>;
}

export interface SecretComparisonOptions {
  database: Pick<Database, "pool">;
  secrets: readonly string[];
  log: Pick<FastifyBaseLogger, "error" | "info">;
  /** A monotonic clock in milliseconds. */
  nowMs?: () => number;
}

/** 15 s: three times the period, because a slow statement or a long pause of the process must not hide a node. */
const lifetimeMs = 15_000;

/** 5 s, because a conflict is a mistake of configuration: it begins and ends with the start of a node. */
const periodMs = 5_000;

/** 1 s, because a node that is not ready may be the next one to serve. */
const conflictPeriodMs = 1_000;

interface OtherNode {
  used: string;
  accepted: string[];
  /** It has served for longer than this node. */
  precedes: boolean;
}

/** Creates the comparison without a timer. `startSecretComparison` repeats it. */
export function createSecretComparison(options: SecretComparisonOptions): SecretComparison {
  const { database, secrets, log, nowMs = () => performance.now() } = options;
  const { pool } = database;
  const accepted = secrets.map(fingerprintOf);
  const [used = ""] = accepted;
  const node = randomUUID();
  const own = { used, accepted };
  const report = createReport(log, own);
  let isServing = false;
  let state: SecretState = { conflicts: 0, isBlocked: false };
  let renewedAtMs: number | undefined;
  let keepsStateUntilMs = Number.NEGATIVE_INFINITY;

  const renew = async (): Promise<void> => {
    await pool.query(renewStatement, [node, used, accepted, isServing, lifetimeMs / 1_000]);
    renewedAtMs = nowMs();
  };

  return {
    get state() {
      return state;
    },

    async compare() {
      if (renewedAtMs === undefined) await pool.query(removeStatement);
      // After an outage of PostgreSQL the other nodes' rows may have expired too, although these nodes run.
      else if (nowMs() - renewedAtMs > lifetimeMs) keepsStateUntilMs = nowMs() + lifetimeMs;
      await renew();
      if (nowMs() < keepsStateUntilMs) return;
      for (;;) {
        const { rows } = await pool.query<OtherNode>(readStatement, [node]);
        const conflicting = rows.filter((other) => isInConflict(own, other));
        const isBlocked = conflicting.some(({ precedes }) => precedes);
        if (isServing !== isBlocked) {
          state = { conflicts: conflicting.length, isBlocked };
          return report(isBlocked, conflicting);
        }
        // Writes the change and reads again, because another node may have begun to serve at the same time.
        isServing = !isBlocked;
        await renew();
      }
    },

    async leave() {
      await pool.query("delete from node_secret where node = $1", [node]).catch(() => undefined);
    },
  };
}

/**
 * Writes this node's row. A row that had expired loses its time: another node may have begun to serve meanwhile.
 * $4: whether the node serves.
 */
const renewStatement = `
  insert into node_secret as own (node, used, accepted, serving_since, expires_at)
  values ($1, $2, $3, case when $4 then clock_timestamp() end, clock_timestamp() + $5 * interval '1 second')
  on conflict (node) do update set
    expires_at = excluded.expires_at,
    serving_since = case when own.serving_since is not null and own.expires_at > clock_timestamp() and $4
      then own.serving_since else excluded.serving_since end`;

const readStatement = `
  select other.used, other.accepted,
    other.serving_since is not null
      and (own.serving_since is null or (other.serving_since, other.node) < (own.serving_since, own.node)) as precedes
  from node_secret own, node_secret other
  where own.node = $1 and other.node <> own.node and other.expires_at > clock_timestamp()`;

/** Removes the rows of killed nodes. Skips locked rows, because two nodes that wait for each other would deadlock. */
const removeStatement = `
  delete from node_secret where node in (
    select node from node_secret where expires_at < clock_timestamp() for update skip locked)`;

type Fingerprints = Pick<OtherNode, "used" | "accepted">;

const isInConflict = (one: Fingerprints, other: Fingerprints): boolean =>
  !one.accepted.includes(other.used) || !other.accepted.includes(one.used);

/** Logs the conflicts when they change. */
function createReport(
  log: SecretComparisonOptions["log"],
  { used, accepted }: Fingerprints,
): (isBlocked: boolean, conflicting: readonly OtherNode[]) => void {
  const none = describe(false, []);
  let reported = none;
  return (isBlocked, conflicting) => {
    const found = describe(isBlocked, conflicting);
    if (found === reported) return;
    reported = found;
    if (found === none) {
      log.info({ event: "secret.conflict.resolved" }, "The secrets of all running nodes fit together");
      return;
    }
    const others = conflicting.map((other) => ({ used: other.used, accepted: other.accepted }));
    log.error(
      { event: "secret.conflict.found", isBlocked, used, accepted, others },
      "Another running node has other secrets in TUKIO_SECRET: one of the two nodes refuses what the other one creates",
    );
  };
}

/** Equal for equal conflicts, in whatever order PostgreSQL returns the nodes. */
const describe = (isBlocked: boolean, conflicting: readonly OtherNode[]): string => {
  const kinds = new Set(conflicting.map(({ used, accepted }) => JSON.stringify([used, accepted])));
  return JSON.stringify([isBlocked, [...kinds].toSorted()]);
};

/** `close` ends the comparison and deletes this node's row. */
export interface StartedSecretComparison extends Pick<SecretComparison, "state">, Pick<Loop, "close"> {}

/** Compares now, and then every 5 s, or every second while there is a conflict. Resolves after the first comparison. */
export async function startSecretComparison(
  options: SecretComparisonOptions & { log: FastifyBaseLogger },
): Promise<StartedSecretComparison> {
  const comparison = createSecretComparison(options);
  const { onError, onRecovered } = reportTask(options.log, "secret comparison");
  await comparison.compare().catch(onError);
  const loop = startLoop({
    task: comparison.compare,
    delayMs: () => (comparison.state.conflicts > 0 ? conflictPeriodMs : periodMs),
    onError,
    onRecovered,
  });
  return {
    get state() {
      return comparison.state;
    },
    async close() {
      await loop.close();
      await comparison.leave();
    },
  };
}
