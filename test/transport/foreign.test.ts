/**
 * Clients other than the SDK and not in JavaScript: Python's Socket.IO and curl, with the code of docs/clients.md. Mobile
 * apps use such clients, so these tests rely on the documented protocol and not on habits of the SDK.
 */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { beforeAll, describe, expect, it, onTestFinished, type TestContext, vi } from "vitest";
import { createDatabase } from "../support/database.ts";
import { canInstall, installPackages } from "../support/debian.ts";
import { startNetwork } from "../support/network.ts";
import { pay, startNode, type TestNode } from "../support/node.ts";
import { answerPrompt } from "../support/payer.ts";

const exec = promisify(execFile);
const phone = "+254712345600";

/** Debian's own Python, whatever is first in the PATH. */
const python = "/usr/bin/python3";

const isThere = (program: string, ...args: string[]): Promise<boolean> =>
  exec(program, args).then(
    () => true,
    () => false,
  );

const hasPython = (): Promise<boolean> => isThere(python, "-c", "import socketio, websocket");

let databaseUrl: string;
let folder: string;
let commands: string[];
/** Why the Python tests cannot run. Undefined when they can. */
let withoutPython: string | undefined;

beforeAll(async () => {
  const doc = await readFile(new URL("../../docs/clients.md", import.meta.url), "utf8");
  const blocks = (language: string): string[] =>
    [...doc.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\``, "gm"))].map(([, text = ""]) => text);
  commands = blocks("sh");
  folder = await mkdtemp(join(tmpdir(), "tukio-foreign-"));
  await writeFile(join(folder, "watch.py"), blocks("python").join(""));
  const isComplete = (await hasPython()) && (await isThere("curl", "--version"));
  if (!isComplete && canInstall()) {
    await installPackages(["python3-socketio", "python3-websocket", "curl"]).catch(() => undefined);
  }
  if (!(await hasPython())) withoutPython = "not run: install Debian's python3-socketio and python3-websocket";
  const database = await createDatabase();
  databaseUrl = database.url;
  return async () => {
    await database.drop();
    await rm(folder, { recursive: true });
  };
}, 300_000);

interface Client {
  /** Its output so far. */
  readonly text: string;
  /** Resolves with its exit code. */
  ended: Promise<number | null>;
}

/** Starts a program. The test's end stops it. */
function start(program: string, args: string[], env: Record<string, string> = {}): Client {
  const child: ChildProcess = spawn(program, args, { env: { ...process.env, ...env } });
  let text = "";
  for (const stream of [child.stdout, child.stderr]) stream?.on("data", (chunk: Buffer) => (text += chunk));
  const ended = new Promise<number | null>((resolve) => child.once("close", resolve));
  onTestFinished(async () => {
    child.kill();
    await ended;
  });
  return {
    get text() {
      return text;
    },
    ended,
  };
}

const watchInPython = (context: TestContext, url: string, token: string): Client => {
  if (withoutPython !== undefined) context.skip(withoutPython);
  return start(python, [join(folder, "watch.py"), url, token]);
};

/** Runs a command of the document, for this order of this node. */
const run = (command: string | undefined, node: TestNode, orderId: string, token: string): Client => {
  if (command === undefined) throw new Error("docs/clients.md has no such command");
  const own = command.replace("localhost:3000", node.url).replace(/ORD-\d+/, orderId);
  return start("sh", ["-c", `exec ${own.replace("curl", "curl --silent")}`], { TOKEN: token });
};

const until = (fits: () => boolean): Promise<unknown> => vi.waitUntil(fits, { interval: 20 });

describe("Python's Socket.IO client", () => {
  it("receives every state, and the receipt", async (context) => {
    const node = await startNode({ databaseUrl });
    const { watchToken } = await pay(node, { phone });
    const client = watchInPython(context, node.url, watchToken);
    await until(() => client.text.includes("v2 processing"));
    await answerPrompt(node, phone, "approve");
    expect(await client.ended).toBe(0);
    // The client may connect before the provider accepts.
    expect(client.text).toMatch(/^(v1 pending *\n)?v2 processing *\nv3 succeeded [A-Z0-9]{10}\n$/);
  });

  it("reconnects when its connection is cut, and misses nothing", async (context) => {
    const node = await startNode({ databaseUrl });
    const network = await startNetwork(node.url);
    const { watchToken } = await pay(node, { phone });
    const client = watchInPython(context, network.url, watchToken);
    await until(() => client.text.includes("v2 processing"));
    network.refuse(true);
    network.cut();
    await answerPrompt(node, phone, "cancel");
    network.refuse(false);
    expect(await client.ended).toBe(0);
    expect(client.text).toMatch(/v2 processing *\n(?:.*\n)*v3 failed cancelled\n$/);
  });

  it("receives the reason of a refusal", async (context) => {
    const node = await startNode({ databaseUrl });
    const client = watchInPython(context, node.url, "nonsense");
    expect(await client.ended).toBe(1);
    expect(client.text).toBe("refused: token_invalid\n");
  });
});

describe("curl", () => {
  it("reads the stream, each event as it is published", async () => {
    const node = await startNode({ databaseUrl });
    const { order, watchToken } = await pay(node, { phone });
    const client = run(commands[0], node, order.orderId, watchToken);
    await until(() => client.text.includes("id: 2\nevent: status\ndata: {"));
    expect(client.text).not.toContain("id: 3");
    await answerPrompt(node, phone, "insufficient_funds");
    await until(() => /id: 3\nevent: status\ndata: .*"reason":"insufficient_funds".*\n\n/.test(client.text));
  });

  it("waits in the long poll until the order is settled", async () => {
    const node = await startNode({ databaseUrl });
    const { order, watchToken } = await pay(node, { phone });
    const client = run(commands[1], node, order.orderId, watchToken);
    await until(() => node.watchedOrders() === 1);
    await answerPrompt(node, phone, "approve");
    expect(await client.ended).toBe(0);
    expect(JSON.parse(client.text)).toMatchObject({ orderId: order.orderId, status: "succeeded" });
  });
});
