/** How the doctor compares the nodes that run. */
import pg from "pg";
import { beforeAll, beforeEach, describe, expect, it, onTestFinished } from "vitest";
import type { SecretState } from "../../server/auth/secret-comparison.ts";
import { openDatabase } from "../../server/database/pool.ts";
import type { Check } from "../../server/doctor/check.ts";
import { createNode, type NodeOptions } from "../../server/doctor/node.ts";
import { createLogger } from "../../server/log.ts";
import { createDatabase } from "../support/database.ts";
import { examine, findingOf } from "../support/doctor.ts";
import { startNode, testSecret } from "../support/node.ts";

let databaseUrl: string;
let client: pg.Client;
beforeAll(async () => {
  const { url, drop } = await createDatabase();
  databaseUrl = url;
  client = new pg.Client(url);
  await client.connect();
  return async () => {
    await client.end();
    await drop();
  };
});

beforeEach(async () => void (await client.query("delete from node; delete from node_secret")));

const fine: SecretState = { isKnown: true, conflicts: 0, isBlocked: false, acceptsLast: true };

const never = new AbortController().signal;

/** The findings of a check, by id. */
const run = async ({ id, run: find }: Check) =>
  Object.fromEntries(
    [await find(never)].flat().map(({ part, ...finding }) => [part === undefined ? id : `${id}.${part}`, finding]),
  );

/** A running node, and what it finds. */
async function open(options: Partial<NodeOptions> & { port: number }) {
  const database = openDatabase(databaseUrl, () => undefined);
  const node = createNode({
    database,
    secrets: [testSecret],
    commonSettings: { LIPANA_WEBHOOK_SECRET: "one" },
    redisUrl: "redis://127.0.0.1",
    selfUrl: () => `http://127.0.0.1:${options.port}`,
    isBusUp: () => true,
    spooled: () => 0,
    secretState: () => fine,
    log: createLogger("silent"),
    ...options,
  });
  onTestFinished(async () => {
    await node.close();
    await database.close();
  });
  await node.start();
  const [secret, nodes] = node.checks;
  if (!secret || !nodes) throw new Error("a node has two checks");
  return { name: node.name(), close: node.close, secret: () => run(secret), nodes: () => run(nodes) };
}

