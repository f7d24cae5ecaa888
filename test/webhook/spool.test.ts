/** The spool, with real files and real processes that are killed. */
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { statSync } from "node:fs";
import { chmod, mkdtemp, readdir, readFile, rm, stat, truncate, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { DatabaseSync } from "node:sqlite";
import { promisify } from "node:util";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import type { HubError } from "../../server/errors.ts";
import { openSpool, type Priority, type Spool, type SpooledWebhook } from "../../server/webhook/spool.ts";

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

function open(dir: string, maxMb = 16): Spool & { events: unknown[] } {
  const events: unknown[] = [];
  const log = (details: object): void => void events.push("event" in details && details.event);
  const spool = openSpool({ dir, maxMb, log: { warn: log, error: log } });
  onTestFinished(() => spool.close());
  return Object.assign(Object.create(spool), { events });
}

/** Drains the spool. Returns the numbers of its webhooks, and the error that stopped it. */
async function drain(spool: Spool, failAt = Number.POSITIVE_INFINITY): Promise<string[]> {
  const applied: string[] = [];
  const apply = async ({ body }: SpooledWebhook): Promise<void> => {
    if (applied.length === failAt) throw new Error("the database is away");
    applied.push(String(JSON.parse(body.toString()).number));
  };
  await spool.drain(apply).catch((error: Error) => applied.push(error.message));
  return applied;
}

/** Starts a process that spools numbers and prints each once it is on disk, until it is killed. */
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

describe("spool", () => {
  it("hands out webhooks in order, and removes those that were applied", async () => {
    const spool = open(await newDir());
    await Promise.all(Array.from({ length: 250 }, (_, index) => spool.append(bodyOf(index))));
    expect(spool.waiting).toBe(250);
    expect(await drain(spool, 120)).toEqual([...Array.from({ length: 120 }, (_, i) => `${i}`), "the database is away"]);
    expect(spool.waiting).toBe(130);
    expect((await drain(spool)).at(0)).toBe("120");
    expect([await drain(spool), spool.waiting]).toEqual([[], 0]);
  });

  it("removes its file on close when it is empty, and hands it to the next process otherwise", async () => {
    const dir = await newDir();
    const one = open(dir);
    await one.append(bodyOf(1));
    await drain(one);
    one.close();
    expect(await readdir(dir)).toEqual([]);
    const two = open(dir);
    await two.append(bodyOf(2));
    two.close();
    expect(await drain(open(dir))).toEqual(["2"]);
  });

  it("keeps every webhook that a killed process had stored, and leaves the file of a live process alone (G1)", async () => {
    const dir = await newDir();
    const writer = await startWriter(dir);
    await writer.enough;
    const spool = open(dir);
    expect(await drain(spool)).toEqual([]);
    await writer.kill();
    const taken = await drain(spool);
    expect(taken).toEqual(taken.map((_, index) => `${index + 1}`));
    // The process may have been killed between a write and its line.
    expect([writer.written.length, writer.written.length + 1]).toContain(taken.length);
    expect(await readdir(dir)).toHaveLength((await readdir(dir)).filter((file) => !file.includes("damaged")).length);
  });

  it("syncs each write before it resolves (G1)", async () => {
    const exec = vi.spyOn(DatabaseSync.prototype, "exec");
    onTestFinished(() => exec.mockRestore());
    open(await newDir());
    // Only a power failure would show this, so the test reads the settings.
    const [file] = exec.mock.contexts as DatabaseSync[];
    const pragma = (name: string): unknown => file?.prepare(`pragma ${name}`).get()?.[name];
    // https://www.sqlite.org/pragma.html#pragma_synchronous: 2 is FULL; in WAL mode, 1 would sync at checkpoints alone.
    expect([pragma("journal_mode"), pragma("synchronous"), pragma("locking_mode")]).toEqual(["wal", 2, "exclusive"]);
  });

  it("survives a torn last write", async () => {
    const dir = await newDir();
    const writer = await startWriter(dir);
    await writer.enough;
    await writer.kill();
    const [wal = ""] = (await readdir(dir)).filter((file) => file.endsWith("-wal"));
    const { stdout } = await promisify(execFile)("stat", ["-c", "%s", join(dir, wal)]);
    await truncate(join(dir, wal), Number(stdout) - 700);
    const taken = await drain(open(dir));
    expect(taken.length).toBeGreaterThanOrEqual(writer.written.length - 1);
    expect(taken).toEqual(taken.map((_, index) => `${index + 1}`));
  });

  it("sets aside a file that is no database", async () => {
    const dir = await newDir();
    const spool = open(dir);
    await writeFile(join(dir, "ruined.webhooks"), "x".repeat(10_000));
    await spool.append(bodyOf(1));
    expect(await drain(spool)).toEqual(["1"]);
    expect(spool.events).toEqual(["webhook.spool.file_damaged"]);
    expect(await readdir(dir)).toContain("ruined.webhooks.damaged");
  });

  it("keeps no bytes of webhooks on the disk once all are applied", async () => {
    const dir = await newDir();
    const spool = open(dir);
    const bytesOnDisk = async (text: string): Promise<number> => {
      const contents = await Promise.all((await readdir(dir)).map((file) => readFile(join(dir, file), "latin1")));
      return contents.join("").split(text).length - 1;
    };
    // Small ones share a page; a large one has pages of its own. SQLite moves the log into the file after 1,000 pages.
    const append = (phone: string, bytes: number): Promise<unknown> =>
      Promise.all(Array.from({ length: 60 }, (_, n) => spool.append(bodyOf(phone, bytes, `${n}`))));
    await append("254712345678", 0);
    await append("254712345678", 40_000);
    expect(await bytesOnDisk("254712345678")).toBeGreaterThanOrEqual(120);
    expect(await drain(spool, 50)).toHaveLength(51);
    expect(await drain(spool)).toHaveLength(70);
    expect([await bytesOnDisk("254712345678"), await bytesOnDisk("content-type")]).toEqual([0, 0]);
    await append("254787654321", 0);
    expect(await drain(spool)).toHaveLength(60);
    expect(await bytesOnDisk("254787654321")).toBe(0);
  });

  it("deletes a damaged file and its log when they were set aside before a given time", async () => {
    const dir = await newDir();
    const spool = open(dir);
    await writeFile(join(dir, "ruined.webhooks"), "x".repeat(10_000));
    const written = (await stat(join(dir, "ruined.webhooks"))).mtime;
    await utimes(join(dir, "ruined.webhooks"), new Date(0), new Date(0));
    expect(await drain(spool)).toEqual([]);
    await writeFile(join(dir, "ruined.webhooks.damaged-wal"), "the log of a file that another process has set aside");
    const damaged = async () => (await readdir(dir)).filter((file) => file.startsWith("ruined"));
    // A file's time is when it was set aside, not when it was written.
    spool.removeDamaged(written);
    expect(await damaged()).toEqual(["ruined.webhooks.damaged", "ruined.webhooks.damaged-wal"]);
    await spool.append(bodyOf(1));
    spool.removeDamaged(new Date(Date.now() + 60_000));
    expect(await damaged()).toEqual([]);
    expect(spool.events).toEqual(["webhook.spool.file_damaged", ...Array(2).fill("webhook.spool.damaged_removed")]);
    expect(await drain(spool)).toEqual(["1"]);
  });

  it("sets aside a database without webhooks, and removes an empty one", async () => {
    const dir = await newDir();
    const spool = open(dir);
    await writeFile(join(dir, "empty.webhooks"), "");
    const other = new DatabaseSync(join(dir, "other.webhooks"));
    other.exec("create table message (text)");
    other.close();
    expect(await drain(spool)).toEqual([]);
    expect(spool.events).toEqual(["webhook.spool.file_damaged"]);
    const files = (await readdir(dir)).filter((file) => /^(empty|other)/.test(file));
    expect(files).toEqual(["other.webhooks.damaged"]);
  });

  it("drains a full file of an older version, which has no index and no page for one", async () => {
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
    // With the smallest limit, which the old file has reached.
    const numbers = [...Array(count).keys(), ...Array(small).keys()].map(String);
    const two = open(dir, 1);
    expect(await drain(two)).toEqual(numbers);
    expect([...spool.events, ...two.events]).toEqual([]);
    expect((await readdir(dir)).filter((file) => file.startsWith("old"))).toEqual([]);
  });

  it("retries a file that cannot be opened now, and logs it once", async () => {
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
    expect([await drain(spool), await drain(spool)]).toEqual([[], []]);
    exec.mockRestore();
    expect(spool.events).toEqual(["webhook.spool.file_unreadable"]);
    expect(await readdir(dir)).toContain(path.slice(dir.length + 1));
    expect(await drain(spool)).toEqual(["1"]);
  });

  it("refuses webhooks beyond its limit, reports that, and accepts them when there is room (G12)", async () => {
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
    expect(await drain(spool)).toEqual(written.map(String));
    await spool.append(bodyOf(99));
    expect(spool.isWritable).toBe(true);
  });

  it("writes the rest of a batch when one webhook is too large for the room that is left", async () => {
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
    expect((await drain(spool)).slice(filled)).toEqual(["1", "2", "4", "5"]);
  });

  it("gives a payment no more than its share, and only part of it to webhooks other than successes (G12)", async () => {
    const spool = open(await newDir(), 1);
    const append = (number: number, priority: Priority, paymentId = "flooded"): Promise<string> =>
      spool.append(bodyOf(number, 20_000, paymentId), priority).then(
        () => "on disk",
        (error: HubError) => `${error.status} after ${error.details.retryAfterS} s`,
      );
    // Of 256 KiB: at once, and one after the other.
    const repeats = await Promise.all(Array.from({ length: 20 }, (_, number) => append(number, "repeat")));
    expect(repeats.filter((result) => result === "on disk")).toHaveLength(6);
    expect(await append(20, "repeat")).toBe("429 after 60 s");
    const news: string[] = [];
    for (let number = 100; number < 120; number += 1) news.push(await append(number, "new"));
    expect(news.filter((result) => result === "on disk")).toHaveLength(3);
    for (let number = 120; number < 140; number += 1) news.push(await append(number, "success"));
    expect(news.filter((result) => result === "on disk")).toHaveLength(7);
    expect(news.at(-1)).toBe("429 after 60 s");
    expect(spool.isWritable).toBe(true);
    expect(await append(1_000, "success", "another")).toBe("on disk");
    expect(await drain(spool)).toHaveLength(14);
    expect(await append(2_000, "repeat")).toBe("on disk");
  });

  it.skipIf(process.getuid?.() === 0)("is not writable in a read-only directory", async () => {
    const dir = await newDir();
    await chmod(join(dir, ".."), 0o500);
    const spool = open(dir);
    expect(spool.isWritable).toBe(false);
    await expect(spool.append(bodyOf(1))).rejects.toThrow();
    expect(await drain(spool)).toEqual([]);
  });

  it("is not writable where a file has the directory's name", async () => {
    const dir = await newDir();
    await writeFile(dir, "a file");
    const spool = open(dir);
    expect(spool.isWritable).toBe(false);
    await expect(spool.append(bodyOf(1))).rejects.toThrow();
  });
});
