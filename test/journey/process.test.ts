/** The process as an operator runs it: real signals, attached watchers, a half-sent request, and the secrecy of its log. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { type AddressInfo, connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import type { StatusEvent } from "../../client-sdk/protocol.ts";
import { testAccount } from "../support/account.ts";
import { createDatabase } from "../support/database.ts";
import { apiKey, asMerchant, call, pay, testSecret } from "../support/node.ts";
import { main, type NodeProcess, startProcess } from "../support/process.ts";
import { redisUrl } from "../support/redis.ts";
import { startScriptedDaraja } from "../support/scripted-daraja.ts";
import { providerEnv } from "../support/scripted-provider.ts";
import { startTcpProxy } from "../support/tcp-proxy.ts";
import { transportNames, watch } from "../support/watch.ts";

async function makeDataDir(): Promise<string> {
  const dataDir = await mkdtemp(join(tmpdir(), "tukio-process-"));
  onTestFinished(() => rm(dataDir, { recursive: true }));
  return dataDir;
}

/** Starts Tukio with its own database and log level `trace`. */
async function start(env: Record<string, string> = {}): Promise<NodeProcess & { databaseUrl: string }> {
  const database = await createDatabase();
  onTestFinished(database.drop);
  const node = await startProcess({ DATABASE_URL: database.url, ...env });
  onTestFinished(node.close);
  return { ...node, databaseUrl: database.url };
}

/** Starts a process that must exit with 1, and returns its output. */
async function failedStart(env: Record<string, string>): Promise<string> {
  const child = spawn(process.execPath, [main], { env, stdio: ["ignore", "pipe", "pipe"] });
  onTestFinished(() => void child.kill("SIGKILL"));
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk: Buffer) => (output += chunk));
  expect(await once(child, "close")).toEqual([1, null]);
  return output;
}

describe("SIGTERM", () => {
  it("ends the process with 0 despite attached watchers and a half-sent request", async () => {
    const node = await start();
    const { order, watchToken: token } = await pay(node);
    const watches = transportNames.map((name) => watch(name, { node, orderId: order.orderId, token }));
    await Promise.all(watches.map((one) => one.until(() => true)));
    const half = connect(Number(new URL(node.url).port), "127.0.0.1");
    half.on("error", () => undefined).resume();
    onTestFinished(() => void half.destroy());
    await new Promise<void>((resolve) => half.write("GET /livez HTTP/1.1\r\nHost: x\r\n", () => resolve()));
    expect((await call(`${node.url}/readyz`)).status).toBe(200);
    const exited = once(node.process, "exit");
    node.process.kill("SIGTERM");
    node.process.kill("SIGTERM"); // A second SIGTERM has no effect.
    expect(await exited).toEqual([0, null]);
  });
});

describe("the log of a start", () => {
  it("lists the live, test and sandbox providers, and those that cannot reach a loopback PUBLIC_URL", async () => {
    const node = await start({
      ...providerEnv("daraja", "https://api.safaricom.co.ke"),
      ...providerEnv("mtn", "https://sandbox.momodeveloper.mtn.com"),
      ...providerEnv("lipana", "http://127.0.0.1:1"),
      SANDBOX: "bkash",
    });
    const greeting = await vi.waitUntil(() => /live {7}.*\n.*\n.*sandbox.*\n/.exec(node.output())?.[0]);
    expect(greeting).toContain("live       daraja, lipana (real money)");
    expect(greeting).toContain("test       mtn");
    expect(greeting).toContain("sandbox    bkash");
    const find = (event: string) =>
      vi.waitUntil(() => {
        const line = node
          .output()
          .split("\n")
          .find((one) => one.includes(`"event":"${event}"`));
        return line && JSON.parse(line);
      });
    expect(await find("process.started")).toMatchObject({
      live: ["daraja", "lipana"],
      test: ["mtn"],
      sandbox: ["bkash"],
    });
    expect(await find("config.public_url.loopback")).toMatchObject({ level: 40, providers: ["daraja", "mtn"] });
  });
});

describe("a process with Redis", () => {
  it("shares its rate limits with other processes", async () => {
    const redis = new Redis(redisUrl());
    onTestFinished(() => redis.disconnect());
    const node = await start({ REDIS_URL: redisUrl() });
    await redis.del("tukio:limit:address:127.0.0.1");
    // A process counts in memory until its Redis connection is up.
    const isCounted = async () => {
      await call(`${node.url}/v1/orders`);
      return Number(await redis.get("tukio:limit:address:127.0.0.1")) > 0;
    };
    await vi.waitUntil(isCounted, { interval: 300 });
  });
});

