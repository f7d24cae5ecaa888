/** The commands of docs/guide/recover.md, as an operator runs them: on a server's PostgreSQL, between stops and starts of nodes. */
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import pg from "pg";
import { beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { createCleanups } from "../support/deployment.ts";
import { asMerchant, call, pay, testSecret } from "../support/node.ts";
import { type NodeProcess, startProcess } from "../support/process.ts";
import { type HeldPush, startScriptedDaraja } from "../support/scripted-daraja.ts";
import { providerEnv, startScriptedProvider } from "../support/scripted-provider.ts";
import { ensurePostgres, type ServerPostgres, startServerPostgres } from "../support/server-postgres.ts";
import { startTcpProxy } from "../support/tcp-proxy.ts";
import { blocksOf, textOf } from "./markdown.ts";

const exec = promisify(execFile);

const commands = blocksOf(textOf("docs/guide/recover.md"))
  .filter(({ language }) => language === "sh")
  .map(({ code }) => code);

let server: ServerPostgres;
beforeAll(async () => {
  await ensurePostgres();
  const cleanups = createCleanups();
  server = await startServerPostgres(cleanups.add);
  return cleanups.runAll;
}, 300_000);

vi.setConfig({ testTimeout: 120_000 });

async function openFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "tukio-recover-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  return folder;
}

/** Runs commands in one shell of an operator, and returns what they print. */
async function run(script: string, cwd: string, env: Record<string, string> = {}): Promise<string> {
  const path = `${env.bin ?? ""}:${dirname(process.execPath)}:${process.env.PATH}`;
  return (await exec("bash", ["-euc", script], { cwd, env: { ...env, PATH: path } })).stdout;
}

async function start(env: Record<string, string>): Promise<NodeProcess> {
  const node = await startProcess(env);
  onTestFinished(node.close);
  await vi.waitUntil(async () => (await call(`${node.url}/readyz`)).status === 200);
  return node;
}

const stateOf = async (node: NodeProcess, orderId: string) =>
  (await asMerchant(node, `/v1/orders/${orderId}`)).body.order;

/** The webhook of a success, sent to this node: its URL is that of the node that asked for the money. */
const report = (push: HeldPush, node: NodeProcess, receipt?: string): Promise<number> =>
  fetch(node.url + new URL(push.callbackUrl).pathname, {
    method: "POST",
    body: JSON.stringify({
      Body: {
        stkCallback: {
          MerchantRequestID: "1-2-3",
          CheckoutRequestID: push.reference,
          ResultCode: 0,
          CallbackMetadata: {
            Item: [
              { Name: "Amount", Value: 150 },
              { Name: "MpesaReceiptNumber", Value: receipt ?? `R${push.reference.replace(/\W/g, "").slice(-9)}` },
            ],
          },
        },
      },
    }),
  }).then(({ status }) => status);

describe("yesterday's backup", () => {
  it("is restored into another database, whose orders are watched in a new epoch", async () => {
    const { bin } = server;
    const url = await server.createDatabase("shop");
    const folder = await openFolder();
    const daraja = await startScriptedDaraja();
    const before = await start({ DATABASE_URL: url, ...daraja.env });
    const open = async (node: NodeProcess) => {
      const { order } = await pay(node);
      const push = await daraja.nextPush();
      push.accept();
      await vi.waitUntil(async () => (await stateOf(node, order.orderId))?.status === "processing");
      return { orderId: order.orderId, push };
    };
    const [paid, waiting] = [await open(before), await open(before)];
    expect(await report(paid.push, before)).toBe(200);

    const tables = Number(await run(commands[0] ?? "", folder, { DATABASE_URL: url, bin }));
    expect(tables).toBeGreaterThan(20);
    expect(await report(waiting.push, before)).toBe(200);
    const lost = await open(before);
    await before.end("SIGTERM");

    const script = `${commands[1]}\n${commands[2]}\necho "$RESTORED_URL"`;
    const restoredUrl = (await run(script, folder, { DATABASE_URL: url, bin })).trim().split("\n").at(-1) ?? "";
    expect(new URL(restoredUrl).pathname).toBe("/shop_restored");
    const after = await start({ DATABASE_URL: restoredUrl, ...daraja.env });
    expect(await stateOf(after, paid.orderId)).toMatchObject({ status: "succeeded", version: 3 });
    const { status, version, epoch } = (await stateOf(after, waiting.orderId)) ?? {};
    expect([status, version]).toEqual(["processing", 2]);
    expect(epoch).toBeGreaterThan(0);
    expect(await report(waiting.push, after)).toBe(200);
    expect(await stateOf(after, waiting.orderId)).toMatchObject({ status: "succeeded", version: 3, epoch });

    // The backup knows nothing of a later payment. Its webhook is kept.
    expect((await asMerchant(after, `/v1/orders/${lost.orderId}`)).status).toBe(404);
    expect(await report(lost.push, after)).toBe(200);
    await vi.waitUntil(() => after.output().includes('"result":"unmatched"'));
  });
});

