/**
 * Compares this node's secrets with those of the other running nodes, through one row per node in PostgreSQL. The rows have
 * fingerprints only. A row counts until it expires, so a killed node counts for 15 s at most.
 *
 * Two nodes conflict if one of them refuses what the other creates: honest webhooks, returns and watch tokens then get 401.
 * Guarantees: both nodes of a conflict report it. Of two nodes in conflict, the one that served first stays ready, and the
 * other one is blocked: it is not ready, and takes no money. It becomes ready once no node in conflict with it serves.
 *
 * A node with wrong secrets takes the place of no node that serves, in whatever order nodes start, and although nodes cannot
 * renew their rows for a while. Therefore a node that may have missed something, because it has just started or could not
 * compare, begins to serve only when the nodes that served before have had 15 s to renew their rows. A node that was cut off
 * for less than 10 min keeps its place: a node that began to serve meanwhile yields to it.
 *
 * Any number of nodes may compare at once. Each writes its row first and reads the others second, so of two nodes that begin
 * to serve at once, one sees the other, and the later one withdraws. Nodes of versions without this table are not compared.
 */
import { setTimeout as wait } from "node:timers/promises";
import type { FastifyBaseLogger } from "fastify";
import { type Database, isUnavailable } from "../database/pool.ts";
import { reportTask } from "../log.ts";
import { type Loop, startLoop } from "../loop.ts";
import { fingerprintOf } from "./keys.ts";
import { createNodeSecrets, type Fingerprints, lifetimeMs, type NodeSecrets, type OtherNode } from "./node-secret.ts";

export interface SecretState {
  /** False until the first comparison succeeds. */
  readonly isKnown: boolean;
  /** The number of other nodes in conflict with this one. */
  readonly conflicts: number;
  /** One of them served first, or nothing is known yet. This node must not be ready, and must take no money. */
  readonly isBlocked: boolean;
  /** False if this node refuses what the nodes on this database created last, before it began to serve. */
  readonly acceptsLast: boolean;
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
  /** A connection of its own, because a busy pool must not cost a node its place. */
  database: Pick<Database, "connectAlone">;
  secrets: readonly string[];
  log: Pick<FastifyBaseLogger, "error" | "warn" | "info">;
  /** A monotonic clock in milliseconds. */
  nowMs?: () => number;
}

/** 5 s, because a conflict is a mistake of configuration: it begins and ends with the start of a node. */
const periodMs = 5_000;

/** 1 s, because a node that is not ready may be the next one to serve, and one that cannot compare is about to expire. */
const urgentPeriodMs = 1_000;

/** Creates the comparison without a timer. `createRepeatedComparison` repeats it. */
export function createSecretComparison(options: SecretComparisonOptions): SecretComparison {
  const { database, secrets, log, nowMs = () => performance.now() } = options;
  const accepted = secrets.map(fingerprintOf);
  const own = { used: accepted[0] ?? "", accepted };
  const nodes = createNodeSecrets(database, own);
  const report = createReport(log, own);
  let isServing = false;
  let state: SecretState = { isKnown: false, conflicts: 0, isBlocked: true, acceptsLast: true };
  /** The previous comparison failed, so that other nodes' rows may have expired too, although these nodes run. */
  let hasFailed = false;
  let isCertainAtMs = Number.POSITIVE_INFINITY;

  const compare = async (): Promise<void> => {
    const last = state.isKnown ? undefined : await nodes.last();
    const wasAway = await nodes.renew(isServing);
    if (wasAway || hasFailed) isCertainAtMs = nowMs() + lifetimeMs;
    const settled = await settle(nodes, { own, isServing, isCertain: nowMs() >= isCertainAtMs });
    isServing = settled.isServing;
    if (isServing) await nodes.remember();
    const acceptsLast = state.acceptsLast && (last === undefined || accepted.includes(last));
    if (state.acceptsLast && !acceptsLast) reportLast(log, own);
    state = { isKnown: true, conflicts: settled.conflicting.length, isBlocked: !isServing, acceptsLast };
    report(state.isBlocked, settled.conflicting);
  };

  return {
    get state() {
      return state;
    },

    async compare() {
      try {
        await compare();
        hasFailed = false;
      } catch (error) {
        hasFailed = true;
        nodes.disconnect();
        throw error;
      }
      // Not part of the comparison, because a row that stays does no harm.
      if (nowMs() >= isCertainAtMs) await nodes.removeOld().catch(nodes.disconnect);
    },

    leave: nodes.leave,
  };
}

