/** Nodes that compare their secrets through one PostgreSQL. */
import { randomUUID } from "node:crypto";
import type pg from "pg";
import { beforeAll, beforeEach, describe, expect, inject, it, onTestFinished } from "vitest";
import { fingerprintOf } from "../../server/auth/keys.ts";
import { createSecretComparison, type SecretComparison } from "../../server/auth/secret-comparison.ts";
import { type Database, openDatabase } from "../../server/database/pool.ts";
import { createDatabase, urlOf } from "../support/database.ts";

let database: Database;
beforeAll(async () => {
  const { url, drop } = await createDatabase();
  database = openDatabase(url, () => undefined);
  return async () => {
    await database.close();
    await drop();
  };
});
beforeEach(async () => void (await database.pool.query("delete from node_secret")));

const [old, next, other] = ["the old secret", "the next secret", "a secret of nobody else"];

interface Node extends SecretComparison {
  events: string[];
  /** Moves this node's clock. */
  passMs(ms: number): void;
  /** Ends this node's connection, and makes its comparisons fail until `reconnect`. */
  cutOff(): Promise<void>;
  reconnect(): void;
}

function open(...secrets: string[]): Node {
  return openOn(database, ...secrets);
}

function openOn(reached: Pick<Database, "connectAlone">, ...secrets: string[]): Node {
  const events: string[] = [];
  const record = (details: unknown): void => void events.push((details as { event: string }).event);
  let clockMs = 0;
  let isCutOff = false;
  let client: pg.Client | undefined;
  const connectAlone: Database["connectAlone"] = async (name) => {
    if (isCutOff) throw new Error("down");
    client = await reached.connectAlone(name);
    return client;
  };
  const log = { info: record, warn: record, error: record };
  const comparison = createSecretComparison({ database: { connectAlone }, secrets, log, nowMs: () => clockMs });
  onTestFinished(comparison.leave);
  return {
    ...comparison,
    get state() {
      return comparison.state;
    },
    events,
    passMs(ms) {
      clockMs += ms;
    },
    async cutOff() {
      isCutOff = true;
      await client?.end();
      await expect(comparison.compare()).rejects.toThrow();
    },
    reconnect() {
      isCutOff = false;
    },
  };
}

/** Opens a node and compares once, as at its start. */
async function start(...secrets: string[]): Promise<Node> {
  const node = open(...secrets);
  await node.compare();
  return node;
}

/** Compares again after the time in which nodes that served before could renew their rows. */
async function becomeCertain(node: Node): Promise<void> {
  node.passMs(15_000);
  await node.compare();
}

const known = { isKnown: true, acceptsLast: true };
const fits = { ...known, conflicts: 0, isBlocked: false };
const serves = { ...known, conflicts: 1, isBlocked: false };
const blocked = { isKnown: true, conflicts: 1, isBlocked: true };

/** Lets the rows of all nodes expire, as during an outage of PostgreSQL. */
const expireRows = (agoS = 0) =>
  database.pool.query("update node_secret set expires_at = clock_timestamp() - $1 * interval '1 second'", [agoS]);

describe("a fingerprint", () => {
  it("is the same on every node, and contains nothing of the secret", () => {
    expect(fingerprintOf(old)).toMatch(/^[0-9a-f]{16}$/);
    expect(fingerprintOf(old)).toBe(fingerprintOf(old));
    expect(fingerprintOf(old)).not.toBe(fingerprintOf(next));
  });

  it("is all that PostgreSQL stores of a secret", async () => {
    await start(old, next);
    const { rows } = await database.pool.query("select * from node_secret order by node");
    const used = fingerprintOf(old);
    expect(rows).toEqual([
      // The secret that was used last.
      {
        node: expect.stringMatching(/^[0-]+$/),
        used,
        accepted: [used],
        serving_since: null,
        expires_at: expect.any(Date),
      },
      {
        node: expect.any(String),
        used,
        accepted: [used, fingerprintOf(next)],
        serving_since: expect.any(Date),
        expires_at: expect.any(Date),
      },
    ]);
    expect(JSON.stringify(rows)).not.toContain(old);
  });
});

