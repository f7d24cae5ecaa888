import type { Program } from "../machine.ts";
import { startCluster, startFront } from "../target/nodes.ts";
import { startTukio } from "../target/tukio.ts";
import { type Bench, compare, type Entry, type Phase, ratios } from "./compare.ts";

/** Compares one, two and four processes behind nginx on a Redis Cluster. Each order has one watcher on any process. */
export const scale: Phase = async (bench) => {
  const { machine, daraja, root, report, settings } = bench;
  const cluster = await startCluster(machine);
  const watchers = Math.min(settings.watchers, 2_000);
  const narrow: Bench = { ...bench, settings: { ...settings, watchers, ratePerS: Math.min(settings.ratePerS, 200) } };
  const phase = "scale";
  const sum = (values: readonly number[]): number => values.reduce((total, one) => total + one, 0);
  try {
    const entries: Entry[] = [];
    for (const count of [1, 2, 4]) {
      const front = (nodes: readonly Program[]): Promise<Program> => startFront(machine, nodes);
      const nodes = { count, redisUrl: cluster.url, front };
      const target = await startTukio({ machine, daraja, root, name: `scale_${count}`, nodes });
      entries.push({ label: label(count), target, via: "websocket" });
    }
    await compare(narrow, {
      phase,
      entries,
      async evaluate(variants) {
        const listening: number[] = [];
        const calls: number[] = [];
        for (const server of cluster.servers) {
          const channels = (await server.call("pubsub", "shardchannels")) as string[];
          const counts = (await server.call("pubsub", "shardnumsub", ...channels)) as (string | number)[];
          listening.push(...counts.filter((value) => typeof value === "number"));
          calls.push(Number(/cmdstat_spublish:calls=(\d+)/.exec(await server.info("commandstats"))?.[1] ?? 0));
        }
        const versions = sum(
          await Promise.all(
            entries.map(async ({ target }) => {
              const { pool } = await machine.database(target.name);
              const { rows } = await pool.query<{ count: number }>("select count(*)::int as count from event");
              return rows[0]?.count ?? 0;
            }),
          ),
        );
        report.facts.push(
          {
            phase,
            what: "nodes that receive an event of a watched order",
            value: sum(listening) / listening.length,
            unit: "",
            atMost: 1,
          },
          {
            phase,
            what: "publishes per version, all servers of the cluster",
            value: sum(calls) / versions,
            unit: "",
            atMost: 1,
          },
          {
            phase,
            what: "share of the publishes at the busiest of the three servers",
            value: Math.max(...calls) / sum(calls),
            unit: "",
          },
        );
        for (const count of [2, 4]) ratios(report, { phase, variants, of: label(count), to: label(1) });
      },
    });
  } finally {
    await cluster.stop();
  }
};

const label = (nodes: number): string => (nodes === 1 ? "1 process" : `${nodes} processes`);