describe("a killed process", () => {
  it("leaves a push in flight that the next process does not repeat, and whose payment it ends (G10)", async () => {
    const daraja = await startScriptedDaraja();
    const one = await start(daraja.env);
    const { order } = await pay(one);
    const push = await daraja.nextPush();
    const exited = once(one.process, "exit");
    one.process.kill("SIGKILL");
    await exited;
    const env = { ...daraja.env, DATABASE_URL: one.databaseUrl, DARAJA_DEADLINE_S: "1" };
    const two = await start(env);
    let pushedAgain = false;
    daraja.nextPush().then(() => {
      pushedAgain = true;
    });
    const { pathname } = new URL(push.callbackUrl);
    const body = JSON.stringify({ Body: { stkCallback: { CheckoutRequestID: push.reference, ResultCode: 1032 } } });
    expect((await fetch(two.url + pathname, { method: "POST", body })).status).toBe(200);
    const { body: view } = await asMerchant(two, `/v1/orders/${order.orderId}`);
    expect(view.order).toMatchObject({ status: "failed", reason: "cancelled", version: 2 });
    expect(pushedAgain).toBe(false);
  });

  it("leaves a payment without a webhook that the next process expires at its deadline (G9)", async () => {
    const daraja = await startScriptedDaraja();
    const one = await start({ ...daraja.env, DARAJA_DEADLINE_S: "2" });
    const { order } = await pay(one);
    await daraja.nextPush();
    const exited = once(one.process, "exit");
    one.process.kill("SIGKILL");
    await exited;
    const two = await start({ ...daraja.env, DATABASE_URL: one.databaseUrl });
    const state = async () => (await asMerchant(two, `/v1/orders/${order.orderId}`)).body.order;
    await vi.waitUntil(async () => (await state()).settled, { interval: 100 });
    expect(await state()).toMatchObject({ status: "expired", reason: "deadline", version: 2 });
  });
});

describe("a database that is slow at the start", () => {
  it("delays the start and does not fail it", async () => {
    const database = await createDatabase();
    onTestFinished(database.drop);
    const proxy = await startTcpProxy(database.url);
    proxy.stall("answers");
    let tries = 0;
    proxy.onRequestBytes((chunk) => {
      tries += chunk.includes("application_name") ? 1 : 0;
      if (tries === 2) proxy.restore();
    });
    const node = await startProcess({ DATABASE_URL: proxy.url });
    onTestFinished(node.close);
    expect((await call(`${node.url}/readyz`)).status).toBe(200);
    expect(tries).toBeGreaterThanOrEqual(2);
  });
});

describe("a database that cannot be reached", () => {
  it.each([
    ["refuses", (url: URL) => (url.port = "1"), /\(127\.0\.0\.1:1\/test_\w+\): connect ECONNREFUSED/],
    [
      "refuses at several addresses",
      (url: URL) => (url.host = "localhost:1"),
      /\(localhost:1\/test_\w+\): .*ECONNREFUSED/,
    ],
    ["is another's", (url: URL) => (url.password = "hunter2"), /password authentication failed/],
    ["is not there", (url: URL) => (url.pathname = "/nosuch"), /\/nosuch\): database "nosuch" does not exist/],
  ])("fails the start because it %s, with the variable's name and without its password", async (_, change, words) => {
    const database = await createDatabase();
    onTestFinished(database.drop);
    const url = new URL(database.url);
    change(url);
    const env = {
      PATH: process.env.PATH ?? "",
      PORT: "0",
      DATABASE_URL: url.href,
      DATA_DIR: await makeDataDir(),
      TUKIO_API_KEY: apiKey,
      TUKIO_SECRET: testSecret,
    };
    const output = await failedStart(env);
    expect(output.split("\n").at(-2)).toMatch(/^DATABASE_URL cannot be reached /);
    expect(output).toMatch(words);
    expect(output).not.toContain(url.password);
  });
});

