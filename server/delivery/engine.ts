/**
 * The delivery engine: fans new states out to endpoints, claims what is due and sends it.
 *
 * Guarantees: a commit is enough. Whatever fails after it (this process, the bus, another node), each state that an endpoint must
 * have is sent until the endpoint acknowledges it or its schedule ends. No node begins an attempt with an older version after one
 * with a newer version, because one delivery has one attempt at a time and each attempt reads the newest state.
 *
 * Attempts run beside the loop and never delay it. Endpoints do not share attempts: each has its own number of attempts in flight.
 */
import type { FastifyBaseLogger } from "fastify";
import type pg from "pg";
import { createInFlight, type InFlight } from "../in-flight.ts";
import { startLoop } from "../loop.ts";
import { type Claimed, claimDeliveries } from "./claim.ts";
import { disableFailing, disableGone, removeDeleted } from "./disable.ts";
import { fanOut, lookForEndpoints } from "./fan-out.ts";
import { removeForeign } from "./feed.ts";
import { type KnownState, type Message, type Prepared, prepareMessages, type SubjectReaders } from "./message.ts";
import { attemptMs, type NoAttempt, type Receiver, type Reply } from "./receiver.ts";
import { clearDelivery, deferDelivery, recordAttempt, releaseDelivery } from "./record.ts";
import { resumeDeliveries } from "./resume.ts";
import { delayMsAfter } from "./schedule.ts";

export type DeliveryResult = "delivered" | "failed" | "exhausted";

export interface EngineOptions {
  /** Read the subjects of upper layers for their messages. */
  readers?: SubjectReaders | undefined;
  pool: pg.Pool;
  /** Runs before the first pass, again until it succeeds. */
  prepare?: () => Promise<void>;
  /** Runs once a minute. */
  housekeep?: () => Promise<void>;
  /** Returns the receivers of these endpoints as they are now. An endpoint without one keeps what is due. */
  receivers: (endpointIds: readonly string[]) => Promise<ReadonlyMap<string, Receiver>>;
  /** The notifications of this node. */
  notifications?: readonly string[];
  /** Called after each recorded attempt. */
  onResult: (result: DeliveryResult, claimed: Claimed) => void;
  onError: (error: unknown) => void;
  onRecovered: () => void;
  log: Pick<FastifyBaseLogger, "info" | "warn" | "error">;
}

export interface DeliveryEngine {
  /** An event was committed on this node, or an endpoint changed: look at once. */
  wake(): void;
  /** Begins no attempt; waits for those in flight, at most 5 s, and gives up the claims of the rest. */
  close(): Promise<void>;
}

/** 1 s, because the events of other nodes and the retries wait for it. */
const idleMs = 1_000;

/** While another node fans out, or more remains to be read, resumed or removed: one batch of each in a pass, so that none waits long. */
const busyMs = 20;

/** Between two looks for failing and deleted endpoints. */
const housekeepingMs = 60_000;

const closeGraceMs = 5_000;

/**
 * A failed attempt keeps its place for 100 ms, because an endpoint that refuses at once would otherwise have its backlog tried as fast
 * as PostgreSQL writes, to the disadvantage of other endpoints and of payments.
 */
const failurePauseMs = 100;

type State = EngineOptions & {
  inFlight: InFlight;
  /** Attempts in flight by endpoint. */
  busy: Map<string, number>;
  isPrepared: boolean;
  hasEndpoint: boolean;
  /** The fan-out has more to read. */
  isUnfinished: boolean;
  /** An endpoint was enabled, and not all of its deliveries are resumed. */
  isResuming: boolean;
  /** Deleted endpoints have deliveries. */
  isRemoving: boolean;
  /** The feed has events of the cluster from which the database was restored. */
  hasForeign: boolean;
  lookedAtMs: number;
  housekeptAtMs: number;
  isClosing: boolean;
  wake: () => void;
};