describe("two nodes", () => {
  it.each([
    ["the same secret", [old], [old]],
    ["a secret that only one accepts", [old], [old, next]],
    ["different first secrets that both accept", [old, next], [next, old]],
    ["a secret that one has removed and no node uses", [next, old], [next]],
  ])("fit together with %s", async (_, first, second) => {
    const nodes = [await start(...first), await start(...second)];
    for (const node of nodes) await node.compare();
    expect(nodes.map(({ state }) => state)).toEqual([fits, fits]);
    expect(nodes.flatMap(({ events }) => events)).toEqual([]);
  });

  it.each([
    ["different secrets", [old], [next]],
    ["a new secret that the earlier node refuses", [old], [next, old]],
    ["the removal of a secret that the earlier node uses", [old, next], [next]],
  ])("conflict with %s: the earlier one stays ready", async (_, first, second) => {
    const nodes = [await start(...first), await start(...second)];
    for (const node of [...nodes, ...nodes]) await node.compare();
    expect(nodes.map(({ state }) => state)).toMatchObject([serves, blocked]);
    for (const { events } of nodes) expect(events.filter((event) => event === "secret.conflict.found")).toHaveLength(1);
  });

  it("never both serve when they start at once", async () => {
    for (let times = 0; times < 20; times += 1) {
      const nodes = [open(old), open(next)];
      await Promise.all(nodes.map((node) => node.compare()));
      await Promise.all(nodes.map((node) => node.compare()));
      expect(nodes.filter(({ state }) => state.isBlocked)).toHaveLength(1);
      for (const node of nodes) await node.leave();
    }
  });
});

describe("a node that is not ready", () => {
  it("becomes ready when the node in conflict leaves, and logs that once", async () => {
    const [first, second] = [await start(old), await start(next, old)];
    expect(second.state).toMatchObject(blocked);
    await first.leave();
    await second.compare();
    await second.compare();
    expect(second.state).toEqual(fits);
    expect(second.events).toEqual(["secret.conflict.found", "secret.conflict.resolved"]);
  });

  it("becomes ready when the row of a killed node expires", async () => {
    const [first, second] = [await start(old), await start(next, old)];
    await first.compare();
    await becomeCertain(second);
    expect(second.state).toMatchObject(blocked);
    await database.pool.query("update node_secret set expires_at = clock_timestamp() where used = $1", [
      fingerprintOf(old),
    ]);
    await second.compare();
    expect(second.state).toEqual(fits);
  });

  it("blocks no node that fits those that serve", async () => {
    const [first, second, third] = [await start(old), await start(next), await start(old)];
    expect([second.state, third.state]).toMatchObject([blocked, serves]);
    await first.leave();
    for (const node of [second, third]) await node.compare();
    expect([second.state, third.state]).toMatchObject([blocked, serves]);
  });
});

describe("a node that has never compared", () => {
  it("is blocked and knows nothing, until a comparison succeeds", async () => {
    const node = open(old);
    expect(node.state).toMatchObject({ isKnown: false, isBlocked: true });
    await node.cutOff();
    expect(node.state).toMatchObject({ isKnown: false, isBlocked: true });
    node.reconnect();
    await node.compare();
    expect(node.state).toEqual(fits);
  });

  it("is blocked without rights on the table, and needs none to delete", async () => {
    const role = `reader_${randomUUID().replaceAll("-", "")}`;
    await database.pool.query(`create role ${role} login password 'pw'; grant usage on schema public to ${role}`);
    onTestFinished(async () => void (await database.pool.query(`drop owned by ${role}; drop role ${role}`)));
    const { rows } = await database.pool.query<{ name: string }>("select current_database() as name");
    const url = urlOf(inject("database").serverUrl, rows[0]?.name ?? "");
    const limited = openDatabase(Object.assign(new URL(url), { username: role, password: "pw" }).href, () => undefined);
    onTestFinished(limited.close);
    const node = openOn(limited, old);
    await expect(node.compare()).rejects.toThrow("permission denied");
    expect(node.state).toMatchObject({ isKnown: false, isBlocked: true });
    await database.pool.query(`grant select, insert, update on node_secret to ${role}`);
    await node.compare();
    await becomeCertain(node);
    expect(node.state).toEqual(fits);
    await node.leave();
  });
});

