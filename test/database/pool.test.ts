import { beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { openDatabase } from "../../server/database/pool.ts";
import { createDatabase } from "../support/database.ts";
import { startTcpProxy } from "../support/tcp-proxy.ts";

let databaseUrl: string;
beforeAll(async () => {
  const database = await createDatabase();
  databaseUrl = database.url;
  return database.drop;
});

describe("an idle connection", () => {
  it("has no socket timeout", async () => {
    const errors: Error[] = [];
    const database = openDatabase(databaseUrl, (error) => errors.push(error));
    onTestFinished(() => database.close());
    const client = await database.pool.connect();
    client.release();
    client.connection.stream.emit("timeout");
    expect((await database.pool.query("select 1 as one")).rows).toEqual([{ one: 1 }]);
    expect(database.pool.totalCount).toBe(1);
    expect(errors).toEqual([]);
  });
});

describe("a socket timeout", () => {
  it("fails one statement and closes the idle connections of both pools", async () => {
    const proxy = await startTcpProxy(databaseUrl);
    const database = openDatabase(proxy.url, () => undefined);
    onTestFinished(() => database.close());
    const { pool, webhookPool } = database;
    for (const one of [pool, webhookPool]) {
      const clients = await Promise.all([1, 2, 3].map(() => one.connect()));
      for (const client of clients) client.release();
      expect(one.idleCount).toBe(3);
    }
    proxy.blackhole();
    await expect(webhookPool.query("select 1")).rejects.toThrow("PostgreSQL did not answer");
    for (const one of [pool, webhookPool]) expect((await one.query("select 1 as one")).rows).toEqual([{ one: 1 }]);
  });
});