interface Place {
  own: Fingerprints;
  isServing: boolean;
  /** Every node that runs has had the time to renew its row. */
  isCertain: boolean;
}

/** Serves or withdraws until this node's row fits those of the others. Returns those in conflict. */
async function settle(
  nodes: NodeSecrets,
  { own, isCertain, ...place }: Place,
): Promise<{ isServing: boolean; conflicting: OtherNode[] }> {
  for (let { isServing } = place; ; ) {
    const others = await nodes.others(!isServing && !isCertain);
    const conflicting = others.filter((other) => isInConflict(own, other));
    const isBlocked = conflicting.some(({ precedes }) => precedes);
    if (isServing !== isBlocked) return { isServing, conflicting };
    // Writes the change and reads again, because another node may have begun to serve at the same time.
    isServing = !isBlocked;
    await nodes.renew(isServing);
  }
}

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
      "Another node has other secrets in TUKIO_SECRET: one of the two nodes refuses what the other one creates",
    );
  };
}

const reportLast = (log: SecretComparisonOptions["log"], { used, accepted }: Fingerprints): void =>
  log.warn(
    { event: "secret.last.refused", used, accepted },
    "TUKIO_SECRET lacks the secret that was used last: webhooks, returns and watch tokens of earlier payments get 401",
  );

/** Equal for equal conflicts, in whatever order PostgreSQL returns the nodes. */
const describe = (isBlocked: boolean, conflicting: readonly OtherNode[]): string => {
  const kinds = new Set(conflicting.map(({ used, accepted }) => JSON.stringify([used, accepted])));
  return JSON.stringify([isBlocked, [...kinds].toSorted()]);
};

/** 10 s, because a machine that has just started is slow, and a node that has not compared is not ready. */
const firstMsMax = 10_000;
const firstRetryMs = 100;

async function compareFirst(compare: () => Promise<void>): Promise<void> {
  for (const untilMs = performance.now() + firstMsMax; ; await wait(firstRetryMs)) {
    try {
      return await compare();
    } catch (error) {
      if (!isUnavailable(error) || performance.now() > untilMs) throw error;
    }
  }
}

export interface RepeatedComparison extends Pick<SecretComparison, "state">, Pick<Loop, "close"> {
  /** Resolves after the first successful comparison; after 10 s without PostgreSQL, or at another error, without one. */
  start(): Promise<void>;
  /** Ends the comparison and deletes this node's row. May be called more than once. */
  close(): Promise<void>;
}

/** After its start, compares every 5 s; every second while there is a conflict and after a failure. */
export function createRepeatedComparison(
  options: SecretComparisonOptions & { log: FastifyBaseLogger },
): RepeatedComparison {
  const comparison = createSecretComparison(options);
  const { onError, onRecovered } = reportTask(options.log, "secret comparison");
  let loop: Loop | undefined;
  let closing: Promise<void> | undefined;
  let isUrgent = true;

  const compare = async (): Promise<void> => {
    isUrgent = true;
    await comparison.compare();
    isUrgent = comparison.state.conflicts > 0;
  };

  return {
    get state() {
      return comparison.state;
    },
    async start() {
      await compareFirst(compare).catch(onError);
      const delayMs = (): number => (isUrgent ? urgentPeriodMs : periodMs);
      loop = startLoop({ task: compare, delayMs, onError, onRecovered });
    },
    close() {
      closing ??= (async () => {
        await loop?.close();
        await comparison.leave();
      })();
      return closing;
    },
  };
}
