/** What the doctor says about Redis, mail, SMS, endpoints, the spool and the public URL, each broken in turn. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { spoolCheck } from "../../server/doctor/spool.ts";
import { createDatabase } from "../support/database.ts";
import { examine, type Finding, findingOf } from "../support/doctor.ts";
import { startMailbox } from "../support/mailbox.ts";
import { asMerchant, startNode } from "../support/node.ts";
import { redisUrl, startRedis } from "../support/redis.ts";
import { startScriptedProvider } from "../support/scripted-provider.ts";

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

/** The finding of a new node with this environment. */
async function check(id: string, env: Record<string, string>, redis?: string): Promise<Finding> {
  const node = await startNode({ databaseUrl, env, ...(redis !== undefined && { redisUrl: redis }) });
  return findingOf(await examine(node), id);
}

const withRedis = (url: string) => check("redis", { REDIS_URL: url }, url);

describe("the check of Redis", () => {
  it("states version and latency", async () => {
    const node = await startNode({ databaseUrl, env: { REDIS_URL: redisUrl() }, redisUrl: redisUrl() });
    await vi.waitUntil(async () => (await (await fetch(`${node.url}/readyz`)).text()).includes('"bus":"up"'));
    expect(findingOf(await examine(node), "redis")).toMatchObject({
      status: "ok",
      message: expect.stringMatching(
        /^127\.0\.0\.1:\d+ \(\d+\.\d+\.\d+\) answers within \d+\.\d ms and carries events\.$/,
      ),
    });
  });

  it("reports a Redis that is down, and the rest of the report is there", async () => {
    const url = "redis://user:hunter2-redis@127.0.0.1:1";
    const node = await startNode({ databaseUrl, env: { REDIS_URL: url }, redisUrl: url });
    const report = await examine(node);
    expect(findingOf(report, "redis")).toMatchObject({
      status: "error",
      message: expect.stringMatching(/^Redis at 127\.0\.0\.1:1 does not answer \(ECONNREFUSED\)/),
    });
    expect(findingOf(report, "database").status).toBe("ok");
    expect(findingOf(report, "nodes")).toMatchObject({
      status: "warning",
      message: expect.stringContaining("not reach Redis"),
    });
    expect(JSON.stringify(report)).not.toContain("hunter2");
  });

  it("reports a Redis that hangs, in time", async () => {
    const redis = await startRedis();
    onTestFinished(redis.stop);
    const node = await startNode({ databaseUrl, env: { REDIS_URL: redis.url }, redisUrl: redis.url });
    redis.stall();
    expect(findingOf(await examine(node), "redis")).toMatchObject({
      status: "error",
      message: expect.stringContaining("does not answer"),
    });
  });

  it("reports a wrong password, and settings that cut subscribers off", async () => {
    const redis = await startRedis();
    onTestFinished(redis.stop);
    await redis.ask("config", "set", "client-output-buffer-limit", "pubsub 1000 0 0");
    expect(await withRedis(redis.url)).toMatchObject({
      status: "warning",
      message: expect.stringContaining("disconnects a subscriber that is 1000 bytes behind"),
    });
    await redis.ask("config", "set", "client-output-buffer-limit", "pubsub 0 0 0");
    expect(await withRedis(redis.url)).toMatchObject({
      status: "warning",
      message: expect.stringContaining("no limit for the buffers"),
    });
    await redis.ask("config", "set", "maxmemory", "1mb");
    expect(await withRedis(redis.url)).toMatchObject({
      status: "warning",
      message: expect.stringContaining("(noeviction): soon it refuses to count limits"),
    });
    await redis.ask("config", "set", "requirepass", "another");
    expect(await withRedis(redis.url)).toMatchObject({ status: "error", message: expect.stringContaining("(NOAUTH)") });
    const wrong = await withRedis(redis.url.replace("//", "//:hunter2-redis@"));
    expect(wrong).toMatchObject({ status: "error", message: expect.stringContaining("refuses the login (WRONGPASS)") });
    expect(JSON.stringify(wrong)).not.toContain("hunter2");
  });
});

const mailEnv = (url: string) => ({ SMTP_URL: url, MAIL_FROM: "shop@example.com", MERCHANT_EMAIL: "asha@example.com" });