describe("a rotation of TUKIO_SECRET by the commands of the page", () => {
  it("refuses no webhook until the last round", async () => {
    const url = await server.createDatabase("rotated");
    const folder = await openFolder();
    const daraja = await startScriptedDaraja();
    await writeFile(
      join(folder, "tukio.env"),
      `NODE_ENV=production\nTUKIO_SECRET=${testSecret}\nTRUSTED_PROXIES=127.0.0.1\n`,
    );
    const [create = "", ...rounds] = (commands[5] ?? "").trim().split("\n");
    expect(rounds).toHaveLength(3);
    const secretIn = async (): Promise<string> =>
      /^TUKIO_SECRET=(.*)$/m.exec(await readFile(join(folder, "tukio.env"), "utf8"))?.[1] ?? "";
    const startWithFile = async () => start({ DATABASE_URL: url, ...daraja.env, TUKIO_SECRET: await secretIn() });

    let node = await startWithFile();
    const pushes: HeldPush[] = [];
    for (let nth = 0; nth < 3; nth += 1) {
      await pay(node);
      const push = await daraja.nextPush();
      push.accept();
      pushes.push(push);
    }
    const answers: number[] = [];
    const lists: number[] = [];
    const created = (await run(`${create}\necho "$NEW_SECRET"`, folder)).trim();
    for (const [nth, round] of rounds.entries()) {
      await run(`NEW_SECRET=${created}\n${round}`, folder);
      lists.push((await secretIn()).split(",").length);
      await node.end("SIGTERM");
      node = await startWithFile();
      const push = pushes[nth];
      if (push) answers.push(await report(push, node));
    }
    expect(lists).toEqual([2, 2, 1]);
    expect(await secretIn()).toBe(created);
    // The last payment was started two secrets ago: waiting a day, as the page says, prevents this.
    expect(answers).toEqual([200, 200, 401]);
  });
});

describe("a spool", () => {
  it("is moved to another node's directory, and a lost one is replaced by queries", async () => {
    const url = await server.createDatabase("spooled");
    const folder = await openFolder();
    const [oldData, newData] = [join(folder, "old-data"), join(folder, "new-data")];
    for (const data of [oldData, newData]) await mkdir(join(data, "spool"), { recursive: true });
    const proxy = await startTcpProxy(url);
    const urls: string[] = [];
    const script = await startScriptedProvider(({ path, body }) => {
      if (path.startsWith("/oauth/")) return { body: { access_token: "a-token", expires_in: "3599" } };
      if (path.startsWith("/mpesa/stkpush/v1/")) {
        urls.push(String(body.CallBackURL));
        const ids = { CheckoutRequestID: `ws_${urls.length}`, MerchantRequestID: "1" };
        return { body: { ResponseCode: "0", ...ids } };
      }
      return { body: { ResponseCode: "0", ResultCode: "0", CheckoutRequestID: body.CheckoutRequestID } };
    });
    const env = { DATABASE_URL: proxy.url, SPOOL: "on", ...providerEnv("daraja", script.url) };
    const spooled = (data: string) => readdir(join(data, "spool"));
    const payAndReport = async (node: NodeProcess, receipt: string): Promise<string> => {
      const { order } = await pay(node);
      await vi.waitUntil(async () => (await stateOf(node, order.orderId))?.status === "processing");
      proxy.cut();
      const push = { callbackUrl: urls.at(-1) ?? "", reference: `ws_${urls.length}` } as HeldPush;
      expect(await report(push, node, receipt)).toBe(200);
      return order.orderId;
    };

    const first = await start({ ...env, DATA_DIR: oldData });
    const moved = await payAndReport(first, "RMOVED0001");
    await first.end("SIGKILL");
    expect(await spooled(oldData)).not.toEqual([]);
    await run(commands[3] ?? "", folder);
    proxy.restore();
    const second = await start({ ...env, DATA_DIR: newData });
    await vi.waitUntil(async () => (await stateOf(second, moved))?.payment.receipt === "RMOVED0001");

    const lost = await payAndReport(second, "RLOST00001");
    await second.end("SIGKILL");
    await rm(newData, { recursive: true });
    proxy.restore();
    const third = await start({ ...env, DATA_DIR: newData });
    expect((await stateOf(third, lost))?.status).toBe("processing");
    const client = new pg.Client(url);
    await client.connect();
    await client.query("update payment set check_at = now() where check_at is not null");
    await client.end();
    await vi.waitUntil(async () => (await stateOf(third, lost))?.status === "succeeded");
    expect((await stateOf(third, lost))?.payment.receipt).toBeUndefined();
  });
});

describe("a database that the next release has migrated", () => {
  it("serves a node of this release, which reports it, if the next release supports it", async () => {
    const url = await server.createDatabase("newer");
    const daraja = await startScriptedDaraja();
    const env = { DATABASE_URL: url, ...daraja.env };
    await (await start(env)).end("SIGTERM");
    const client = new pg.Client(url);
    await client.connect();
    await client.query("update tukio_schema set oldest = version, version = version + 1");
    await client.query('alter table "order" add column of_next_release int not null default 1');
    const node = await start(env);
    await vi.waitUntil(() => node.output().includes('"event":"database.schema.newer"'));
    const { order } = await pay(node);
    (await daraja.nextPush()).accept();
    await vi.waitUntil(async () => (await stateOf(node, order.orderId))?.status === "processing");
    await node.end("SIGTERM");
    await client.query("update tukio_schema set oldest = version");
    await client.end();
    await expect(startProcess(env)).rejects.toThrow("The database has schema version");
  });
});

it("the upgrade of the page needs systemd", () => {
  expect(commands[4]).toContain("systemctl restart");
});