describe("an address that cannot be listened on", () => {
  it.each([
    [
      "is in use",
      "127.0.0.1",
      /^PORT (\d+) of 127\.0\.0\.1 is in use by another process.* set PORT to another port\.$/,
    ],
    ["is another machine's", "192.0.2.1", /^HOST 192\.0\.2\.1 is not an address of this machine\. Set HOST to /],
  ])("fails the start because it %s, with the variable's name", async (_, HOST, words) => {
    const database = await createDatabase();
    onTestFinished(database.drop);
    const other = createServer();
    other.listen(0, "127.0.0.1");
    await once(other, "listening");
    onTestFinished(() => void other.close());
    const output = await failedStart({
      PATH: process.env.PATH ?? "",
      HOST,
      PORT: String((other.address() as AddressInfo).port),
      SANDBOX: "daraja",
      DATABASE_URL: database.url,
      DATA_DIR: await makeDataDir(),
      TUKIO_API_KEY: apiKey,
      TUKIO_SECRET: testSecret,
    });
    expect(output.split("\n").at(-2)).toMatch(words);
  });
});

describe("a damaged key file", () => {
  it.each([
    ["api-key", ""],
    ["secret", ""],
    ["api-key", "\n"],
    ["secret", "x".repeat(31)],
  ])("(%s: %j) fails the start with its name before anything is opened, and is not overwritten", async (name, text) => {
    const dataDir = await makeDataDir();
    const path = join(dataDir, name);
    await writeFile(path, text);
    // No database listens here, so an attempt to open one would show in the output.
    const env = {
      PATH: process.env.PATH ?? "",
      PORT: "0",
      DATABASE_URL: "postgres://127.0.0.1:1/x",
      DATA_DIR: dataDir,
    };
    const output = await failedStart(env);
    expect(output).toBe(`${path} is damaged. Restore it, or remove it and a new one is created.\n`);
    expect(await readFile(path, "utf8")).toBe(text);
    // The other key may exist by now; no temporary file may remain.
    expect(["api-key", "secret"]).toEqual(expect.arrayContaining(await readdir(dataDir)));
  });
});

describe("the log of a run that used every feature", () => {
  it("contains no key, secret, token or phone number", async () => {
    const node = await start();
    const phones = ["+254712345701", "+254712345702", "+254712345710", "+254712345720"];
    const bodies = await Promise.all(
      phones.map((phone) => pay(node, { phone, customer: { name: "Asha", email: "asha@example.com" } })),
    );
    const settled: StatusEvent[] = [];
    for (const { order, watchToken: token } of bodies) {
      const watches = transportNames.map((name) => watch(name, { node, orderId: order.orderId, token }));
      settled.push(...(await Promise.all(watches.map((one) => one.until((event) => event.settled)))));
      await call(`${node.url}/v1/orders/${order.orderId}?token=${token}`);
      await call(`${node.url}/v1/orders/${order.orderId}/wait?token=${token}x`);
      await asMerchant(node, `/v1/orders/${order.orderId}`);
      await asMerchant(node, `/v1/orders/${order.orderId}/watch-tokens`, {});
    }
    const review = settled.find(({ status }) => status === "review");
    await asMerchant(node, `/v1/orders/${review?.orderId}/resolve`, {
      paymentId: review?.payment.id,
      as: "failed",
      note: "n",
    });
    await asMerchant(node, "/v1/providers");
    await asMerchant(node, "/v1/providers/daraja/token", {});
    await asMerchant(node, "/v1/orders?limit=5");
    await call(`${node.url}/v1/orders?token=${apiKey}`);
    await call(`${node.url}/sandbox/phone/254712345701/prompts`);
    await call(`${node.url}/webhooks/daraja/${"0".repeat(64)}`, { method: "POST", body: "{}" });
    for (const path of ["/metrics", "/docs", "/openapi.json", "/asyncapi.json", "/readyz", "/nowhere"])
      await call(node.url + path);
    const exited = once(node.process, "exit");
    node.process.kill("SIGTERM");
    await exited;

    // The start banner shows only a generated API key; this one was configured.
    const log = node.output();
    expect(log).toContain('"event":"webhook.received"');
    const secrets = [
      apiKey,
      testSecret,
      new URL(node.databaseUrl).password,
      testAccount("daraja").CONSUMER_SECRET,
      testAccount("daraja").PASSKEY,
      Buffer.from(`${testAccount("daraja").CONSUMER_KEY}:${testAccount("daraja").CONSUMER_SECRET}`).toString("base64"),
      "0".repeat(64),
      "asha@example.com",
      ...bodies.map(({ watchToken }) => watchToken),
      ...phones.flatMap((phone) => [phone, phone.slice(1), `0${phone.slice(4)}`]),
    ];
    for (const secret of secrets) expect(log).not.toContain(secret);
    // The secret in a payment's URL begins with the payment's id in hex.
    for (const { order } of bodies) expect(log).not.toContain(order.payment.id.replaceAll("-", ""));
    expect(log).not.toMatch(/Bearer (?!$)/);
  });
});