export function startEngine(options: EngineOptions): DeliveryEngine {
  const state: State = {
    ...options,
    inFlight: createInFlight(closeGraceMs),
    busy: new Map(),
    isPrepared: false,
    // Unknown yet: the first run finds out.
    hasEndpoint: true,
    lookedAtMs: Number.NEGATIVE_INFINITY,
    isUnfinished: false,
    isResuming: false,
    isRemoving: false,
    // Unknown yet: the first run finds out.
    hasForeign: true,
    housekeptAtMs: performance.now(),
    isClosing: false,
    wake: () => undefined,
  };
  const loop = startLoop({
    task: () => pass(state),
    delayMs: () => (state.isUnfinished || state.isResuming || state.isRemoving || state.hasForeign ? busyMs : idleMs),
    onError: options.onError,
    onRecovered: options.onRecovered,
  });
  state.wake = () => {
    if (state.hasEndpoint && !state.isClosing) loop.runNow();
  };
  loop.runNow();
  return {
    wake: state.wake,
    async close() {
      state.isClosing = true;
      await loop.close();
      await state.inFlight.close();
    },
  };
}

/** One pass of the loop. Starts attempts and does not wait for them. */
async function pass(state: State): Promise<void> {
  const { pool } = state;
  if (!state.isPrepared) await state.prepare?.();
  state.isPrepared = true;
  await housekeep(state);
  await look(state);
  await cleanFeed(state);
  if (!state.hasEndpoint) return;
  await resume(state);
  // Retries go on if the fan-out fails.
  const fannedOut = await fanOut(pool).catch((error: unknown) => ({ isUnfinished: false, error }));
  state.isUnfinished = fannedOut.isUnfinished;
  await beginDue(state);
  if ("error" in fannedOut) throw fannedOut.error;
}

/** Claims what is due and begins the attempts. */
async function beginDue(state: State): Promise<void> {
  const { pool } = state;
  // Before the claim, because the lease begins with it.
  const claimedAtMs = performance.now();
  const claimed = await claimDeliveries(pool, state.busy, state.notifications);
  if (claimed.length === 0) return;
  const endpointIds = [...new Set(claimed.map(({ endpointId }) => endpointId))];
  try {
    const [receivers, messages] = await Promise.all([
      state.receivers(endpointIds),
      prepareMessages(pool, claimed, state.readers),
    ]);
    for (const prepared of messages) {
      const receiver = receivers.get(prepared.claimed.endpointId);
      begin(state, prepared, { receiver, claimedAtMs });
    }
  } catch (error) {
    await Promise.allSettled(claimed.map((one) => releaseDelivery(pool, one)));
    throw error;
  }
}

/** Once a second, because a node without an endpoint does nothing else, and one with endpoints must not ask before each pass. */
async function look(state: State): Promise<void> {
  if (state.hasEndpoint && performance.now() - state.lookedAtMs < idleMs) return;
  const { hasEndpoint, isResuming } = await lookForEndpoints(state.pool);
  state.hasEndpoint = hasEndpoint;
  state.isResuming ||= isResuming;
  state.isUnfinished &&= hasEndpoint;
  // A database may be restored while the node runs.
  state.hasForeign = true;
  state.lookedAtMs = performance.now();
}

async function cleanFeed(state: State): Promise<void> {
  if (!state.hasForeign) return;
  // So that an error delays the next batch.
  state.hasForeign = false;
  state.hasForeign = await removeForeign(state.pool);
}

async function resume(state: State): Promise<void> {
  if (!state.isResuming) return;
  // So that an error delays the next batch.
  state.isResuming = false;
  state.isResuming = await resumeDeliveries(state.pool);
}

/** Disables failing endpoints and keeps notifications once a minute, and removes deleted ones, as long as there are any. */
async function housekeep(state: State): Promise<void> {
  const isTime = performance.now() - state.housekeptAtMs > housekeepingMs;
  if (!isTime && !state.isRemoving) return;
  state.isRemoving = false;
  if (isTime) {
    state.housekeptAtMs = performance.now();
    for (const { id } of await disableFailing(state.pool)) reportDisabled(state, id, "failing");
    await state.housekeep?.();
  }
  state.isRemoving = await removeDeleted(state.pool);
}

