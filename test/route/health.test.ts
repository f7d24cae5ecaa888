/** The readiness of a node. */
import { randomUUID } from "node:crypto";
import pg from "pg";
import { beforeAll, expect, it, onTestFinished, vi } from "vitest";
import { schemaVersion } from "../../server/database/migrate.ts";
import { createDatabase } from "../support/database.ts";
import { asMerchant, call, pay, paymentBody, startNode } from "../support/node.ts";

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

it("`/readyz` answers 503 with the reason if the database has an older schema", async () => {
  const node = await startNode({ databaseUrl });
  const ready = () => call(`${node.url}/readyz`);
  expect(await ready()).toMatchObject({ status: 200, body: { status: "ok" } });
  await client.query("update tukio_schema set version = version - 1");
  await vi.waitUntil(async () => (await ready()).status === 503);
  expect(await ready()).toMatchObject({
    status: 503,
    body: {
      status: "unavailable",
      postgres: "up",
      detail: `The database has schema version ${schemaVersion - 1}, this node needs ${schemaVersion}: start a node of this version, which migrates it`,
    },
  });
  // A newer node has migrated the database, and this node works until it is replaced.
  await client.query("update tukio_schema set version = version + 2");
  await vi.waitUntil(async () => (await ready()).status === 200);
  expect((await ready()).body).not.toHaveProperty("detail");
});

it("`/readyz` answers 503 until the role may use the table of the nodes' secrets", async () => {
  const role = `node_${randomUUID().replaceAll("-", "")}`;
  await client.query(`
    create role ${role} login password 'pw';
    grant select, insert, update, delete on all tables in schema public to ${role};
    grant usage on all sequences in schema public to ${role};
    revoke all on node_secret from ${role}`);
  onTestFinished(async () => void (await client.query(`drop owned by ${role}; drop role ${role}`)));
  const node = await startNode({
    databaseUrl: Object.assign(new URL(databaseUrl), { username: role, password: "pw" }).href,
  });
  const ready = () => call(`${node.url}/readyz`);
  const detail = "TUKIO_SECRET has not been compared with that of the other nodes yet";
  expect(await ready()).toMatchObject({ status: 503, body: { status: "unavailable", secrets: "unknown", detail } });
  expect((await asMerchant(node, "/v1/payments", paymentBody())).body.code).toBe("not_ready");
  await client.query(`grant select, insert, update, delete on node_secret to ${role}`);
  await vi.waitUntil(async () => (await ready()).status === 200);
  expect((await ready()).body).toMatchObject({ secrets: "ok" });
  expect(await pay(node)).toMatchObject({ order: { status: "pending" } });
  await node.close();
});