describe("the check of the mail server", () => {
  it("logs in, and sends nothing", async () => {
    const logins: unknown[] = [];
    const mailbox = await startMailbox({
      authOptional: false,
      onAuth({ username, password }, _session, done) {
        logins.push([username, password]);
        done(null, { user: username });
      },
    });
    const url = mailbox.url.replace("//", "//shop:hunter2-secret@");
    expect(await check("mail", mailEnv(url))).toMatchObject({
      status: "ok",
      message: expect.stringMatching(/^The mail server 127\.0\.0\.1:\d+ accepts the login\.$/),
    });
    expect(logins).toEqual([["shop", "hunter2-secret"]]);
    expect(mailbox.mails).toEqual([]);
    const { MERCHANT_EMAIL: _, ...unread } = mailEnv(url);
    expect(await check("mail", unread)).toMatchObject({
      status: "warning",
      message: expect.stringContaining("MERCHANT_EMAIL"),
    });
  });

  it("shows the words of a server that refuses the login, without the password", async () => {
    const mailbox = await startMailbox({
      authOptional: false,
      onAuth({ username, password }, _session, done) {
        const refusal = new Error(`5.7.8 Username and Password not accepted for ${username} ${password}`);
        done(Object.assign(refusal, { responseCode: 535 }));
      },
    });
    const found = await check("mail", mailEnv(mailbox.url.replace("//", "//shop%40example.com:hunter2-secret@")));
    expect(found).toMatchObject({
      status: "error",
      message: expect.stringMatching(
        /^The mail server 127\.0\.0\.1:\d+ refuses the login \(EAUTH: 535 5\.7\.8 Username and Password not accepted for \*\*\* \*\*\*\)\.$/,
      ),
      action: expect.stringContaining("SMTP_URL"),
    });
    expect(JSON.stringify(found)).not.toContain("hunter2");
  });

  it("reports a server that is not there", async () => {
    expect(await check("mail", mailEnv("smtp://127.0.0.1:1"))).toMatchObject({
      status: "error",
      message: expect.stringContaining("cannot be used (ESOCKET: ECONNREFUSED)"),
    });
  });
});

describe("the check of the SMS gateway", () => {
  const africasTalking = (url: string) => ({
    SMS_PROVIDER: "africastalking",
    SMS_API_KEY: "atsk_hunter2",
    SMS_USERNAME: "shop",
    SMS_URL: url,
  });

  it("reads the balance, and sends nothing", async () => {
    const script = await startScriptedProvider(({ path, headers }) =>
      path === "/version1/user?username=shop" && headers.apikey === "atsk_hunter2"
        ? { body: { UserData: { balance: "KES 1250.0000" } } }
        : { status: 401, text: "The supplied authentication is invalid" },
    );
    expect(await check("sms", africasTalking(script.url))).toMatchObject({
      status: "ok",
      message: "Africa's Talking accepts the credentials; the balance is KES 1250.0000.",
    });
    expect(script.calls.map(({ method }) => method)).toEqual(["GET"]);
    script.respond = () => ({ body: { UserData: { balance: "KES 0.0000" } } });
    expect(await check("sms", africasTalking(script.url))).toMatchObject({ status: "warning" });
    script.respond = () => ({ status: 401, text: "The supplied authentication is invalid" });
    const refused = await check("sms", africasTalking(script.url));
    expect(refused).toMatchObject({ status: "error", action: expect.stringContaining("SMS_API_KEY") });
    expect(JSON.stringify(refused)).not.toContain("hunter2");
  });

  it("knows Beem's balance, and asks no other gateway", async () => {
    const script = await startScriptedProvider(() => ({ body: { data: { credit_balance: 42 } } }));
    const beem = {
      SMS_PROVIDER: "beem",
      SMS_API_KEY: "key",
      SMS_API_SECRET: "secret",
      SMS_FROM: "SHOP",
      SMS_URL: script.url,
    };
    expect(await check("sms", beem)).toMatchObject({
      status: "ok",
      message: expect.stringContaining("the balance is 42 SMS"),
    });
    expect(script.calls.map(({ path }) => path)).toEqual(["/public/v1/vendors/balance"]);
    const own = { SMS_PROVIDER: "http", SMS_API_KEY: "key", SMS_URL: script.url };
    expect(await check("sms", own)).toMatchObject({
      status: "ok",
      message: expect.stringContaining("was not checked"),
    });
    expect(script.calls).toHaveLength(1);
  });
});

