/** Webhooks that wait on disk: real files, real processes that are killed. */
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { statSync } from "node:fs";
import { chmod, mkdtemp, readdir, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { DatabaseSync } from "node:sqlite";
import { promisify } from "node:util";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import type { HubError } from "../../server/errors.ts";
import { openSpool, type Spool, type SpooledWebhook, type Weight } from "../../server/webhook/spool.ts";

const bodyOf = (
  number: number | string,
  bytes = 0,
  paymentId = "0199f2c4-0000-7000-8000-000000000001",
): SpooledWebhook => ({
  provider: "daraja",
  paymentId,
  headers: { "content-type": "application/json" },
  body: Buffer.from(`{"number":"${number}"}${" ".repeat(bytes)}`),
});

async function newDir(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), "tukio-spool-"));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  return join(dir, "spool");
}

function open(dir: string, maxMb = 16): Spool & { said: string[] } {
  const said: string[] = [];
  const say = (_details: object, message: string): void => void said.push(message);
  const spool = openSpool({ dir, maxMb, log: { warn: say, error: say } });
  onTestFinished(() => spool.close());
  return Object.assign(Object.create(spool), { said });
}

/** Everything that waits, as its numbers, taken. */
async function take(spool: Spool, failAt = Number.POSITIVE_INFINITY): Promise<string[]> {
  const taken: string[] = [];
  const apply = async ({ body }: SpooledWebhook): Promise<void> => {
    if (taken.length === failAt) throw new Error("the database is away");
    taken.push(String(JSON.parse(body.toString()).number));
  };
  await spool.drain(apply).catch((error: Error) => taken.push(error.message));
  return taken;
}

