/** Two processes with sandboxes on one database: one holds the sandboxes' state for both. */
import { once } from "node:events";
import { type AddressInfo, connect, createServer } from "node:net";
import pg from "pg";
import { beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { createDatabase } from "../support/database.ts";
import { asMerchant, call, pay, type TestNode } from "../support/node.ts";
import { type NodeProcess, spawnProcess, startedUrl, startProcess, startTestProcess } from "../support/process.ts";
import { redisUrl } from "../support/redis.ts";
import { scrape } from "../support/scrape.ts";

// 120 s, because several processes start slowly on a busy machine.
vi.setConfig({ testTimeout: 120_000 });

let env: Record<string, string>;
beforeAll(async () => {
  const database = await createDatabase();
  env = { DATABASE_URL: database.url, REDIS_URL: redisUrl(), LIMIT_IP: "1000000", LIMIT_PHONE: "1000" };
  return database.drop;
});

const stateOf = async (node: TestNode, orderId: string) => (await asMerchant(node, `/v1/orders/${orderId}`)).body.order;

const settled = async (node: TestNode, orderId: string) => {
  await vi.waitUntil(async () => (await stateOf(node, orderId)).settled, { timeout: 30_000, interval: 100 });
  const { status, reason } = await stateOf(node, orderId);
  return { status, reason };
};

const payers = {
  daraja: { phone: "+254712345606", currency: "KES" },
  payhero: { phone: "+254712345606", currency: "KES" },
  lipana: { phone: "+254712345606", currency: "KES" },
  zenopay: { phone: "+255712345606", currency: "TZS" },
  mtn: { phone: "+256771234506", currency: "UGX" },
};

const promptsOf = async (node: TestNode, phone: string) =>
  (await call(`${node.url}/sandbox/phone/${phone}/prompts`)).body.prompts;

/** Answers the phone's prompt through this node. */
async function answer(node: TestNode, phone: string, as: string): Promise<void> {
  const prompts = () => promptsOf(node, phone);
  const [prompt] = await vi.waitUntil(async () => ((await prompts()).length > 0 ? await prompts() : undefined));
  const init = {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ answer: as }),
  };
  const answered = await call(`${node.url}/sandbox/phone/prompts/${prompt?.id}`, init);
  expect(answered.status).toBe(200);
}

/** A database of its own, and the connection that holds the lock of its sandboxes. */
async function createGround() {
  const database = await createDatabase();
  onTestFinished(database.drop);
  const client = new pg.Client(database.url);
  // `drop` ends it.
  client.on("error", () => undefined);
  await client.connect();
  const holders = async (): Promise<number[]> => {
    const { rows } = await client.query(`
      select pid from pg_locks where locktype = 'advisory' and classid = 7458002 and granted
        and database = (select oid from pg_database where datname = current_database())`);
    return rows.map(({ pid }) => pid);
  };
  return {
    client,
    env: { ...env, DATABASE_URL: database.url },
    holders,
    /** PostgreSQL takes the host for dead. */
    async dropHolder() {
      for (const pid of await holders()) await client.query("select pg_terminate_backend($1)", [pid]);
      await vi.waitUntil(async () => (await holders()).length === 0);
    },
  };
}

