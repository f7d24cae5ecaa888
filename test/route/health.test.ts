/** The readiness of a node. */
import pg from "pg";
import { beforeAll, expect, it, vi } from "vitest";
import { schemaVersion } from "../../server/database/migrate.ts";
import { createDatabase } from "../support/database.ts";
import { call, startNode } from "../support/node.ts";

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