/** A process that spools numbers and prints each once it is on disk, until it is killed. */
async function startWriter(dir: string) {
  const module = new URL("../../server/webhook/spool.ts", import.meta.url).href;
  const code = `import { openSpool } from ${JSON.stringify(module)};
    const spool = openSpool({ dir: ${JSON.stringify(dir)}, maxMb: 16, log: console });
    for (let number = 1; ; number += 1) {
      await spool.append({ provider: "daraja", headers: {}, body: Buffer.from(JSON.stringify({ number, pad: "x".repeat(999) })) });
      console.log(number);
    }`;
  const child = spawn(process.execPath, ["--input-type=module", "--no-warnings", "-e", code], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  const written: string[] = [];
  const lines = createInterface({ input: child.stdout });
  lines.on("line", (line) => written.push(line));
  const enough = new Promise<void>((resolve) => lines.on("line", () => written.length >= 50 && resolve()));
  return {
    written,
    enough,
    async kill() {
      child.kill("SIGKILL");
      await once(child, "close");
    },
  };
}

describe("a spool", () => {
  it("gives back what it was given, in order, and forgets what was applied", async () => {
    const spool = open(await newDir());
    await Promise.all(Array.from({ length: 250 }, (_, index) => spool.append(bodyOf(index))));
    expect(spool.waiting).toBe(250);
    expect(await take(spool, 120)).toEqual([...Array.from({ length: 120 }, (_, i) => `${i}`), "the database is away"]);
    expect(spool.waiting).toBe(130);
    expect((await take(spool)).at(0)).toBe("120");
    expect([await take(spool), spool.waiting]).toEqual([[], 0]);
  });

  it("leaves no file behind when it is empty, and is found again when it is not", async () => {
    const dir = await newDir();
    const one = open(dir);
    await one.append(bodyOf(1));
    await take(one);
    one.close();
    expect(await readdir(dir)).toEqual([]);
    const two = open(dir);
    await two.append(bodyOf(2));
    two.close();
    expect(await take(open(dir))).toEqual(["2"]);
  });

  it("keeps everything that a killed process was told is on disk, and leaves a living one's alone", async () => {
    const dir = await newDir();
    const writer = await startWriter(dir);
    await writer.enough;
    const spool = open(dir);
    expect(await take(spool)).toEqual([]);
    await writer.kill();
    const taken = await take(spool);
    expect(taken).toEqual(taken.map((_, index) => `${index + 1}`));
    // One more may have reached the disk without the process living to say so.
    expect([writer.written.length, writer.written.length + 1]).toContain(taken.length);
    expect(await readdir(dir)).toHaveLength((await readdir(dir)).filter((file) => !file.includes("damaged")).length);
  });

  it("has each write synced before it says so: no killed process shows that, only a machine without power", async () => {
    const exec = vi.spyOn(DatabaseSync.prototype, "exec");
    onTestFinished(() => exec.mockRestore());
    open(await newDir());
    const [file] = exec.mock.contexts as DatabaseSync[];
    const pragma = (name: string): unknown => file?.prepare(`pragma ${name}`).get()?.[name];
    // https://www.sqlite.org/pragma.html#pragma_synchronous: 2 is FULL; in WAL mode, 1 would sync at checkpoints alone.
    expect([pragma("journal_mode"), pragma("synchronous"), pragma("locking_mode")]).toEqual(["wal", 2, "exclusive"]);
  });

  it("survives a last write that was torn", async () => {
    const dir = await newDir();
    const writer = await startWriter(dir);
    await writer.enough;
    await writer.kill();
    const [wal = ""] = (await readdir(dir)).filter((file) => file.endsWith("-wal"));
    const { stdout } = await promisify(execFile)("stat", ["-c", "%s", join(dir, wal)]);
    await truncate(join(dir, wal), Number(stdout) - 700);
    const taken = await take(open(dir));
    expect(taken.length).toBeGreaterThanOrEqual(writer.written.length - 1);
    expect(taken).toEqual(taken.map((_, index) => `${index + 1}`));
  });

  it("sets a file aside that is not one of its own making", async () => {
    const dir = await newDir();
    const spool = open(dir);
    await writeFile(join(dir, "ruined.webhooks"), "x".repeat(10_000));
    await spool.append(bodyOf(1));
    expect(await take(spool)).toEqual(["1"]);
    expect(spool.said).toEqual(["a spool file cannot be read; it is set aside"]);
    expect(await readdir(dir)).toContain("ruined.webhooks.damaged");
  });

  it("sets a database aside that has no webhooks in it, and removes one in which nothing was made", async () => {
    const dir = await newDir();
    const spool = open(dir);
    await writeFile(join(dir, "empty.webhooks"), "");
    const other = new DatabaseSync(join(dir, "other.webhooks"));
    other.exec("create table message (text)");
    other.close();
    expect(await take(spool)).toEqual([]);
    expect(spool.said).toEqual(["a spool file cannot be read; it is set aside"]);
    const files = (await readdir(dir)).filter((file) => /^(empty|other)/.test(file));
    expect(files).toEqual(["other.webhooks.damaged"]);
  });

  it("empties a full file of the version before, which had no index and no page left for one", async () => {
    const dir = await newDir();
    const spool = open(dir);
    const old = new DatabaseSync(join(dir, "old.webhooks"));
    old.exec(`pragma locking_mode = exclusive; pragma journal_mode = wal; pragma synchronous = full;
      pragma page_size = 4096; pragma max_page_count = 256; begin exclusive;
      create table webhook (id integer primary key, provider text not null, payment_id text, headers text not null, body blob not null);
      commit`);
    const insert = old.prepare(
      "insert into webhook (provider, payment_id, headers, body) values ('daraja', ?, '{}', ?)",
    );
    const fill = (bytes: number): number => {
      let rows = 0;
      try {
        for (; ; rows += 1) insert.run(`payment ${rows}`, bodyOf(rows, bytes).body);
      } catch (error) {
        expect(error).toMatchObject({ errcode: 13 });
      }
      return rows;
    };
    const count = fill(30_000);
    const small = fill(0);
    old.close();
    // As large as the spool's files may be.
    const numbers = [...Array(count).keys(), ...Array(small).keys()].map(String);
    const two = open(dir, 1);
    expect(await take(two)).toEqual(numbers);
    expect([...spool.said, ...two.said]).toEqual([]);
    expect((await readdir(dir)).filter((file) => file.startsWith("old"))).toEqual([]);
  });

  it("leaves a file where it is that cannot be opened just now, says so once, and tries again", async () => {
    const dir = await newDir();
    const spool = open(dir);
    const one = open(dir);
    await one.append(bodyOf(1));
    one.close();
    const [path = ""] = (await readdir(dir))
      .filter((file) => file.endsWith(".webhooks"))
      .map((file) => join(dir, file))
      .filter((file) => statSync(file).size > 4_096 * 2);
    const exec = vi.spyOn(DatabaseSync.prototype, "exec").mockImplementation(() => {
      throw Object.assign(new Error("disk I/O error"), { errcode: 10 | (17 << 8) });
    });
    expect([await take(spool), await take(spool)]).toEqual([[], []]);
    exec.mockRestore();
    expect(spool.said).toEqual(["a spool file cannot be read now; it is tried again"]);
    expect(await readdir(dir)).toContain(path.slice(dir.length + 1));
    expect(await take(spool)).toEqual(["1"]);
  });

  it("takes no more than it may hold, says so, and takes again when there is room", async () => {
    const spool = open(await newDir(), 1);
    const written: number[] = [];
    for (let number = 0; number < 40; number += 1) {
      await spool.append(bodyOf(number, 60_000, `payment ${number}`)).then(
        () => written.push(number),
        () => undefined,
      );
    }
    expect(written.length).toBeGreaterThan(5);
    expect(written.length).toBeLessThan(20);
    expect(spool.isWritable).toBe(false);
    expect(await take(spool)).toEqual(written.map(String));
    await spool.append(bodyOf(99));
    expect(spool.isWritable).toBe(true);
  });

  it("is not kept from writing the others by one that is too large for what is left", async () => {
    const spool = open(await newDir(), 1);
    const fill = async (number: number): Promise<boolean> =>
      spool.append(bodyOf(`fill ${number}`, 60_000, `payment ${number}`)).then(
        () => true,
        () => false,
      );
    let filled = 0;
    while (await fill(filled)) filled += 1;
    const batch = [1, 2, 3, 4, 5].map((number) => spool.append(bodyOf(number, number === 3 ? 60_000 : 0, `${number}`)));
    const results = await Promise.allSettled(batch);
    expect(results.map(({ status }) => status === "fulfilled")).toEqual([true, true, false, true, true]);
    expect([spool.isWritable, spool.waiting]).toEqual([true, filled + 4]);
    expect((await take(spool)).slice(filled)).toEqual(["1", "2", "4", "5"]);
  });

  it("gives one payment no more than its share, and what says less than a success only part of that", async () => {
    const spool = open(await newDir(), 1);
    const append = (number: number, weight: Weight, paymentId = "flooded"): Promise<string> =>
      spool.append(bodyOf(number, 20_000, paymentId), weight).then(
        () => "on disk",
        (error: HubError) => `${error.status} after ${error.details.retryAfterS} s`,
      );
    // Of 256 KiB: at once, and one after the other.
    const repeats = await Promise.all(Array.from({ length: 20 }, (_, number) => append(number, "idle")));
    expect(repeats.filter((said) => said === "on disk")).toHaveLength(6);
    expect(await append(20, "idle")).toBe("429 after 60 s");
    const news: string[] = [];
    for (let number = 100; number < 120; number += 1) news.push(await append(number, "new"));
    expect(news.filter((said) => said === "on disk")).toHaveLength(3);
    for (let number = 120; number < 140; number += 1) news.push(await append(number, "success"));
    expect(news.filter((said) => said === "on disk")).toHaveLength(7);
    expect(news.at(-1)).toBe("429 after 60 s");
    expect(spool.isWritable).toBe(true);
    expect(await append(1_000, "success", "another")).toBe("on disk");
    expect(await take(spool)).toHaveLength(14);
    expect(await append(2_000, "idle")).toBe("on disk");
  });

  it.skipIf(process.getuid?.() === 0)("says that it cannot write where it may not", async () => {
    const dir = await newDir();
    await chmod(join(dir, ".."), 0o500);
    const spool = open(dir);
    expect(spool.isWritable).toBe(false);
    await expect(spool.append(bodyOf(1))).rejects.toThrow();
    expect(await take(spool)).toEqual([]);
  });

  it("says that it cannot write where there is no directory to be", async () => {
    const dir = await newDir();
    await writeFile(dir, "a file");
    const spool = open(dir);
    expect(spool.isWritable).toBe(false);
    await expect(spool.append(bodyOf(1))).rejects.toThrow();
  });
});
