/**
 * A backup that is taken while payments run, and its restore: every order is whole, no success is lost that was committed before the backup
 * began, and open payments end. `npm run test:recover` runs it; RECOVER_PER_S and RECOVER_S set the payments a second (default 20)
 * and the seconds before and after the backup (default 30).
 */
import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import pg from "pg";
import { expect, it, onTestFinished, vi } from "vitest";
import { openDatabase } from "../../server/database/pool.ts";
import { findViolations } from "../../server/order/violation.ts";
import { unlimited } from "../support/deployment.ts";
import { asMerchant, paymentBody } from "../support/node.ts";
import { startTestProcess } from "../support/process.ts";
import { ensurePostgres, startServerPostgres } from "../support/server-postgres.ts";

const exec = promisify(execFile);

const perS = Number(process.env.RECOVER_PER_S ?? 20);
const seconds = Number(process.env.RECOVER_S ?? 30);

/** Approves, cancels, has too little money, pays without a webhook, pays thrice. */
const endings = ["01", "02", "03", "06", "07"];

it(`restores a backup that was taken while ${perS} payments a second ran`, async () => {
  await ensurePostgres();
  const { createDatabase, bin } = await startServerPostgres(onTestFinished);
  const folder = await mkdtemp(join(tmpdir(), "tukio-recover-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  const url = await createDatabase("busy");
  const env = { ...unlimited, SANDBOX: "daraja" };
  const node = await startTestProcess({ ...env, DATABASE_URL: url });

  let isRunning = true;
  let started = 0;
  const load = (async () => {
    const starts: Promise<unknown>[] = [];
    while (isRunning) {
      const phone = `0712${String(started % 10_000).padStart(4, "0")}${endings[started % endings.length]}`;
      starts.push(
        asMerchant(node, "/v1/payments", paymentBody({ phone })).then(({ status }) => expect(status).toBe(202)),
      );
      started += 1;
      await sleep(1_000 / perS);
    }
    await Promise.all(starts);
  })();
  await sleep(seconds * 1_000);
  const paid = await query<{ id: string }>(url, `select id from "order" where status = 'succeeded'`);
  const beganMs = performance.now();
  await exec(join(bin, "pg_dump"), ["--format=custom", `--file=${join(folder, "busy.dump")}`, url]);
  const tookMs = Math.round(performance.now() - beganMs);
  await sleep(seconds * 1_000);
  isRunning = false;
  await load;
  expect(await node.end("SIGTERM")).toEqual([0, null]);

  const restored = await createDatabase("restored");
  await exec(join(bin, "pg_restore"), [
    "--no-owner",
    "--exit-on-error",
    `--dbname=${restored}`,
    join(folder, "busy.dump"),
  ]);
  await query(restored, "select start_epoch()");
  const again = await startTestProcess({ ...env, DATABASE_URL: restored });
  const still = await query<{ id: string }>(restored, `select id from "order" where status = 'succeeded'`);
  const found = new Set(still.map(({ id }) => id));
  expect(paid.filter(({ id }) => !found.has(id))).toEqual([]);
  const database = openDatabase(restored, () => undefined);
  onTestFinished(database.close);
  expect(await findViolations(database)).toEqual([]);
  // The sandbox that had the open payments is gone, so that they end by their deadlines.
  const open = (): Promise<unknown[]> =>
    query(restored, `select from "order" where status in ('pending', 'processing')`);
  const openAtFirst = (await open()).length;
  await vi.waitUntil(async () => (await open()).length === 0, { timeout: 300_000, interval: 1_000 });
  expect(await findViolations(database)).toEqual([]);
  const { body } = await asMerchant(again, "/v1/payments", paymentBody({ phone: "0712345601" }), { prefer: "wait=10" });
  expect(body.order.status).toBe("processing");
  process.stdout.write(
    `${started} payments; ${paid.length} paid before a backup of ${tookMs} ms, ${still.length} in it; ${openAtFirst} open in it, all ended\n`,
  );
}, 1_800_000);

async function query<Row extends object>(url: string, text: string): Promise<Row[]> {
  const client = new pg.Client(url);
  await client.connect();
  try {
    return (await client.query<Row>(text)).rows;
  } finally {
    await client.end();
  }
}