const reportDisabled = ({ log }: State, endpointId: string, because: string): void =>
  log.warn({ event: "delivery.endpoint.disabled", endpointId, because }, "An endpoint was disabled");

/** Logs the first failure of an endpoint since its last success, and the first success after it. */
function reportHealth(
  { log }: State,
  endpointId: string,
  { change, reply }: { change: "failing" | "recovered"; reply: Reply },
): void {
  if (change === "recovered") {
    log.info({ event: "delivery.endpoint.recovered", endpointId }, "An endpoint accepts messages again");
    return;
  }
  const { status: httpStatus, error } = reply;
  log.warn(
    { event: "delivery.endpoint.failing", endpointId, httpStatus, error },
    "An endpoint does not accept messages; its deliveries have the answers",
  );
}

/** Half the lease, because a process that was stopped for longer must not send what another node may be sending now. */
const staleMs = 15_000;

function begin(
  state: State,
  { claimed, known, message }: Prepared,
  { receiver, claimedAtMs }: { receiver: Receiver | undefined; claimedAtMs: number },
): void {
  const { endpointId } = claimed;
  const isStale = performance.now() - claimedAtMs > staleMs;
  // Without a receiver or in time, the lease ends and the delivery is due again.
  if (!receiver || isStale) return;
  state.busy.set(endpointId, (state.busy.get(endpointId) ?? 0) + 1);
  const attempt = message ? deliver(state, { claimed, message, receiver }) : clear(state, claimed, known);
  void state.inFlight.track(
    attempt
      .catch((err: unknown) => {
        state.log.error({ event: "delivery.attempt.unrecorded", endpointId, err }, "An attempt could not be recorded");
        return false;
      })
      .then((isDone) => {
        if (isDone) free(state, endpointId);
        else setTimeout(() => free(state, endpointId), failurePauseMs).unref();
      }),
  );
}

/** Another attempt to the endpoint may begin. */
function free({ busy, wake }: State, endpointId: string): void {
  const left = (busy.get(endpointId) ?? 1) - 1;
  if (left > 0) busy.set(endpointId, left);
  else busy.delete(endpointId);
  wake();
}

async function clear({ pool }: State, claimed: Claimed, known: KnownState): Promise<boolean> {
  await clearDelivery(pool, claimed, known);
  return true;
}

/** Sends one message and records the result. Returns whether another attempt may begin at once. */
async function deliver(
  state: State,
  { claimed, message, receiver }: { claimed: Claimed; message: Message; receiver: Receiver },
): Promise<boolean> {
  const { pool, inFlight, onResult } = state;
  let reply: Reply | NoAttempt;
  try {
    reply = await inFlight.withDeadline(attemptMs, (signal) => receiver(message, signal, claimed));
  } catch {
    // The process ends before the answer: another attempt repeats the message.
    await releaseDelivery(pool, claimed);
    return false;
  }
  if ("deferMs" in reply) {
    const { version, epoch } = message;
    if (reply.deferMs === null) await clearDelivery(pool, claimed, { version, epoch }, true);
    else await deferDelivery(pool, claimed, { version, deferMs: reply.deferMs });
    return true;
  }
  const delayMs = reply.isFinal ? undefined : delayMsAfter(claimed.attempts + 1, reply.retryAfterS);
  const change = await recordAttempt(pool, { claimed, message, reply, delayMs });
  if (change) reportHealth(state, claimed.endpointId, { change, reply });
  onResult(resultOf(reply, delayMs), claimed);
  if (reply.isGone && (await disableGone(pool, claimed.endpointId, claimed.url)).length > 0) {
    reportDisabled(state, claimed.endpointId, "gone");
  }
  return reply.isDelivered;
}

function resultOf({ isDelivered }: Reply, delayMs: number | undefined): DeliveryResult {
  if (isDelivered) return "delivered";
  return delayMs === undefined ? "exhausted" : "failed";
}
