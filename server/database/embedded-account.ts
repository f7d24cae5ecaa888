/**
 * As whom PostgreSQL runs and where its data lies. It refuses to run as root, so root becomes, in this order:
 *
 * - whoever owns the data that is there already;
 * - a user namespace's `nobody`, which reaches all that root owns: nothing is copied and nothing changes owner;
 * - the machine's account `nobody`, where namespaces are refused, as containers commonly do. Data that it cannot reach
 *   in the data directory lies below /var/lib/tukio with a link to it, and programs that it cannot reach are copied.
 *
 * Everyone else stays who they are.
 */
import { execFile } from "node:child_process";
import { chmod, cp, mkdir, mkdtemp, realpath, rm, stat, symlink } from "node:fs/promises";
import { platform, userInfo } from "node:os";
import { basename, dirname, join } from "node:path";
import { promisify } from "node:util";

/** Where data lies that `nobody` cannot reach in the data directory. */
const refuge = "/var/lib/tukio";

export interface Home {
  /** Absolute and free of links; not there before the first start. */
  readonly data: string;
  /** The directory of PostgreSQL's programs. */
  readonly bin: string;
  /** The other account that programs run under, if any. */
  readonly account?: { readonly uid: number; readonly gid: number };
  /** Commands that programs are run through. */
  readonly wrap: readonly string[];
  /** Where system programs are looked for. */
  readonly path: string;
}

/** What `findHome` needs to know. `dataDir` exists and is free of links. */
export interface HomeOptions {
  dataDir: string;
  bin: string;
  /** Where system programs are looked for. */
  path: string;
  log: { info(message: string): void };
}

/** Decides as whom and where. Throws when no account can run PostgreSQL here. */
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
      throw new Error(`${data} belongs to root, as whom PostgreSQL does not run, and user namespaces are refused.`);
  }

  const account = owner ? { uid: owner.uid, gid: owner.gid } : await nobody(path);
  const other = { data: data ?? link, bin, account, wrap, path };
  const placed = data === undefined ? { ...other, data: await makePlace(other, dataDir) } : other;
  const home = (await succeeds(placed, join(bin, "postgres"), ["--version"])) ? placed : await copyPrograms(placed);
  log.info(`PostgreSQL refuses root: it runs as user ${account.uid}, with its data in ${home.data}`);
  return home;
}

/** Runs a program as `home` says and returns its output; throws with what it wrote to stderr. */
export async function run(home: Home, program: string, args: readonly string[]): Promise<string> {
  const { file, rest, options } = commandOf(home, program, args);
  return (await promisify(execFile)(file, rest, { ...options, encoding: "utf8" })).stdout;
}

/** The words of a command and the options to spawn it with. It sees nothing of this process's environment. */
export function commandOf(home: Home, program: string, args: readonly string[]) {
  const [file = program, ...rest] = [...home.wrap, program, ...args];
  return { file, rest, options: { ...home.account, cwd: "/", env: { PATH: home.path, LC_ALL: "C" } } };
}

/** For `catch`: what is not there is undefined, any other failure is thrown. */
export function undefinedIfMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== "ENOENT") throw error;
}

const succeeds = (home: Home, program: string, args: readonly string[]): Promise<boolean> =>
  run(home, program, args).then(
    () => true,
    () => false,
  );

/** Has the kernel stop a program when this process dies, where the kernel can. */
async function parentDeathWrap(path: string): Promise<string[]> {
  const wrap = ["setpriv", "--pdeathsig", "INT", "--"];
  const isThere = platform() === "linux" && (await succeeds({ data: "", bin: "", wrap, path }, "true", []));
  return isThere ? wrap : [];
}

/** An account without a name, common in containers, has no user info and is not root. */
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

/** Where an account can have new data: in the data directory, or else at the end of a link from there. */
async function makePlace(home: Home, dataDir: string): Promise<string> {
  if (await succeeds(home, "test", ["-x", dataDir])) return home.data;
  await mkdir(refuge, { recursive: true });
  const place = await mkdtemp(join(refuge, `${basename(dirname(dataDir))}-`));
  // Whatever the umask: others must get through to their own directory.
  for (const directory of [refuge, place]) await chmod(directory, 0o755);
  const data = join(place, "postgres");
  // A link is there already when what it led to is gone.
  await rm(home.data, { force: true });
  await symlink(data, home.data);
  return data;
}

/** Copies PostgreSQL's programs beside the data, at every start, so that they are always the installed ones. */
async function copyPrograms(home: Home): Promise<Home> {
  const program = join(dirname(home.data), "program");
  await rm(program, { recursive: true, force: true });
  await cp(dirname(home.bin), program, { recursive: true, verbatimSymlinks: true });
  return { ...home, bin: join(program, "bin") };
}
