/**
 * Debian's PostgreSQL with its client programs. The embedded one has no `pg_dump`, and Debian's refuses a newer server. It runs with fsync,
 * because nodes in production require it.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync } from "node:fs";
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { commandOf, findHome, run } from "../../server/database/embedded-account.ts";
import { installPackages } from "./debian.ts";
import { freePort } from "./redis.ts";

export interface ServerPostgres {
  /** Creates an empty database, and returns its URL. */
  createDatabase(name: string): Promise<string>;
  /** The directory of `psql`, `pg_dump` and `pg_restore`. */
  bin: string;
}

const releases = "/usr/lib/postgresql";

const newest = (): string | undefined =>
  existsSync(releases)
    ? readdirSync(releases)
        .toSorted((one, other) => Number(other) - Number(one))
        .map((release) => join(releases, release, "bin"))
        .find((bin) => existsSync(join(bin, "postgres")))
    : undefined;

/** Installs PostgreSQL if it is missing. Call it in `beforeAll`, with time for apt. */
export async function ensurePostgres(): Promise<string> {
  if (newest() === undefined) await installPackages(["postgresql"]);
  const bin = newest();
  if (bin === undefined) throw new Error("The package postgresql does not contain a server.");
  return bin;
}

/** Starts a server on a free port. The functions passed to `release` stop it, in reverse order. */
export async function startServerPostgres(release: (end: () => Promise<void>) => void): Promise<ServerPostgres> {
  const bin = await ensurePostgres();
  const dataDir = await mkdtemp(join(tmpdir(), "tukio-server-"));
  await chmod(dataDir, 0o755);
  release(() => rm(dataDir, { recursive: true, force: true, maxRetries: 10 }));
  const home = await findHome({ dataDir, bin, path: "/usr/bin:/bin:/usr/sbin:/sbin", log: { info: () => undefined } });
  await run(home, join(bin, "initdb"), [
    "-D",
    home.data,
    "--username=tukio",
    "--auth=trust",
    "--encoding=UTF8",
    "--locale=C",
  ]);
  const port = await freePort();
  const settings = ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="];
  const { file, rest, options } = commandOf(home, join(bin, "postgres"), [
    "-D",
    home.data,
    "-p",
    `${port}`,
    ...settings,
  ]);
  const server = spawn(file, rest, { ...options, stdio: ["ignore", "ignore", "pipe"] });
  const exited = once(server, "exit");
  release(async () => {
    server.kill("SIGINT");
    await exited;
  });
  const lines: string[] = [];
  await new Promise<void>((done, fail) => {
    createInterface(server.stderr).on("line", (line) => {
      lines.push(line);
      if (line.includes("ready to accept connections")) done();
    });
    server.once("exit", () => fail(new Error(`PostgreSQL did not start:\n${lines.slice(-10).join("\n")}`)));
  });
  const urlOf = (name: string): string => `postgres://tukio@127.0.0.1:${port}/${name}`;
  return {
    bin,
    async createDatabase(name) {
      await run(home, join(bin, "psql"), [urlOf("postgres"), "-c", `create database ${name}`]);
      return urlOf(name);
    },
  };
}