describe("an outage of PostgreSQL", () => {
  it("gives no place to a node that starts when it ends", async () => {
    const first = await start(old);
    await first.cutOff();
    await expireRows(3_600);
    const second = await start(next);
    expect(second.state).toMatchObject(blocked);
    second.passMs(14_999);
    await second.compare();
    expect(second.state).toMatchObject(blocked);
    first.reconnect();
    await first.compare();
    await becomeCertain(second);
    expect([first.state, second.state]).toMatchObject([{ isBlocked: false }, blocked]);
  });

  it("gives no place to a blocked node that reaches it first, however short it was", async () => {
    const [first, second] = [await start(old), await start(next)];
    await becomeCertain(second);
    for (const node of [first, second]) await node.cutOff();
    // The second node renewed its row in time, the first one did not.
    await database.pool.query("update node_secret set expires_at = clock_timestamp() where serving_since is not null");
    second.reconnect();
    await second.compare();
    second.passMs(14_999);
    await second.compare();
    expect(second.state).toMatchObject(blocked);
    first.reconnect();
    await first.compare();
    await becomeCertain(second);
    expect([first.state, second.state]).toMatchObject([serves, blocked]);
  });

  it("gives no place to a blocked node whose process was paused too", async () => {
    const [first, second] = [await start(old), await start(next)];
    await becomeCertain(second);
    await expireRows();
    await second.compare();
    expect(second.state).toMatchObject(blocked);
    await first.compare();
    await becomeCertain(second);
    expect([first.state, second.state]).toMatchObject([serves, blocked]);
  });

  it("keeps the state, and the comparison rejects", async () => {
    const [first, second] = [await start(old), await start(next)];
    await first.compare();
    for (const node of [first, second]) await node.cutOff();
    expect([first.state, second.state]).toMatchObject([serves, blocked]);
  });

  it("takes no node's place that nobody else took, in whatever order the rows are renewed", async () => {
    const [first, second, third] = [await start(old), await start(old), await start(next)];
    for (const node of [first, second, third]) await node.cutOff();
    await expireRows(3_600);
    for (const node of [second, third, first]) {
      node.reconnect();
      await node.compare();
    }
    for (const node of [first, second, third]) await becomeCertain(node);
    expect([first.state, second.state]).toEqual([serves, serves]);
    expect(third.state).toMatchObject({ conflicts: 2, isBlocked: true });
  });
});

describe("a node that alone was cut off", () => {
  it("gets its place back from a node that began to serve meanwhile", async () => {
    const [first, second] = [await start(old), await start(next)];
    await first.cutOff();
    await becomeCertain(second);
    await expireRows();
    await becomeCertain(second);
    await becomeCertain(second);
    expect(second.state).toMatchObject({ conflicts: 0, isBlocked: false });
    first.reconnect();
    await first.compare();
    expect(first.state).toEqual(serves);
    await second.compare();
    expect(second.state).toMatchObject(blocked);
  });

  it("loses its place after ten minutes, because all nodes may have been replaced", async () => {
    const [first, second] = [await start(old), await start(next)];
    await first.cutOff();
    await expireRows(601);
    await becomeCertain(second);
    await becomeCertain(second);
    expect(second.state).toMatchObject({ conflicts: 0, isBlocked: false });
    first.reconnect();
    await first.compare();
    await second.compare();
    expect([first.state, second.state]).toMatchObject([blocked, { conflicts: 1, isBlocked: false }]);
  });
});

describe("a node that replaces all others", () => {
  const replaced = async (...secrets: string[]): Promise<Node> => {
    await (await start(old)).leave();
    return start(...secrets);
  };

  it("reports once if it refuses what they created", async () => {
    const node = await replaced(next);
    await node.compare();
    expect(node.state).toEqual({ ...fits, acceptsLast: false });
    expect(node.events).toEqual(["secret.last.refused"]);
    // From now on, its own secret is the one that was used last.
    await node.leave();
    expect((await start(next)).state).toEqual(fits);
  });

  it("reports nothing if it accepts what they created", async () => {
    const node = await replaced(next, old);
    expect(node.state).toEqual(fits);
    expect(node.events).toEqual([]);
  });
});

describe("the rows", () => {
  it("of nodes that were killed ten minutes ago are removed", async () => {
    for (const expired of ["9 minutes", "11 minutes", "1 day"]) {
      const values = [randomUUID(), fingerprintOf(other), [fingerprintOf(other)], expired];
      await database.pool.query("insert into node_secret values ($1, $2, $3, null, now() - $4::interval)", values);
    }
    const count = async () =>
      (await database.pool.query("select from node_secret where used = $1", [fingerprintOf(other)])).rowCount;
    const node = await start(old);
    expect(node.state).toEqual(fits);
    expect(await count()).toBe(3);
    await becomeCertain(node);
    expect(await count()).toBe(1);
  });
});