describe("the comparison of nodes", () => {
  it("finds nothing wrong with equal nodes", async () => {
    const first = await open({ port: 3001 });
    const second = await open({ port: 3002 });
    const found = await first.nodes();
    expect(found.nodes).toMatchObject({ status: "ok", message: `2 nodes run: ${first.name} and ${second.name}.` });
    for (const one of Object.values(found)) expect(one).toMatchObject({ status: "ok" });
    await second.close();
    expect((await first.nodes()).nodes?.message).toBe(`1 node runs: ${first.name}.`);
  });

  it("names the variables that differ, and the node, but stores and shows no value", async () => {
    const webhookSecret = "hunter2-of-node-two";
    const first = await open({ port: 3001 });
    const second = await open({
      port: 3002,
      commonSettings: { LIPANA_WEBHOOK_SECRET: webhookSecret, SMTP_URL: "smtps://shop:hunter2@mail.example" },
    });
    const found = (await first.nodes())["nodes.settings"];
    expect(found).toMatchObject({
      status: "error",
      message: `Settings differ from this node's (${first.name}): LIPANA_WEBHOOK_SECRET and SMTP_URL at ${second.name}.`,
    });
    const { rows } = await client.query("select facts::text from node");
    expect(rows).toHaveLength(2);
    for (const text of [JSON.stringify(found), JSON.stringify(rows)]) expect(text).not.toContain("hunter2");
  });

  it("compares settings by any TUKIO_SECRET that both nodes have, as during a rotation", async () => {
    const rotated = "another secret of more than thirty-two characters";
    const commonSettings = { LIPANA_WEBHOOK_SECRET: "two" };
    const first = await open({ port: 3001, secrets: [testSecret, rotated] });
    await open({ port: 3002, secrets: [rotated], commonSettings });
    expect((await first.nodes())["nodes.settings"]).toMatchObject({ status: "error" });
    const third = await open({ port: 3003, secrets: ["a third secret of more than thirty-two characters"] });
    expect((await third.nodes())["nodes.settings"]).toMatchObject({
      status: "warning",
      message: expect.stringContaining("no TUKIO_SECRET in common"),
    });
  });

  it("reports clocks that differ from PostgreSQL's, of every node", async () => {
    const first = await open({ port: 3001 });
    const late = await open({ port: 3002, clockMs: () => Date.now() - 10_000 });
    // The row of the second start has the clock that the first one measured.
    await late.nodes();
    await late.nodes();
    const found = (await first.nodes())["nodes.clock"];
    expect(found).toMatchObject({ status: "warning" });
    expect(found?.message).toMatch(new RegExp(`^${late.name} is (10\\.\\d|9\\.\\d|10|11) s behind PostgreSQL's clock`));
    const fast = await open({ port: 3003, clockMs: () => Date.now() + 3_600_000 });
    expect((await fast.nodes())["nodes.clock"]).toMatchObject({
      status: "error",
      message: expect.stringContaining("60 min ahead of PostgreSQL's clock"),
    });
  });

  it("reports nodes without Redis, nodes that do not reach it, and nodes whose spool is not empty", async () => {
    const first = await open({ port: 3001 });
    const spooling = await open({ port: 3002, spooled: () => 7 });
    expect((await first.nodes()).nodes).toMatchObject({
      status: "warning",
      message: expect.stringContaining(`Webhooks wait on the disk of ${spooling.name}.`),
    });
    const cut = await open({ port: 3003, isBusUp: () => false });
    expect((await first.nodes()).nodes).toMatchObject({
      status: "warning",
      message: expect.stringContaining(`${cut.name} does not reach Redis.`),
    });
    const alone = await open({ port: 3004, redisUrl: undefined });
    expect((await first.nodes()).nodes).toMatchObject({
      status: "error",
      message: expect.stringContaining(`${alone.name} has no REDIS_URL`),
      action: "Set the same REDIS_URL on all nodes.",
    });
  });

  it("reports other versions, also one whose facts it cannot read", async () => {
    const first = await open({ port: 3001 });
    const second = await open({ port: 3002 });
    await client.query(`update node set facts = jsonb_set(facts, '{version}', '"0.0.9"') where facts ->> 'name' = $1`, [
      second.name,
    ]);
    expect((await first.nodes())["nodes.version"]).toMatchObject({
      status: "warning",
      message: expect.stringMatching(new RegExp(`${second.name} has 0\\.0\\.9 with schema \\d+\\.$`)),
    });
    await client.query("update node set facts = '{}' where facts ->> 'name' = $1", [second.name]);
    expect((await first.nodes())["nodes.version"]?.message).toContain("1 node has a version that this one cannot read");
  });

  it("does not count a killed node for longer than 15 s, and deletes its row later", async () => {
    const first = await open({ port: 3001 });
    await open({ port: 3002 });
    await client.query("update node set expires_at = expires_at - interval '15 s' where facts ->> 'name' <> $1", [
      first.name,
    ]);
    expect((await first.nodes()).nodes?.message).toContain("1 node runs");
    await client.query("update node set expires_at = expires_at - interval '1 hour' where facts ->> 'name' <> $1", [
      first.name,
    ]);
    await first.nodes();
    expect((await client.query("select from node")).rowCount).toBe(1);
  });

  it("explains what the comparison of TUKIO_SECRET found", async () => {
    const states: [Partial<SecretState>, string, string][] = [
      [{}, "ok", "fits that of all nodes"],
      [{ conflicts: 1, isBlocked: true }, "error", "This node takes no payments"],
      [{ conflicts: 2 }, "error", "2 other nodes have"],
      [{ acceptsLast: false }, "warning", "lacks the secret that nodes used before"],
      [{ isKnown: false, isBlocked: true }, "error", "has not been compared"],
    ];
    let state = fine;
    const node = await open({ port: 3001, secretState: () => state });
    for (const [change, status, words] of states) {
      state = { ...fine, ...change };
      expect((await node.secret()).secret).toMatchObject({ status, message: expect.stringContaining(words) });
    }
  });

  it("works between real nodes, of which one has another TUKIO_SECRET and other credentials", async () => {
    const lipana = { LIPANA_SECRET_KEY: "lip_sk_test_of_node_1", LIPANA_BASE_URL: "http://127.0.0.1:1" };
    const first = await startNode({ databaseUrl, env: { ...lipana, LIPANA_WEBHOOK_SECRET: "w-1" } });
    const second = await startNode({
      databaseUrl,
      env: {
        ...lipana,
        LIPANA_WEBHOOK_SECRET: "w-2",
        TUKIO_SECRET: `a secret that only the second node has,${testSecret}`,
      },
    });
    const report = await examine(second);
    expect(findingOf(report, "nodes.settings")).toMatchObject({
      status: "error",
      message: expect.stringContaining("LIPANA_WEBHOOK_SECRET at "),
    });
    expect(findingOf(report, "nodes").message).toContain("2 nodes run");
    expect(findingOf(report, "secret")).toMatchObject({ status: "error" });
    await first.close();
    expect(findingOf(await examine(await startNode({ databaseUrl })), "nodes").message).toContain("2 nodes run");
  });
});