/** Suspends a process until the returned function is called. */
function pause({ process }: NodeProcess): () => void {
  process.kill("SIGSTOP");
  const resume = (): void => void process.kill("SIGCONT");
  onTestFinished(resume);
  return resume;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

const isAlive = (url: string): Promise<boolean> =>
  call(`${url}/livez`).then(
    ({ status }) => status === 200,
    () => false,
  );

const isHost = (node: NodeProcess): boolean => node.output().includes("sandbox.host.started");

describe("two nodes with sandboxes on one database", () => {
  it("end payments right, whichever opens one, shows its prompt, and queries it, and after one was killed", async () => {
    const [one, other] = [await startTestProcess(env), await startTestProcess(env)];
    const opened = await Promise.all(
      [one, other].flatMap((node) =>
        Object.entries(payers).flatMap(([provider, payer]) =>
          // Several, so that each node queries some of the other's.
          Array.from({ length: 4 }, () => pay(node, { provider, ...payer })),
        ),
      ),
    );
    const ends = await Promise.all(opened.map(({ order }) => settled(one, order.orderId)));
    expect(ends).toEqual(opened.map(() => ({ status: "succeeded" })));
    for (const node of [one, other]) {
      const queries = (await scrape(node)).value("tukio_provider_call_seconds_count", { verb: "confirm" });
      expect(queries).toBeGreaterThan(0);
    }
    for (const [opener, phoneNode, phone] of [
      [one, other, "+254712345700"],
      [other, one, "+254712345800"],
    ] as const) {
      const { order } = await pay(opener, { phone });
      await answer(phoneNode, phone, "cancel");
      expect(await settled(phoneNode, order.orderId)).toEqual({ status: "failed", reason: "cancelled" });
    }
    await one.end("SIGKILL");
    const next = await startTestProcess(env);
    const { order } = await pay(next, { phone: "+254712345900" });
    await answer(other, "+254712345900", "approve");
    expect(await settled(next, order.orderId)).toEqual({ status: "succeeded" });
  });

  it("both start with different secrets, so that /readyz can report them", async () => {
    const database = await createDatabase();
    onTestFinished(database.drop);
    const shared = { ...env, DATABASE_URL: database.url };
    const one = await startTestProcess(shared);
    const other = await startTestProcess({
      ...shared,
      TUKIO_SECRET: "another secret than that of all other test nodes",
    });
    const { status, body } = await call(`${other.url}/readyz`);
    expect([status, body]).toMatchObject([503, { secrets: "conflict" }]);
    expect((await call(`${other.url}/sandbox/phone/254712345600/prompts`)).status).toBe(503);
    const { order } = await pay(one, { phone: "+254712345601" });
    expect(await settled(one, order.orderId)).toEqual({ status: "succeeded" });
  });

  it("do not start with different sandboxes of which some are the same", async () => {
    const database = await createDatabase();
    onTestFinished(database.drop);
    const both = { DATABASE_URL: database.url, REDIS_URL: redisUrl() };
    await startTestProcess({ ...both, SANDBOX: "daraja,mtn" });
    await startTestProcess({ ...both, SANDBOX: "zenopay" });
    await expect(startProcess({ ...both, SANDBOX: "daraja" })).rejects.toThrow("Set the same SANDBOX on all nodes");
  });
});

describe("a host that was suspended", () => {
  it("yields to the node that took its place, also for requests that other nodes forward to it", async () => {
    const { env, dropHolder } = await createGround();
    const [one, other] = [await startTestProcess(env), await startTestProcess(env)];
    const phone = "+254712346000";
    expect(await promptsOf(other, phone)).toEqual([]);
    const resume = pause(one);
    await dropHolder();
    const next = await startTestProcess(env);
    await vi.waitUntil(() => isHost(next));
    resume();
    await pay(other, { phone });
    for (const node of [one, other, next]) {
      await vi.waitUntil(async () => (await promptsOf(node, phone)).length === 1);
    }
  });

  it("holds no request up for long, no start, and no shutdown, until its lock is free", async () => {
    const { env, dropHolder } = await createGround();
    const [one, other] = [await startTestProcess(env), await startTestProcess(env)];
    const phone = `${other.url}/sandbox/phone/0712346100/prompts`;
    expect((await call(phone)).status).toBe(200);
    pause(one);
    const refused = expect(startProcess(env)).rejects.toThrow(`cannot be reached (no host answers at ${one.url})`);
    const port = await freePort();
    const starting = await spawnProcess({ ...env, PORT: String(port) });
    onTestFinished(starting.close);
    await vi.waitUntil(() => isAlive(`http://127.0.0.1:${port}`), { timeout: 30_000, interval: 50 });
    expect(await starting.end("SIGTERM")).toEqual([0, null]);
    expect(startedUrl(starting.output())).toBeUndefined();
    expect(await call(phone)).toMatchObject({ status: 503, body: { code: "provider_unavailable" } });
    await refused;
    await dropHolder();
    expect((await call(phone)).status).toBe(200);
    await vi.waitUntil(() => isHost(other));
  });
});

describe("a node that cannot look for the host", () => {
  it("does not answer from its own sandbox", async () => {
    const { env, client } = await createGround();
    const role = `role_${Date.now()}`;
    await client.query(`create role ${role} login password 'x' connection limit 40`);
    await client.query(`grant all on schema public to ${role}`);
    await client.query(`grant all on all tables in schema public to ${role}`);
    await client.query(`grant all on all sequences in schema public to ${role}`);
    const url = new URL(env.DATABASE_URL);
    url.username = role;
    url.password = "x";
    const [one, other] = [
      await startTestProcess({ ...env, DATABASE_URL: url.href }),
      await startTestProcess({ ...env, DATABASE_URL: url.href }),
    ];
    onTestFinished(async () => {
      await client.query(`drop owned by ${role}`);
      await client.query(`drop role ${role}`);
    });
    const phone = `${other.url}/sandbox/phone/0712346200/prompts`;
    expect((await call(phone)).status).toBe(200);
    await client.query(`alter role ${role} connection limit 0`);
    await one.end("SIGKILL");
    expect(await call(phone)).toMatchObject({ status: 503, body: { code: "provider_unavailable" } });
    await client.query(`alter role ${role} connection limit 40`);
    expect((await call(phone)).status).toBe(200);
    await vi.waitUntil(() => isHost(other));
  });
});

describe("a node that shuts down", () => {
  it("leaves its place to another node before its requests in flight end", async () => {
    const { env } = await createGround();
    const [one, other] = [await startTestProcess(env), await startTestProcess(env)];
    const phone = `${other.url}/sandbox/phone/0712346400/prompts`;
    expect((await call(phone)).status).toBe(200);
    const slow = connect(Number(new URL(one.url).port), "127.0.0.1");
    onTestFinished(() => void slow.destroy());
    slow.write(
      "POST /sandbox/phone/prompts/none HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{",
    );
    await vi.waitUntil(() => isAlive(one.url));
    const ended = one.end("SIGTERM");
    await vi.waitUntil(async () => !(await isAlive(one.url)), { timeout: 30_000 });
    expect((await call(phone)).status).toBe(200);
    expect(one.process.exitCode).toBeNull();
    await vi.waitUntil(() => isHost(other));
    slow.end("}".padStart(99));
    expect(await ended).toEqual([0, null]);
  });

  it("does not wait for PostgreSQL to free its place", async () => {
    const { env, holders } = await createGround();
    const node = await startTestProcess(env);
    const [pid = 0] = await holders();
    process.kill(pid, "SIGSTOP");
    onTestFinished(() => void process.kill(pid, "SIGCONT"));
    expect(await node.end("SIGTERM")).toEqual([0, null]);
  });
});

describe("a host that is killed", () => {
  it("fails no request that only reads", async () => {
    const { env } = await createGround();
    const [one, other] = [await startTestProcess(env), await startTestProcess(env)];
    const statuses = new Set<number>();
    let answers = 0;
    const reading = Array.from({ length: 8 }, async () => {
      while (!isHost(other)) {
        statuses.add((await call(`${other.url}/sandbox/phone/0712346500/prompts`)).status);
        answers += 1;
      }
    });
    await vi.waitUntil(() => answers > 100);
    await one.end("SIGKILL");
    await Promise.all(reading);
    expect([...statuses]).toEqual([200]);
  });
});