describe("the check of endpoints", () => {
  it("reports those that fail, and those that were disabled because they failed, without their query", async () => {
    const node = await startNode({ databaseUrl });
    expect(findingOf(await examine(node), "endpoints").message).toContain("No endpoint is enabled");
    for (const path of ["a", "b"]) {
      const url = `http://localhost:4000/${path}?key=hunter2-endpoint`;
      expect((await asMerchant(node, "/v1/endpoints", { url })).status).toBe(201);
    }
    expect(await check("endpoints", {})).toMatchObject({
      status: "ok",
      message: expect.stringMatching(/^2 endpoints/),
    });
    await client.query("update endpoint set failing_since = '2026-11-20T21:00:00Z' where url like '%/a?%'");
    const failing = await check("endpoints", {});
    expect(failing).toMatchObject({
      status: "warning",
      message: "1 endpoint fails: http://localhost:4000/a, the longest since 2026-11-20 21:00 UTC.",
    });
    await client.query("update endpoint set enabled = false, disabled_because = 'gone' where url like '%/b?%'");
    const disabled = await check("endpoints", {});
    expect(disabled).toMatchObject({
      status: "error",
      message: "1 endpoint was disabled and receives no events: http://localhost:4000/b. The first answered 410.",
    });
    expect(JSON.stringify([failing, disabled])).not.toContain("hunter2");
    // The merchant's own decision is no fault.
    await client.query("update endpoint set enabled = false, disabled_because = 'merchant', failing_since = null");
    expect(await check("endpoints", {})).toMatchObject({ status: "ok" });
    await client.query("delete from endpoint where notification is null");
  });
});

describe("the check of the spool", () => {
  const find = async (spool: Parameters<typeof spoolCheck>[0]["spool"], settings: { dir: string; maxMb: number }) =>
    [await spoolCheck({ spool, settings }).run(new AbortController().signal)].flat()[0];
  const folder = async (): Promise<string> => {
    const dir = await mkdtemp(join(tmpdir(), "tukio-doctor-"));
    onTestFinished(() => rm(dir, { recursive: true }));
    return dir;
  };
  const empty = { isWritable: true, waiting: 0, waitingSince: undefined };

  it("states the space on the disk, and reports one that is too small for the spool", async () => {
    const dir = await folder();
    expect(await find(empty, { dir, maxMb: 1 })).toMatchObject({
      status: "ok",
      message: expect.stringContaining("are free"),
    });
    expect(await find(empty, { dir, maxMb: 1_000_000_000 })).toMatchObject({
      status: "error",
      message: expect.stringContaining("less than the 1000000000 MiB"),
    });
  });

  it("reports webhooks that wait, damaged files, and a folder that cannot be written", async () => {
    const dir = await folder();
    const waiting = { isWritable: true, waiting: 3, waitingSince: new Date("2026-11-20T21:00:00Z") };
    expect(await find(waiting, { dir, maxMb: 1 })).toMatchObject({
      status: "warning",
      message: expect.stringMatching(/^3 webhooks wait on this node's disk for PostgreSQL, since 2026-11-20 21:00 UTC/),
    });
    await writeFile(join(dir, "one.webhooks.damaged"), "x");
    expect(await find(empty, { dir, maxMb: 1 })).toMatchObject({
      status: "warning",
      message: expect.stringContaining("damaged"),
    });
    expect(await find({ ...empty, isWritable: false }, { dir, maxMb: 1 })).toMatchObject({ status: "error" });
    expect(await check("spool", { SPOOL: "off" })).toMatchObject({ status: "warning" });
  });

  it("looks at the spool of a running node", async () => {
    expect(await check("spool", { SPOOL: "on", DATA_DIR: await folder() })).toMatchObject({ status: "ok" });
  });
});

describe("the check of PUBLIC_URL", () => {
  const lipana = {
    LIPANA_SECRET_KEY: "lip_sk_live_of_a_shop",
    LIPANA_WEBHOOK_SECRET: "secret",
    LIPANA_BASE_URL: "https://api.lipana.invalid",
  };

  it("reports an address that providers cannot reach", async () => {
    expect(await check("public_url", {})).toMatchObject({
      status: "warning",
      message: expect.stringContaining("is not set"),
    });
    expect(await check("public_url", lipana)).toMatchObject({
      status: "error",
      message: expect.stringContaining("lipana cannot send webhooks to it"),
    });
    expect(await check("public_url", { PUBLIC_URL: "http://pay.example.com" })).toMatchObject({
      status: "warning",
      message: expect.stringContaining("not https"),
    });
    expect(await check("public_url", { PUBLIC_URL: "https://10.0.0.7" })).toMatchObject({
      status: "warning",
      message: expect.stringContaining("only a private network reaches"),
    });
  });

  it("reports a name without an address", async () => {
    expect(await check("public_url", { PUBLIC_URL: "https://pay.shop.invalid" })).toMatchObject({
      status: "error",
      message: expect.stringContaining("pay.shop.invalid has no address"),
    });
  });
});
