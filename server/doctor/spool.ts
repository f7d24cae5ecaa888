/** The check of the spool: whether it takes webhooks, what waits in it, and the space on its disk. */
import { readdir, stat, statfs } from "node:fs/promises";
import { join } from "node:path";
import type { Spool } from "../webhook/spool.ts";
import { type Check, error, type Finding, ok, warning } from "./check.ts";
import { bytesText, countText, timeText } from "./text.ts";

export interface SpoolCheckOptions {
  spool: Pick<Spool, "isWritable" | "waiting" | "waitingSince"> | undefined;
  settings: { readonly dir: string; readonly maxMb: number } | undefined;
}

export const spoolCheck = ({ spool, settings }: SpoolCheckOptions): Check => ({
  id: "spool",
  name: "Spool",
  async run() {
    if (!spool || !settings)
      return warning(
        "The spool is off: while PostgreSQL is away, webhooks are answered 503, and some providers send each only once.",
        "Set SPOOL=on and give each node a DATA_DIR that outlives the process.",
      );
    const { dir, maxMb } = settings;
    if (!spool.isWritable)
      return error(
        `The node cannot write to ${dir}: webhooks are lost while PostgreSQL is away.`,
        "Look at the directory's owner and rights, and at the space on its disk; the log event webhook.spool.open_failed has the reason.",
      );
    return explain(spool, { dir, maxMb, ...(await measure(dir)) });
  },
});

interface Measured {
  dir: string;
  maxMb: number;
  /** Of all files. */
  bytes: number;
  damaged: number;
  /** Bytes that the disk has left. */
  free: number;
}

async function measure(dir: string): Promise<Omit<Measured, "dir" | "maxMb">> {
  const names = await readdir(dir);
  const sizes = await Promise.all(
    names.map(async (name) => (await stat(join(dir, name)).catch(() => undefined))?.size ?? 0),
  );
  const { bavail, bsize } = await statfs(dir);
  return {
    bytes: sizes.reduce((sum, size) => sum + size, 0),
    damaged: names.filter((name) => name.endsWith(".damaged")).length,
    free: bavail * bsize,
  };
}

const mib = 2 ** 20;

function explain({ waiting, waitingSince }: Pick<Spool, "waiting" | "waitingSince">, found: Measured): Finding {
  const { dir, maxMb, bytes, damaged, free } = found;
  const disk = `${bytesText(free)} are free on the disk of ${dir}`;
  if (free + bytes < maxMb * mib)
    return error(
      `${disk}, less than the ${maxMb} MiB that SPOOL_MAX_MB allows the spool.`,
      "Free space on that disk, or lower SPOOL_MAX_MB.",
    );
  if (waiting > 0)
    return warning(
      `${countText(waiting, "webhook waits", "webhooks wait")} on this node's disk for PostgreSQL, since ${waitingSince ? timeText(waitingSince) : "its start"}; the spool has ${bytesText(bytes)} of at most ${maxMb} MiB.`,
      "Solve the check of PostgreSQL; the node then applies them. Keep DATA_DIR until it has.",
    );
  if (damaged > 0)
    return warning(
      `${countText(damaged, "damaged spool file is", "damaged spool files are")} in ${dir}; webhooks in it were not applied.`,
      "Read the log event webhook.spool.file_damaged. Queries settle the payments; the file is deleted after 90 days.",
    );
  return ok(`The spool is empty; ${disk}.`);
}
