/** This node among the others: its row, and the checks that compare the nodes' versions, settings and clocks. */
import { hostname } from "node:os";
import type { FastifyBaseLogger } from "fastify";
import manifest from "../../package.json" with { type: "json" };
import { fingerprintSettings } from "../auth/keys.ts";
import type { SecretState } from "../auth/secret-comparison.ts";
import { schemaVersion } from "../database/migrate.ts";
import type { Database } from "../database/pool.ts";
import { reportTask } from "../log.ts";
import { type Loop, startLoop } from "../loop.ts";
import { type Check, error, type Finding, ok, type Part, warning } from "./check.ts";
import { createNodeRows, type NodeFacts } from "./node-row.ts";
import { countText, listText, secondsText } from "./text.ts";

export interface NodeOptions {
  database: Pick<Database, "pool">;
  secrets: readonly string[];
  commonSettings: Readonly<Record<string, string>>;
  redisUrl: string | undefined;
  /** The base URL of this node on this machine. */
  selfUrl: () => string;
  isBusUp: () => boolean;
  spooled: () => number;
  secretState: () => SecretState;
  log: FastifyBaseLogger;
  /** The node's clock, in milliseconds since 1970. */
  clockMs?: () => number;
}

export interface Node extends Pick<Loop, "close"> {
  name(): string;
  /** Writes this node's row now and every 5 s from then on. Never rejects. */
  start(): Promise<void>;
  checks: readonly Check[];
}

/** 5 s, a third of a row's lifetime. */
const periodMs = 5_000;

export function createNode({ clockMs = Date.now, ...options }: NodeOptions): Node {
  const rows = createNodeRows(options.database.pool);
  const settings = fingerprintSettings(options.secrets, options.commonSettings);
  const { onError, onRecovered } = reportTask(options.log, "node row");
  const name = (): string => `${hostname()}:${new URL(options.selfUrl()).port}`;
  let clockS: number | null = null;
  let loop: Loop | undefined;

  const own = (): NodeFacts => ({
    name: name(),
    version: manifest.version,
    schema: schemaVersion,
    settings,
    clockS,
    redis: redisState(options),
    spooled: options.spooled(),
  });

  const renew = async (): Promise<void> => {
    const startedMs = clockMs();
    const databaseMs = await rows.renew(own());
    // PostgreSQL read its clock at some time of the round trip: the middle is at most half of it wrong.
    clockS = ((startedMs + clockMs()) / 2 - databaseMs) / 1_000;
  };

  const read = async (): Promise<Nodes> => {
    // First, so that the answer has the clock of now.
    await renew();
    return { own: own(), ...(await rows.others()) };
  };

  return {
    name,
    async start() {
      await renew().catch(onError);
      loop = startLoop({ task: renew, delayMs: () => periodMs, onError, onRecovered });
    },
    async close() {
      await loop?.close();
      // Without PostgreSQL the row expires.
      await rows.leave().catch(() => undefined);
    },
    checks: [secretCheck(options.secretState), nodesCheck(read)],
  };
}

function redisState({ redisUrl, isBusUp }: NodeOptions): NodeFacts["redis"] {
  if (redisUrl === undefined) return "off";
  return isBusUp() ? "up" : "down";
}

interface Nodes {
  own: NodeFacts;
  nodes: readonly NodeFacts[];
  unreadable: number;
}

const secretCheck = (secretState: () => SecretState): Check => ({
  id: "secret",
  name: "TUKIO_SECRET",
  async run() {
    const { isKnown, conflicts, isBlocked, acceptsLast } = secretState();
    const order =
      'Follow the three rounds of docs/operating.md, "Rotating secrets": every node accepts the new secret before one uses it.';
    if (!isKnown)
      return error(
        "TUKIO_SECRET has not been compared with that of other nodes since the start, so that this node is not ready.",
        "Look whether PostgreSQL answers, and whether the role may use the table node_secret.",
      );
    if (conflicts > 0)
      return error(
        `${countText(conflicts, "other node has", "other nodes have")} a TUKIO_SECRET that conflicts with this node's: one refuses webhooks that the other expects. ${isBlocked ? "This node takes no payments" : "The other takes no payments"} until then.`,
        `Give all nodes the same TUKIO_SECRET. ${order}`,
      );
    if (!acceptsLast)
      return warning(
        "TUKIO_SECRET lacks the secret that nodes used before this node's start: webhooks of payments from then get 401.",
        "Add the old secret at the end of the list, unless it has leaked.",
      );
    return ok("TUKIO_SECRET fits that of all nodes.");
  },
});

const nodesCheck = (read: () => Promise<Nodes>): Check => ({
  id: "nodes",
  name: "Nodes",
  async run() {
    let found: Nodes;
    try {
      found = await read();
    } catch {
      return warning(
        "The nodes were not compared, because PostgreSQL did not answer.",
        "Solve the check of PostgreSQL first.",
      );
    }
    return [
      running(found),
      { part: "version", name: "Versions", ...versions(found) },
      { part: "settings", name: "Settings", ...settingsOf(found) },
      { part: "clock", name: "Clocks", ...clocks(found) },
    ] satisfies Part[];
  },
});

