import { setTimeout as wait } from "node:timers/promises";
import { changedStatement } from "../../server/order/current.ts";
import { alternate, openLane } from "../lane.ts";
import { ratioOf, rowOf } from "../report.ts";
import { spreadOf } from "../statistic.ts";
import { startTukio } from "../target/tukio.ts";
import type { Phase } from "./compare.ts";

const passes = 200;

/** What ten times the watchers cost each webhook, and what a resync pass costs when nothing changed. */
export const growth: Phase = async (bench) => {
  const { machine, daraja, root, report, settings } = bench;
  const few = Math.floor(settings.watchers / 10);
  const start = (name: string) => startTukio({ machine, daraja, root, name });
  const small = await start("growth_few");
  const large = await start("growth_many");
  const lanes = {
    many: await openLane({
      machine,
      label: `tukio, ${settings.watchers}`,
      target: large,
      via: "websocket",
      watchers: settings.watchers,
    }),
    few: await openLane({ machine, label: `tukio, ${few}`, target: small, via: "websocket", watchers: few }),
  };
  // The pass reaches back 10 s: what preparing changed must be out of its sight.
  await wait(13_000);
  const idle = await Promise.all([lanes.many.idle(8_000), lanes.few.idle(8_000)]);
  const pools = {
    many: (await machine.database(large.database)).pool,
    few: (await machine.database(small.database)).pool,
  };
  // As they are after the first minute: which of the two PostgreSQL has come by at already would make half of the difference.
  for (const pool of Object.values(pools)) await pool.query("vacuum analyze");
  /** What a pass takes in PostgreSQL, of many in a row: the hub's own come too seldom to say. */
  const passMs = async (pool: typeof pools.many, database: string): Promise<number> => {
    await machine.resetCounts();
    for (let pass = 0; pass < passes; pass += 1) await pool.query({ ...changedStatement, values: [null] });
    const statements = await machine.statements(database);
    return statements.find(({ query }) => query.includes("changed_at >="))?.meanMs ?? Number.NaN;
  };
  const passRatios: number[] = [];
  for (let round = 0; round < settings.rounds; round += 1) {
    const manyMs = await passMs(pools.many, large.database);
    passRatios.push(manyMs / (await passMs(pools.few, small.database)));
  }
  const phase = "growth";
  report.facts.push(
    { phase, what: `idle CPU of the hub, ${settings.watchers} watchers`, value: idle[0] ?? 0, unit: "ms/s" },
    { phase, what: `idle CPU of the hub, ${few} watchers`, value: idle[1] ?? 0, unit: "ms/s" },
  );
  report.ratios.push({
    phase,
    what: "resync pass in PostgreSQL, nothing changed",
    of: "many",
    to: "few",
    spread: spreadOf(passRatios),
    atMost: 1.2,
  });
  const count = Math.floor((few * 0.9) / settings.rounds);
  await alternate([lanes.many, lanes.few], {
    rounds: settings.rounds,
    count,
    ratePerS: Math.min(settings.ratePerS, 200),
    warmUp: Math.floor(few * 0.1),
  });
  report.rows.push(rowOf(phase, lanes.many), rowOf(phase, lanes.few));
  const p50 = ratioOf("p50Ms", lanes.many, lanes.few);
  report.ratios.push({
    phase,
    what: "p50 webhook → watcher",
    of: lanes.many.label,
    to: lanes.few.label,
    spread: p50,
    atMost: 1.2,
  });
  for (const lane of [lanes.many, lanes.few]) await lane.close();
  for (const target of [small, large]) await target.program.stop();
};
