/** Nodes that compare their secrets through one PostgreSQL. */
import { randomUUID } from "node:crypto";
import { beforeAll, beforeEach, describe, expect, it } from "vitest";
import { fingerprintOf } from "../../server/auth/keys.ts";
import { createSecretComparison, type SecretComparison } from "../../server/auth/secret-comparison.ts";
import { type Database, openDatabase } from "../../server/database/pool.ts";
import { createDatabase } from "../support/database.ts";

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
}

function open(...secrets: string[]): Node {
  const events: string[] = [];
  const record = (details: unknown): void => void events.push((details as { event: string }).event);
  let clockMs = 0;
  const log = { info: record, error: record };
  const comparison = createSecretComparison({ database, secrets, log, nowMs: () => clockMs });
  const passMs = (ms: number): void => {
    clockMs += ms;
  };
  return Object.assign(comparison, { events, passMs });
}

/** Opens a node and compares once, as at its start. */
async function start(...secrets: string[]): Promise<Node> {
  const node = open(...secrets);
  await node.compare();
  return node;
}

const fits = { conflicts: 0, isBlocked: false };
const serves = { conflicts: 1, isBlocked: false };
const blocked = { conflicts: 1, isBlocked: true };

/** Lets the rows of all nodes expire, as during an outage of PostgreSQL. */
const expireRows = () => database.pool.query("update node_secret set expires_at = clock_timestamp()");

describe("a fingerprint", () => {
  it("is the same on every node, and contains nothing of the secret", () => {
    expect(fingerprintOf(old)).toMatch(/^[0-9a-f]{16}$/);
    expect(fingerprintOf(old)).toBe(fingerprintOf(old));
    expect(fingerprintOf(old)).not.toBe(fingerprintOf(next));
  });

  it("is all that PostgreSQL stores of a secret", async () => {
    await start(old, next);
    const { rows } = await database.pool.query("select * from node_secret");
    expect(rows).toEqual([
      {
        node: expect.any(String),
        used: fingerprintOf(old),
        accepted: [fingerprintOf(old), fingerprintOf(next)],
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
    expect(nodes.map(({ state }) => state)).toEqual([serves, blocked]);
    expect(nodes.map(({ events }) => events)).toEqual([["secret.conflict.found"], ["secret.conflict.found"]]);
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
    const [first, second] = [await start(old), await start(next)];
    expect(second.state).toEqual(blocked);
    await first.leave();
    await second.compare();
    await second.compare();
    expect(second.state).toEqual(fits);
    expect(second.events).toEqual(["secret.conflict.found", "secret.conflict.resolved"]);
  });

  it("becomes ready when the row of a killed node expires", async () => {
    const [first, second] = [await start(old), await start(next)];
    await first.compare();
    await expireRows();
    await second.compare();
    expect(second.state).toEqual(fits);
  });

  it("blocks no node that fits those that serve", async () => {
    const [first, second, third] = [await start(old), await start(next), await start(old)];
    expect([second.state, third.state]).toEqual([blocked, serves]);
    await first.leave();
    for (const node of [second, third]) await node.compare();
    expect([second.state, third.state]).toEqual([blocked, serves]);
  });
});

describe("an outage of PostgreSQL", () => {
  it("changes no node's place, in whatever order their rows are renewed", async () => {
    const [first, second] = [await start(old), await start(next)];
    await first.compare();
    const states = () => [first.state, second.state];
    expect(states()).toEqual([serves, blocked]);
    await expireRows();
    for (const node of [second, first]) {
      node.passMs(60_000);
      await node.compare();
      expect(states()).toEqual([serves, blocked]);
    }
    for (const node of [second, first]) {
      node.passMs(15_000);
      await node.compare();
      expect(states()).toEqual([serves, blocked]);
    }
    expect([...first.events, ...second.events]).toEqual(["secret.conflict.found", "secret.conflict.found"]);
  });

  it("keeps the state, and the comparison rejects", async () => {
    const [, second] = [await start(old), await start(next)];
    const gone = createSecretComparison({
      database: {
        pool: Object.assign(Object.create(database.pool), { query: () => Promise.reject(new Error("down")) }),
      },
      secrets: [old],
      log: { info: () => undefined, error: () => undefined },
    });
    await expect(gone.compare()).rejects.toThrow("down");
    await gone.leave();
    expect(gone.state).toEqual(fits);
    expect(second.state).toEqual(blocked);
  });

  it("costs a node its place if another one has begun to serve meanwhile", async () => {
    const [paused, second] = [await start(old), await start(next)];
    await expireRows();
    await second.compare();
    expect(second.state).toEqual(fits);
    paused.passMs(60_000);
    await paused.compare();
    await second.compare();
    expect(second.state).toEqual(serves);
    paused.passMs(15_000);
    await paused.compare();
    expect(paused.state).toEqual(blocked);
  });
});

describe("the rows", () => {
  it("of killed nodes are removed when a node starts", async () => {
    for (let times = 0; times < 3; times += 1) {
      const values = [randomUUID(), fingerprintOf(other), [fingerprintOf(other)]];
      await database.pool.query(
        "insert into node_secret values ($1, $2, $3, now(), now() - interval '1 second')",
        values,
      );
    }
    expect((await start(old)).state).toEqual(fits);
    expect((await database.pool.query("select from node_secret")).rowCount).toBe(1);
  });
});