const all = ({ own, nodes }: Nodes): readonly NodeFacts[] => [own, ...nodes];

const namesOf = (nodes: readonly NodeFacts[]): string => listText(nodes.map(({ name }) => name));

function running(found: Nodes): Finding {
  const nodes = all(found);
  const runs = `${countText(nodes.length, "node runs", "nodes run")}: ${namesOf(nodes)}`;
  const alone = nodes.filter(({ redis }) => redis === "off");
  if (nodes.length > 1 && alone.length > 0)
    return error(
      `${runs}. ${namesOf(alone)} ${alone.length === 1 ? "has" : "have"} no REDIS_URL: watchers there receive changes of other nodes late, and limits count per node.`,
      "Set the same REDIS_URL on all nodes.",
    );
  const down = nodes.filter(({ redis }) => redis === "down");
  if (down.length > 0)
    return warning(
      `${runs}. ${namesOf(down)} ${down.length === 1 ? "does" : "do"} not reach Redis.`,
      "Run the doctor there for the reason, or look at REDIS_URL and the network of that node.",
    );
  const spooling = nodes.filter(({ spooled }) => spooled > 0);
  if (spooling.length > 0)
    return warning(
      `${runs}. Webhooks wait on the disk of ${namesOf(spooling)}.`,
      "Look whether that node reaches PostgreSQL. Keep its DATA_DIR.",
    );
  return ok(`${runs}.`);
}

function versions(found: Nodes): Finding {
  const nodes = all(found);
  const kinds = new Set(nodes.map(({ version, schema }) => `Tukio ${version} with schema ${schema}`));
  const others =
    found.unreadable > 0
      ? ` ${countText(found.unreadable, "node has", "nodes have")} a version that this one cannot read.`
      : "";
  const finish = "Finish the upgrade: restart every node with the newest version.";
  if (kinds.size > 1 || others !== "") {
    const list = nodes.map(({ name, version, schema }) => `${name} has ${version} with schema ${schema}`);
    return warning(`The nodes have different versions: ${listText(list)}.${others}`, finish);
  }
  return ok(`${nodes.length === 1 ? "The node has" : "All nodes have"} ${[...kinds][0]}.`);
}

/** Compares with each node the fingerprints under a secret that both have. */
function settingsOf(found: Nodes): Finding {
  const { own, nodes } = found;
  const differences = nodes.map((node) => ({ name: node.name, variables: differing(own, node) }));
  const foreign = differences.filter(({ variables }) => variables === undefined).map(({ name }) => name);
  const other = differences.filter(({ variables }) => variables && variables.length > 0);
  if (other.length > 0) {
    const list = other.map(({ name, variables = [] }) => `${listText(variables)} at ${name}`);
    return error(
      `Settings differ from this node's (${own.name}): ${listText(list)}.`,
      "Give all nodes the same values, and restart those with the wrong ones. While you change a credential from node to node, this is expected.",
    );
  }
  if (foreign.length > 0)
    return warning(
      `The settings of ${listText(foreign)} cannot be compared, because those nodes have no TUKIO_SECRET in common with this one.`,
      "Solve the check TUKIO_SECRET first.",
    );
  return ok(
    nodes.length === 0
      ? "No other node runs, so that settings cannot differ."
      : "The settings that must be the same are the same on all nodes.",
  );
}

/** The variables with other values; undefined without a common secret. */
function differing(own: NodeFacts, other: NodeFacts): string[] | undefined {
  const key = Object.keys(own.settings).find((one) => other.settings[one] !== undefined);
  if (key === undefined) return undefined;
  const [left = {}, right = {}] = [own.settings[key], other.settings[key]];
  const names = [...new Set([...Object.keys(left), ...Object.keys(right)])];
  return names.filter((name) => left[name] !== right[name]).toSorted();
}

/** 2 s, because a synchronized clock is off by milliseconds. */
const clockWarningS = 2;

/** 60 s, because backends refuse signed messages that are 5 min old, and watch tokens and certificates have times too. */
const clockErrorS = 60;

function clocks(found: Nodes): Finding {
  const nodes = all(found);
  const off = nodes.filter(({ clockS }) => Math.abs(clockS ?? 0) >= clockWarningS);
  if (off.length === 0) {
    const most = Math.max(...nodes.map(({ clockS }) => Math.abs(clockS ?? 0)));
    return ok(
      `${nodes.length === 1 ? "The node's clock agrees" : "All clocks agree"} with PostgreSQL's within ${secondsText(Math.max(0.1, most))}.`,
    );
  }
  const list = off.map(
    ({ name, clockS }) =>
      `${name} is ${secondsText(Math.abs(clockS ?? 0))} ${(clockS ?? 0) > 0 ? "ahead of" : "behind"} PostgreSQL's clock`,
  );
  const isFar = off.some(({ clockS }) => Math.abs(clockS ?? 0) >= clockErrorS);
  return (isFar ? error : warning)(
    `${listText(list)}: tokens expire at the wrong time, and backends may refuse signed messages.`,
    "Run an NTP client, such as chrony, on the nodes and on PostgreSQL's machine; `timedatectl` shows which of them is wrong.",
  );
}
