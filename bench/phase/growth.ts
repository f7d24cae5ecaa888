import { setTimeout as wait } from "node:timers/promises";
import { changedStatement } from "../../server/order/current.ts";
import { ratioOf, rowOf } from "../report.ts";
import { spreadOf } from "../statistic.ts";
import { startTukio } from "../target/tukio.ts";
import { alternate, openVariant } from "../variant.ts";
import type { Phase } from "./compare.ts";

const passes = 200;

/** Measures the cost of ten times the watchers per webhook and per resync pass without changes. */
export const growth: Phase = async (bench) => {
  const { machine, daraja, root, report, settings } = bench;
  const few = Math.floor(settings.watchers / 10);
  const start = (name: string) => startTukio({ machine, daraja, root, name });
  const small = await start("growth_few");
  const large = await start("growth_many");
  const variants = {
    many: await openVariant({
      machine,
      label: `tukio, ${settings.watchers}`,
      target: large,
      via: "websocket",
      watchers: settings.watchers,
    }),
    few: await openVariant({ machine, label: `tukio, ${few}`, target: small, via: "websocket", watchers: few }),
  };
  // 13 s, because a pass reads the changes of the last 10 s and must not find those of the preparation.
  await wait(13_000);
  const idle = await Promise.all([variants.many.idle(8_000), variants.few.idle(8_000)]);
  const pools = {
    many: (await machine.database(large.database)).pool,
    few: (await machine.database(small.database)).pool,
  };
  // Autovacuum would do this within the first minute; whether it has run makes half of the difference.
  for (const pool of Object.values(pools)) await pool.query("vacuum analyze");
  /** PostgreSQL's mean time for a pass, over 200 passes, because the node's own passes are too few to measure. */
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
    { phase, what: `idle CPU of the node, ${settings.watchers} watchers`, value: idle[0] ?? 0, unit: "ms/s" },
    { phase, what: `idle CPU of the node, ${few} watchers`, value: idle[1] ?? 0, unit: "ms/s" },
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
  await alternate([variants.many, variants.few], {
    rounds: settings.rounds,
    count,
    ratePerS: Math.min(settings.ratePerS, 200),
    warmUp: Math.floor(few * 0.1),
  });
  report.rows.push(rowOf(phase, variants.many), rowOf(phase, variants.few));
  const p50 = ratioOf("p50Ms", variants.many, variants.few);
  report.ratios.push({
    phase,
    what: "p50 webhook → watcher",
    of: variants.many.label,
    to: variants.few.label,
    spread: p50,
    atMost: 1.2,
  });
  for (const variant of [variants.many, variants.few]) await variant.close();
  for (const target of [small, large]) await target.program.stop();
};
