/** "Your first event" of docs/events.md, as a reader does it: three commands in three terminals, in a folder with the handler. */
import { spawn } from "node:child_process";
import { mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { expect, it, onTestFinished, vi } from "vitest";
import { createDatabase } from "../support/database.ts";
import { startTestProcess } from "../support/process.ts";
import { freePort } from "../support/redis.ts";
import { blocksOf, root, textOf } from "./markdown.ts";

const text = textOf("docs/events.md");
const section = text.split("## Your first event")[1]?.split(/\n##+ /)[0] ?? "";
const commands = blocksOf(section).filter(({ language }) => language === "sh");

/** Runs a command in a terminal of its own: a process group, which Ctrl-C ends. */
function open(command: string, { cwd, env }: { cwd: string; env: NodeJS.ProcessEnv }): () => string {
  const child = spawn("bash", ["-c", command], { cwd, env, detached: true, stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk: Buffer) => (output += chunk));
  const ended = new Promise<void>((resolve) => child.once("close", () => resolve()));
  onTestFinished(async () => {
    if (child.exitCode === null) process.kill(-(child.pid ?? 0), "SIGINT");
    await ended;
  });
  return () => output;
}

/** Two minutes, because npx, the node and three programs start. */
const testMsMax = 120_000;

it(
  "the first event arrives with the three commands of docs/events.md",
  async () => {
    const folder = await mkdtemp(join(tmpdir(), "tukio-first-"));
    onTestFinished(() => rm(folder, { recursive: true }));
    const database = await createDatabase();
    onTestFinished(database.drop);
    const { url } = await startTestProcess({
      DATABASE_URL: database.url,
      DATA_DIR: join(folder, ".tukio"),
      TUKIO_API_KEY: "",
      TUKIO_SECRET: "",
    });
    const port = String(await freePort());
    const [handler, listen, trigger] = commands.map(({ code }) => code.replaceAll("4000", port));
    await symlink(join(root, "node_modules"), join(folder, "node_modules"));
    const code = blocksOf(text).find(({ info }) => info === "handler.mjs")?.code ?? "";
    await writeFile(join(folder, "handler.mjs"), code.replace("4000", port));
    const { TUKIO_API_KEY: _key, ...others } = process.env;
    const env = { ...others, PATH: `${dirname(process.execPath)}:${process.env.PATH}`, TUKIO_URL: url };
    const terminal = { cwd: folder, env };

    const handled = open(handler ?? "", terminal);
    const listened = open(listen ?? "", terminal);
    await vi.waitUntil(() => listened().includes("Ready"));
    await vi.waitUntil(
      async () => (await fetch(`http://localhost:${port}`, { method: "POST" }).catch(() => undefined))?.status === 401,
    );
    const triggered = open(trigger ?? "", terminal);
    await vi.waitUntil(() => listened().includes("→") && triggered().includes("succeeded"));
    const [, orderId = "", receipt = ""] = /^(\S+) {2}v3 {2}succeeded {2}receipt (\w+)$/m.exec(triggered()) ?? [];
    expect(handled()).toBe(`paid: ${orderId} ${receipt}\n`);
    expect(listened()).toContain(`order.succeeded  ${orderId} v3  →  204`);
  },
  testMsMax,
);
