/**
 * The sandboxes' host: of all nodes on one database with the same sandboxes, one holds the state of the sandboxes, and the others
 * forward their requests to it (forward.ts). Without it, a node would query its own sandbox about another node's payments.
 *
 * Guarantees: nodes that can reach each other use one host. A node that dies frees its place at once, and the next request
 * makes another node the host. A host whose connection to PostgreSQL breaks looks for its place before it answers again: it
 * remains the host, unless another node took its place meanwhile. A node that was never the host does not become it without the lock.
 * Does not guarantee: that the state outlives its host. It is in memory, so the payments of a host that ended are unknown.
 * Concurrency: `find` calls share one election.
 */
import { randomBytes } from "node:crypto";
import { type LockHolder, type NamedLock, type NamedLockOptions, takeLock } from "../database/named-lock.ts";
import { HubError } from "../errors.ts";
import { type Loop, startLoop } from "../loop.ts";

/** The class of the advisory locks. An arbitrary number, the same in every process. */
const lockClass = 7_458_002;

/** Between two attempts of a host to get its lock again. */
const holdMs = 1_000;

/** The name of a lock: the node's key and address. PostgreSQL would cut a longer one, and replace other characters. */
const validName = /^[!-~ ]{1,63}$/;

export interface Host {
  /** Identifies the process. Anyone who can use the database server can read it. */
  key: string;
  /** Base URL without a slash at the end. */
  url: string;
}

export interface SandboxHost {
  /** The key of this node, and of the host when this node is the host. */
  readonly key: string;
  /** Throws `HostUnavailable` when the host cannot be known now. */
  find(): Promise<Host>;
  /** Forgets a host that did not answer, so that the next `find` looks for another one. */
  forget(host: Host): void;
  /** Frees the place. Afterwards `find` throws. */
  close(): Promise<void>;
}

/** No node is known to hold the state of the sandboxes. The request was not taken by any node, so it may be sent again. */
export class HostUnavailable extends HubError {
  constructor(cause: unknown) {
    super("provider_unavailable", "The sandboxes' node cannot be reached", { cause });
  }
}

/** This node cannot share its sandboxes. The message is for the operator. */
export class SandboxRefusal extends Error {}

export interface SandboxHostOptions extends Pick<NamedLockOptions, "database"> {
  /** The sandboxes of this node, one bit for each. */
  sandboxes: number;
  /** The URL at which other nodes on this machine reach this node. */
  selfUrl: () => string;
  log: Record<"info" | "warn", (details: object, message: string) => void>;
}

interface State {
  options: SandboxHostOptions;
  key: string;
  lock: NamedLock | undefined;
  /** The result of the last election. This node itself even if its lock broke since then. */
  host: Host | undefined;
  electing: Promise<void> | undefined;
  isClosed: boolean;
}

export function createSandboxHost(options: SandboxHostOptions): SandboxHost {
  // 8 digits, because the name of a lock must have room for an IPv6 address.
  const key = randomBytes(4).toString("hex");
  const state: State = { options, key, lock: undefined, host: undefined, electing: undefined, isClosed: false };
  const isSelf = (host: Host | undefined): boolean => host?.key === key;
  const holding: Loop = startLoop({
    task: async () => {
      if (isSelf(state.host) && !state.lock) await elect(state);
    },
    delayMs: () => holdMs,
    onError: (err) => options.log.warn({ event: "sandbox.host.election_failed", err }, "could not hold the sandboxes"),
  });

  return {
    key,
    async find() {
      if (state.isClosed) throw new HostUnavailable(new Error("the node is closing"));
      const isKnown = state.lock !== undefined || (state.host !== undefined && !isSelf(state.host));
      // A host remains it while PostgreSQL is down, because no other node can take its place then.
      const failure = isKnown ? undefined : await elect(state).catch((error: unknown) => error);
      if (!state.host) throw new HostUnavailable(failure);
      return state.host;
    },
    forget(host) {
      if (state.host === host && !isSelf(host)) state.host = undefined;
    },
    async close() {
      state.isClosed = true;
      await holding.close();
      await state.electing?.catch(() => undefined);
      await state.lock?.release();
      state.lock = undefined;
    },
  };
}

function elect(state: State): Promise<void> {
  state.electing ??= electOnce(state).finally(() => {
    state.electing = undefined;
  });
  return state.electing;
}

/** Takes the lock, or finds its holder. */
async function electOnce(state: State): Promise<void> {
  const { options, key } = state;
  const { database, sandboxes, selfUrl, log } = options;
  const address = selfUrl().replace("http://", "");
  const name = `tukio ${key} ${address}`;
  if (!validName.test(name)) {
    throw new SandboxRefusal(
      `HOST is too long or not ASCII (${address}): the nodes share sandboxes by addresses of 48 characters.`,
    );
  }
  const onLost = (): void => {
    state.lock = undefined;
  };
  const check = (others: LockHolder[]): void => refuseOverlap(others, sandboxes);
  const { lock, others } = await takeLock({ database, lockClass, key: sandboxes, name, onLost, check });
  if (lock) {
    state.lock = lock;
    state.host = { key, url: selfUrl() };
    log.info({ event: "sandbox.host.started" }, "this node holds the state of the sandboxes");
    return;
  }
  const holder = others.find((one) => one.key === sandboxes);
  const [, hostKey, hostAddress] = /^tukio (\w+) (\S+)$/.exec(holder?.name ?? "") ?? [];
  if (hostKey === undefined || hostAddress === undefined)
    throw new Error("the holder of the sandboxes' lock is unknown");
  if (state.host?.key === key) log.warn({ event: "sandbox.host.lost" }, "another node took over the sandboxes");
  state.host = { key: hostKey, url: `http://${hostAddress}` };
}

/** Another node with some of the sandboxes, and others beside them, would have another host. */
function refuseOverlap(others: readonly LockHolder[], sandboxes: number): void {
  const other = others.find(({ key }) => key !== sandboxes && (key & sandboxes) !== 0);
  if (!other) return;
  const address = other.name.split(" ").at(-1);
  throw new SandboxRefusal(
    `Another node (${address}) runs some of these sandboxes on this database, and not the same ones. Set the same SANDBOX on all nodes.`,
  );
}
