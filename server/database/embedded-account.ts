/**
 * Chooses the account that the embedded PostgreSQL runs as, and the directory of its data. PostgreSQL refuses to run as root.
 * Under root this code chooses the first that works of:
 *
 * - the owner of data that exists already;
 * - `nobody` of a new user namespace, which can reach all files of root, so that nothing is copied and no owner changes;
 * - the machine's account `nobody`, because containers commonly refuse namespaces. If this account cannot reach the data
 *   directory, the data goes below /var/lib/tukio with a link to it. If it cannot reach the programs, they are copied.
 *
 * Under any other account PostgreSQL runs as that account.
 */
import { execFile } from "node:child_process";
import { chmod, cp, mkdir, mkdtemp, realpath, rm, stat, symlink } from "node:fs/promises";
import { platform, userInfo } from "node:os";
import { basename, dirname, join } from "node:path";
import { promisify } from "node:util";

/** The data go here when the account `nobody` cannot reach the data directory. */
const sharedDirectory = "/var/lib/tukio";

export interface Home {
  /** Absolute, without links. Does not exist before the first start. */
  readonly data: string;
  /** The directory of PostgreSQL's programs. */
  readonly bin: string;
  /** The account that the programs run as; absent: this process's own. */
  readonly account?: { readonly uid: number; readonly gid: number };
  /** The words before each command: programs that run the next one. */
  readonly wrap: readonly string[];
  /** The search path for system programs. */
  readonly path: string;
}

/** `dataDir` must exist and contain no links. */
export interface HomeOptions {
  dataDir: string;
  bin: string;
  /** The search path for system programs. */
  path: string;
  log: EmbeddedLog;
}

export type EmbeddedLog = { info(details: object, message: string): void };

/** Chooses the account and the directory. Throws an Error if no account can run PostgreSQL here. */
export async function findHome({ dataDir, bin, path, log }: HomeOptions): Promise<Home> {
  const link = join(dataDir, "postgres");
  const wrap = await parentDeathWrap(path);
  if (!isRoot()) return { data: link, bin, wrap, path };

  const data = await realpath(link).catch(undefinedIfMissing);
  const owner = data === undefined ? undefined : await stat(data);
  if (!owner || owner.uid === 0) {
    const unshare = ["unshare", "--user", "--map-user=65534", "--map-group=65534", "--"];
    const home = { data: data ?? link, bin, wrap: [...unshare, ...wrap], path };
    if (
      await succeeds(home, "sh", ["-c", 'test -w "$0" && "$1" --version', dirname(home.data), join(bin, "postgres")])
    ) {
      return home;
    }
    if (owner)
      throw new Error(
        `${data} belongs to root. PostgreSQL refuses to run as root, and the system refuses user namespaces.`,
      );
  }

  const account = owner ? { uid: owner.uid, gid: owner.gid } : await nobody(path);
  const other = { data: data ?? link, bin, account, wrap, path };
  const placed = data === undefined ? { ...other, data: await createDirectory(other, dataDir) } : other;
  const home = (await succeeds(placed, join(bin, "postgres"), ["--version"])) ? placed : await copyPrograms(placed);
  log.info(
    { event: "database.embedded.account_chosen", uid: account.uid, data: home.data },
    "the embedded PostgreSQL runs under another account, because it refuses root",
  );
  return home;
}

/** Runs a program under the chosen account and returns its output. Throws an Error with the program's `stderr`. */
export async function run(home: Home, program: string, args: readonly string[]): Promise<string> {
  const { file, rest, options } = commandOf(home, program, args);
  return (await promisify(execFile)(file, rest, { ...options, encoding: "utf8" })).stdout;
}

/** The arguments and options for `spawn`. The program does not inherit this process's environment. */
export function commandOf(home: Home, program: string, args: readonly string[]) {
  const [file = program, ...rest] = [...home.wrap, program, ...args];
  return { file, rest, options: { ...home.account, cwd: "/", env: { PATH: home.path, LC_ALL: "C" } } };
}

/** For `catch`: turns a missing file into undefined, and throws any other error. */
export function undefinedIfMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== "ENOENT") throw error;
}

const succeeds = (home: Home, program: string, args: readonly string[]): Promise<boolean> =>
  run(home, program, args).then(
    () => true,
    () => false,
  );

/** The words that make Linux stop a program when this process dies; empty where `setpriv` does not work. */
async function parentDeathWrap(path: string): Promise<string[]> {
  const wrap = ["setpriv", "--pdeathsig", "INT", "--"];
  const isThere = platform() === "linux" && (await succeeds({ data: "", bin: "", wrap, path }, "true", []));
  return isThere ? wrap : [];
}

/** False for an account without a name, which is common in containers: it has no user info. */
function isRoot(): boolean {
  try {
    return userInfo().uid === 0;
  } catch {
    return false;
  }
}

async function nobody(path: string): Promise<{ uid: number; gid: number }> {
  const ask = async (flag: string) => Number(await run({ data: "", bin: "", wrap: [], path }, "id", [flag, "nobody"]));
  return { uid: await ask("-u"), gid: await ask("-g") };
}

/** Chooses where the account can create data: the data directory, or else a new directory with a link from there. */
async function createDirectory(home: Home, dataDir: string): Promise<string> {
  if (await succeeds(home, "test", ["-x", dataDir])) return home.data;
  await mkdir(sharedDirectory, { recursive: true });
  const place = await mkdtemp(join(sharedDirectory, `${basename(dirname(dataDir))}-`));
  // `mkdir` applies the umask, and other accounts must be able to reach their own directories.
  for (const directory of [sharedDirectory, place]) await chmod(directory, 0o755);
  const data = join(place, "postgres");
  // An old link exists if its target was deleted.
  await rm(home.data, { force: true });
  await symlink(data, home.data);
  return data;
}

/** Copies PostgreSQL's programs next to the data at every start, so that they are always the installed version. */
async function copyPrograms(home: Home): Promise<Home> {
  const program = join(dirname(home.data), "program");
  await rm(program, { recursive: true, force: true });
  await cp(dirname(home.bin), program, { recursive: true, verbatimSymlinks: true });
  return { ...home, bin: join(program, "bin") };
}
