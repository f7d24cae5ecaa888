/** The handlers of docs/events.md, in each language, with deliveries of a node. */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { Webhook } from "standardwebhooks";
import { beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { createDatabase } from "../support/database.ts";
import { ensureProgram, installPackages } from "../support/debian.ts";
import { asMerchant, pay, startNode, type TestNode } from "../support/node.ts";
import { freePort } from "../support/redis.ts";
import { signEmpty } from "../support/signed-event.ts";
import { blocksOf, root, textOf } from "./markdown.ts";

/** Returns the command that runs a handler on a port. The port is in the handler's code where the command has none. */
type Start = (port: number) => Promise<[program: string, ...args: string[]]>;

const handlers: Readonly<Record<string, Start>> = {
  "handler.mjs": async () => [process.execPath, "handler.mjs"],
  "handler.py": async () => [await ensureProgram("python3", "python3"), "handler.py"],
  "handler.php": async (port) => {
    const php = await ensureProgram("php", "php-cli");
    await ensurePhpSqlite(php);
    return [php, "-S", `127.0.0.1:${port}`, "handler.php"];
  },
};

async function ensurePhpSqlite(php: string): Promise<void> {
  const { stdout } = await promisify(execFile)(php, ["-m"]);
  if (!/^pdo_sqlite$/m.test(stdout)) await installPackages(["php-sqlite3"]);
}

let databaseUrl: string;
beforeAll(async () => {
  const { url, drop } = await createDatabase();
  databaseUrl = url;
  return drop;
});

interface Handler {
  url: string;
  /** The lines that it has printed. */
  lines(): string[];
  /** Kills it, and starts it again with the same files. */
  restart(): Promise<void>;
}

/** Starts the handler with its port and its secret, and waits until it answers an unsigned message with this status. */
async function startHandler(name: string, port: number, secret: string, unsigned = 401): Promise<Handler> {
  const [program, ...args] = (await handlers[name]?.(port)) ?? [""];
  const folder = await mkdtemp(join(tmpdir(), "tukio-handler-"));
  const code = blocksOf(textOf("docs/events.md")).find(({ info }) => info === name)?.code ?? "";
  await writeFile(join(folder, name), code.replace("4000", String(port)));
  await symlink(join(root, "node_modules"), join(folder, "node_modules"));
  const env = { ...process.env, WEBHOOK_SECRET: secret };
  const url = `http://127.0.0.1:${port}/`;
  let text = "";
  let errors = "";
  let child: ChildProcess;
  let ended: Promise<void>;
  const start = async (): Promise<void> => {
    const started = spawn(program, args, { cwd: folder, env, stdio: ["ignore", "pipe", "pipe"] });
    started.stdout.on("data", (chunk: Buffer) => (text += chunk));
    started.stderr.on("data", (chunk: Buffer) => (errors += chunk));
    ended = new Promise((resolve) => started.once("close", () => resolve()));
    child = started;
    await vi.waitUntil(async () => {
      if (started.exitCode !== null) {
        // Its last lines may arrive after its end.
        await ended;
        throw new Error(`the handler ended: ${errors}`);
      }
      return (await fetch(url, { method: "POST", body: "{}" }).catch(() => undefined))?.status === unsigned;
    });
  };
  onTestFinished(async () => {
    child.kill("SIGKILL");
    await ended;
    await rm(folder, { recursive: true });
  });
  await start();
  return {
    url,
    lines: () => text.split("\n").filter((line) => line.startsWith("paid:")),
    async restart() {
      child.kill("SIGKILL");
      await ended;
      await start();
    },
  };
}

interface Created {
  endpoint: { id: string };
  secret: string;
}

/** Waits until the endpoint has answered this many messages with 204. */
const untilDelivered = (node: TestNode, endpointId: string, count: number): Promise<unknown> =>
  vi.waitUntil(async () => {
    const { body } = await asMerchant(node, `/v1/endpoints/${endpointId}/deliveries`);
    const attempts = body.data as unknown as { status: string; httpStatus?: number }[];
    expect(attempts.filter(({ status }) => status === "failed")).toEqual([]);
    return attempts.filter(({ httpStatus }) => httpStatus === 204).length === count;
  });

/** Posts a message with these headers, and returns the status of the answer. */
const post = async (url: string, body: string, headers: Record<string, string>): Promise<number> =>
  (await fetch(url, { method: "POST", body, headers })).status;

describe.each(Object.keys(handlers))("%s of docs/events.md", (name) => {
  it("accepts deliveries, also while the secret is replaced, and acts once for each order, also after it was killed", async () => {
    const node = await startNode({ databaseUrl });
    const port = await freePort();
    const url = `http://127.0.0.1:${port}/`;
    const { endpoint, secret } = (await asMerchant(node, "/v1/endpoints", { url })).body as unknown as Created;
    const handler = await startHandler(name, port, secret);
    const { order } = await pay(node, { phone: "+254712345601", description: "চা ☕" });
    await untilDelivered(node, endpoint.id, 1);
    expect(handler.lines()).toEqual([expect.stringMatching(new RegExp(`^paid: ${order.orderId} [A-Z0-9]{10}$`))]);
    await asMerchant(node, `/v1/endpoints/${endpoint.id}/rotate-secret`, {});
    await asMerchant(node, `/v1/endpoints/${endpoint.id}/replay`, { since: order.openedAt, orderId: order.orderId });
    await untilDelivered(node, endpoint.id, 2);
    await handler.restart();
    await asMerchant(node, `/v1/endpoints/${endpoint.id}/replay`, { since: order.openedAt, orderId: order.orderId });
    await untilDelivered(node, endpoint.id, 3);
    expect(await asMerchant(node, `/v1/endpoints/${endpoint.id}/ping`, {})).toMatchObject({
      body: { delivered: true },
    });
    expect(handler.lines()).toHaveLength(1);
    const { order: second } = await pay(node, { phone: "+254712345601" });
    await untilDelivered(node, endpoint.id, 4);
    expect(handler.lines()[1]).toContain(`paid: ${second.orderId} `);
  });

  it("refuses a changed byte, another secret, an old or absent time, and a request without a signature", async () => {
    const secrets = [1, 2].map((byte) => `whsec_${Buffer.alloc(32, byte).toString("base64")}`);
    const [secret = "", other = ""] = secrets;
    const { url } = await startHandler(name, await freePort(), secret);
    const body = JSON.stringify({ type: "ping", timestamp: new Date().toISOString(), data: {} });
    const signed = (at = new Date(), ...by: string[]): Record<string, string> => ({
      "webhook-id": "one.0.1",
      "webhook-timestamp": String(Math.floor(at.getTime() / 1_000)),
      "webhook-signature": by.map((one) => new Webhook(one).sign("one.0.1", at, body)).join(" "),
    });
    const [now, earlier, later] = [0, -360_000, 360_000].map((ms) => new Date(Date.now() + ms));
    const { "webhook-timestamp": _time, ...timeless } = signed(now, secret);
    const answers = [
      await post(url, body, signed(now, secret)),
      await post(url, body, signed(now, other, secret)),
      await post(url, body.replace("ping", "pong"), signed(now, secret)),
      await post(url, body, signed(now, other)),
      await post(url, body, signed(earlier, secret)),
      await post(url, body, signed(later, secret)),
      await post(url, body, timeless),
      await post(url, body, { ...signed(now, secret), "webhook-timestamp": "NaN" }),
      await post(url, body, { ...signed(now, secret), "webhook-signature": "v1,\u00e9 v2,x" }),
      await post(url, body, { ...signed(now), "webhook-signature": signEmpty("one.0.1", now ?? new Date(), body) }),
      await post(url, body, {}),
    ];
    expect(answers).toEqual([204, 204, ...Array(9).fill(401)]);
  });

  it("accepts nothing without a secret", async () => {
    const port = await freePort();
    const handler = await startHandler(name, port, "", 500).catch((error: Error) => error);
    if (handler instanceof Error) return expect(handler.message).toContain("Set WEBHOOK_SECRET");
    const body = JSON.stringify({ type: "ping", timestamp: new Date().toISOString(), data: {} });
    const at = new Date();
    const headers = {
      "webhook-id": "one.0.1",
      "webhook-timestamp": String(Math.floor(at.getTime() / 1_000)),
      "webhook-signature": signEmpty("one.0.1", at, body),
    };
    return expect(await post(handler.url, body, headers)).toBe(500);
  });
});
