/**
 * The sandboxes' host: of all nodes on one database with the same sandboxes, one holds the state of the sandboxes, and the others
 * forward their requests to it (forward.ts). Without it, a node would query its own sandbox about another node's payments.
 *
 * Guarantees: nodes that can reach each other use one host. A node that dies frees its place at once, and the next request
 * makes another node the host. A host whose connection to PostgreSQL breaks remains the host, unless another node took its
 * place meanwhile.
 * Does not guarantee: that the state outlives its host. It is in memory, so the payments of a host that ended are unknown.
 * Concurrency: `find` calls share one election.
 */
import { randomBytes } from "node:crypto";
import { findHolders, type NamedLock, type NamedLockOptions, takeLock } from "../database/named-lock.ts";
import { type Loop, startLoop } from "../loop.ts";

/** The class of the advisory locks. An arbitrary number, the same in every process. */
const lockClass = 7_458_002;

/** Between two attempts of a host to get its lock again. */
const holdMs = 1_000;

/** The limit of elections for one request. */
const triesMax = 3;

/** A host that another node can reach. */
export interface Host {
  /** Only nodes on the same database know it. */
  key: string;
  /** Base URL without a slash at the end. */
  url: string;
}

export interface SandboxHost {
  /** The key of this node, which requests to it have when it is the host. */
  readonly key: string;
  /** The URL at which this node reaches itself. */
  url(): string;
  /** Returns the host; undefined if it is this node. */
  find(): Promise<Host | undefined>;
  /** Forgets a host that could not be reached, so that the next `find` looks for another one. */
  forget(host: Host): void;
  /** Throws an Error for the operator if another node runs some of this node's sandboxes and others beside them. */
  check(): Promise<void>;
  close(): Promise<void>;
}

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
  /** Undefined until the first election. */
  host: Host | "self" | undefined;
  electing: Promise<void> | undefined;
  isClosed: boolean;
}

export function createSandboxHost(options: SandboxHostOptions): SandboxHost {
  const state: State = {
    options,
    key: randomBytes(8).toString("hex"),
    lock: undefined,
    host: undefined,
    electing: undefined,
    isClosed: false,
  };
  const holding: Loop = startLoop({
    task: async () => {
      if (state.host === "self" && !state.lock) await elect(state);
    },
    delayMs: () => holdMs,
    onError: (err) => options.log.warn({ event: "sandbox.host.election_failed", err }, "could not hold the sandboxes"),
  });

  return {
    key: state.key,
    url: options.selfUrl,
    async find() {
      // An election has no result if the holder of the lock ended meanwhile. Without PostgreSQL no node can open a payment, so
      // this node answers until an election succeeds.
      for (let tries = 0; state.host === undefined && tries < triesMax; tries += 1) {
        await elect(state).catch(() => undefined);
      }
      return state.host === "self" ? undefined : state.host;
    },
    forget(host) {
      if (state.host === host) state.host = undefined;
    },
    check: () => checkSandboxes(options),
    async close() {
      state.isClosed = true;
      await holding.close();
      await state.electing?.catch(() => undefined);
      await state.lock?.release();
    },
  };
}

function elect(state: State): Promise<void> {
  state.electing ??= electOnce(state).finally(() => {
    state.electing = undefined;
  });
  return state.electing;
}

/** Takes the lock, or finds its holder. Leaves the host unknown if the holder ended in between. */
async function electOnce(state: State): Promise<void> {
  const { options, key } = state;
  const { database, sandboxes, selfUrl, log } = options;
  if (state.isClosed) return;
  const name = `tukio-sandbox ${key} ${selfUrl().replace("http://", "")}`;
  const onLost = (): void => {
    state.lock = undefined;
  };
  const { lock, others } = await takeLock({ database, lockClass, key: sandboxes, name, onLost });
  if (lock) {
    state.lock = lock;
    state.host = "self";
    log.info({ event: "sandbox.host.started" }, "this node holds the state of the sandboxes");
    return;
  }
  const holder = others.find((one) => one.key === sandboxes);
  const [, hostKey, address] = /^tukio-sandbox (\w+) (\S+)$/.exec(holder?.name ?? "") ?? [];
  if (hostKey === undefined || address === undefined) return;
  if (state.host === "self") log.warn({ event: "sandbox.host.lost" }, "another node took over the sandboxes");
  state.host = { key: hostKey, url: `http://${address}` };
}

async function checkSandboxes({ database, sandboxes }: SandboxHostOptions): Promise<void> {
  const holders = await findHolders({ database, lockClass }).catch(() => []);
  const other = holders.find(({ key }) => key !== sandboxes && (key & sandboxes) !== 0);
  if (!other) return;
  const address = other.name.split(" ").at(-1);
  throw new Error(
    `Another node (${address}) runs some of these sandboxes on this database, and not the same ones. Set the same SANDBOX on all nodes.`,
  );
}
