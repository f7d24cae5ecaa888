/** A node on a PostgreSQL whose settings allow commits to be lost. */
import pg from "pg";
import { afterEach, beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { openDatabase } from "../../server/database/pool.ts";
import { administer } from "../support/database.ts";
import { pay } from "../support/node.ts";
import { startPostgres, type TestPostgres } from "../support/postgres.ts";
import { startProcess, startTestProcess } from "../support/process.ts";
import { startScriptedDaraja } from "../support/scripted-daraja.ts";

// 60 s, because PostgreSQL and the nodes start slowly on a busy machine.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

let postgres: TestPostgres;
beforeAll(async () => {
  postgres = await startPostgres();
  return postgres.close;
});

const run = async (...statements: string[]): Promise<void> => {
  for (const statement of [...statements, "select pg_reload_conf()"]) await administer(postgres.url, statement);
};

afterEach(() => run("alter system reset all", "alter role tukio reset all", "alter database postgres reset all"));

const production = {
  NODE_ENV: "production",
  PUBLIC_URL: "https://pay.example",
  HOST: "127.0.0.1",
};

describe("a webhook that was answered 200", () => {
  it("is there after PostgreSQL was killed, although commits are asynchronous by default (G1)", async () => {
    // Without the node's own setting, PostgreSQL would write commits to disk up to 30 s later.
    await run("alter system set wal_writer_delay = '10s'", "alter system set synchronous_commit = off");
    await run("alter database postgres set synchronous_commit = off", "alter role tukio set synchronous_commit = off");
    const daraja = await startScriptedDaraja();
    const node = await startTestProcess({ DATABASE_URL: postgres.url, ...daraja.env });
    const { order } = await pay(node);
    const push = await daraja.nextPush();
    push.accept();
    expect((await push.webhook()).status).toBe(200);
    await postgres.crash("SIGKILL");
    // The node would find the payment by a query.
    await node.end("SIGKILL");
    await postgres.restart();
    const client = new pg.Client(postgres.url);
    await client.connect();
    onTestFinished(() => client.end());
    const { rows: webhooks } = await client.query("select payment_id from webhook");
    expect(webhooks).toEqual([{ payment_id: order.payment.id }]);
  });
});

describe("the commit level", () => {
  const levelOf = async (url: string): Promise<unknown> => {
    const database = openDatabase(url, () => undefined);
    onTestFinished(() => database.close());
    const answers = await Promise.all(
      [database.pool, database.webhookPool, database.deliveryPool].map((pool) => pool.query("show synchronous_commit")),
    );
    return answers.map(({ rows }) => rows[0].synchronous_commit);
  };

  it("is on where the role or the URL turns it off", async () => {
    await run("alter role tukio set synchronous_commit = off");
    expect(await levelOf(postgres.url)).toEqual(["on", "on", "on"]);
    expect(await levelOf(`${postgres.url}?options=-c%20synchronous_commit%3Doff`)).toEqual(["on", "on", "on"]);
  });

  it("is the operator's where that waits for the disk too", async () => {
    await run("alter role tukio set synchronous_commit = remote_apply");
    expect(await levelOf(postgres.url)).toEqual(["remote_apply", "remote_apply", "remote_apply"]);
    const url = `${postgres.url}?options=-c%20synchronous_commit%3Dlocal%20-c%20work_mem%3D1MB`;
    expect(await levelOf(url)).toEqual(["local", "local", "local"]);
  });

  it("is set whatever bytes the password has", async () => {
    await run("create role shop login password '100%safe'", "alter role shop set synchronous_commit = off");
    const url = postgres.url.replace(/:\/\/.*@/, "://shop:100%safe@");
    expect(await levelOf(url)).toEqual(["on", "on", "on"]);
  });

  it("stays when the server's setting changes", async () => {
    const database = openDatabase(postgres.url, () => undefined);
    onTestFinished(() => database.close());
    const client = await database.pool.connect();
    onTestFinished(() => client.release());
    await run("alter system set synchronous_commit = off");
    await vi.waitUntil(async () => {
      const other = new pg.Client(postgres.url);
      await other.connect();
      const { rows } = await other.query("show synchronous_commit").finally(() => other.end());
      return rows[0].synchronous_commit === "off";
    });
    expect((await client.query("show synchronous_commit")).rows).toEqual([{ synchronous_commit: "on" }]);
  });
});

describe("a node on a PostgreSQL that does not write commits safely", () => {
  const warning = /"event":"database\.durability\.off","settings":\["full_page_writes"\]/;

  it("does not start in production, and names the settings", async () => {
    const unsafe = await startPostgres({ fsync: false });
    onTestFinished(unsafe.close);
    await administer(unsafe.url, "alter system set full_page_writes = off");
    await administer(unsafe.url, "select pg_reload_conf()");
    await expect(startProcess({ ...production, DATABASE_URL: unsafe.url })).rejects.toThrow(
      "fsync is off, full_page_writes is off",
    );
  });

  it("starts in production, with a warning, if the operator vouches for the storage", async () => {
    await run("alter system set full_page_writes = off");
    const env = { ...production, DATABASE_URL: postgres.url, DATABASE_ACCEPT_OFF: "full_page_writes" };
    const node = await startTestProcess(env);
    expect(node.output()).toMatch(warning);
  });

  it("starts in development, with a warning", async () => {
    await run("alter system set full_page_writes = off");
    const node = await startTestProcess({ DATABASE_URL: postgres.url });
    expect(node.output()).toMatch(warning);
  });
});
