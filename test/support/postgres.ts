/** A PostgreSQL that one test file crashes and restarts. It runs with fsync by default, because commits must survive the crash. */
import { execFile } from "node:child_process";
import { chmod, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { type Embedded, startEmbedded } from "../../server/database/embedded-postgres.ts";

const run = promisify(execFile);

export interface TestPostgres {
  /** Changes on every restart. */
  readonly url: string;
  /** Stops the server immediately, without a checkpoint; by default with SIGQUIT. Resolves when all its processes have exited. */
  crash(signal?: NodeJS.Signals): Promise<void>;
  /** Starts the server on the same data. */
  restart(): Promise<void>;
  /** Crashes the server, copies its data, and starts it again. */
  save(): Promise<void>;
  /** Crashes the server, and starts it on the saved data: what it committed since then is lost. */
  goBack(): Promise<void>;
  close(): Promise<void>;
}

export async function startPostgres({ fsync = true } = {}): Promise<TestPostgres> {
  const dataDir = await mkdtemp(join(tmpdir(), "tukio-fault-"));
  await chmod(dataDir, 0o755);
  let exited = Promise.withResolvers<void>();
  const start = (): Promise<Embedded> => {
    exited = Promise.withResolvers();
    return startEmbedded({ dataDir, fsync, log: { info: () => exited.resolve() } });
  };
  let running = await start();
  // The log lines of the start have resolved the first promise.
  exited = Promise.withResolvers();
  const crash = async (signal: NodeJS.Signals = "SIGQUIT"): Promise<void> => {
    exited = Promise.withResolvers();
    const [pid] = (await readFile(join(dataDir, "postgres", "postmaster.pid"), "utf8")).split("\n");
    process.kill(Number(pid), signal);
    await exited.promise;
  };
  const restart = async (): Promise<void> => {
    running = await start();
  };
  return {
    get url() {
      return running.url;
    },
    crash,
    restart,
    async save() {
      await crash();
      await run("cp", ["-a", join(dataDir, "postgres"), join(dataDir, "saved")]);
      await restart();
    },
    async goBack() {
      await crash();
      await rm(join(dataDir, "postgres"), { recursive: true });
      await run("cp", ["-a", join(dataDir, "saved"), join(dataDir, "postgres")]);
      await restart();
    },
    async close() {
      await running.close();
      await rm(dataDir, { recursive: true, force: true, maxRetries: 10 });
    },
  };
}
