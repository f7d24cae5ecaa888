import { rowOf } from "../report.ts";
import { environmentOf, startTukio } from "../target/tukio.ts";
import { openVariant } from "../variant.ts";
import type { Phase } from "./compare.ts";

/** Counts the round trips and messages of one successful payment, with PostgreSQL's and Redis' own statistics. */
export const payment: Phase = async (bench) => {
  const { machine, daraja, root, report } = bench;
  const count = 200;
  const target = await startTukio({ machine, daraja, root, name: "payment" });
  // A second node without watchers, which must not get any message.
  const { url } = await machine.database("payment");
  const env = { ...environmentOf(machine, daraja, url), DATA_DIR: `${machine.dir}/payment-2` };
  const other = await machine.start(`${root}/server/main.ts`, { env, ready: "/readyz" });
  await machine.resetCounts();
  const variant = await openVariant({
    machine,
    label: "tukio",
    target,
    via: "websocket",
    watchers: count,
    restart: false,
  });
  const channels = (await machine.redis.pubsub("CHANNELS", "tukio:*")) as string[];
  const subscribers = (await machine.redis.pubsub("NUMSUB", ...channels)) as (string | number)[];
  const burst = await variant.fire(count, 50, 1);
  variant.bursts.push(burst);
  const background =
    /changed_at >=|claim|recursive allowance|for update skip locked|credential|token_call|pg_advisory|information_schema|check_at = now|status = 'pending'|select 1|create |alter |webhook_offer|offer_at|delete|begin|commit|rollback|tukio_schema/i;
  const statements = await machine.statements("payment");
  const phase = "payment";
  const own = statements.filter(
    ({ query, calls }) =>
      (calls >= count / 4 && !background.test(query.slice(0, 4_000))) ||
      /^with evidence as|^with draft as|unnest/.test(query),
  );
  const calls = own.reduce((sum, statement) => sum + statement.calls, 0);
  const info = await machine.redis.info("commandstats");
  const published = Number(/cmdstat_publish:calls=(\d+)/.exec(info)?.[1] ?? 0);
  report.facts.push(
    { phase, what: "PostgreSQL round trips per happy payment", value: calls / count, unit: "", atMost: 4 },
    ...own.map(({ query, calls: times, meanMs }) => ({
      phase,
      what: `  of them: ${query.replace(/\s+/g, " ").slice(0, 60)}… (mean ${meanMs.toFixed(2)} ms)`,
      value: times / count,
      unit: "",
    })),
    {
      phase,
      what: "Redis publishes per version that can be watched (2)",
      value: published / (2 * count),
      unit: "",
      atMost: 1,
    },
    {
      phase,
      what: "subscribers of a watched order's channel, of 2 nodes",
      value:
        subscribers.filter((value) => typeof value === "number").reduce((sum, one) => sum + one, 0) / channels.length,
      unit: "",
      atMost: 1,
    },
  );
  report.rows.push(rowOf(phase, variant));
  await variant.close();

  const waiting = await openVariant({
    machine,
    label: "tukio, long poll",
    target,
    via: "longpoll",
    watchers: count,
    restart: false,
  });
  waiting.bursts.push(await waiting.fire(count, 50, 1));
  // The first request of each watcher was sent before the burst.
  const requests = 1 + (waiting.bursts[0]?.requests ?? 0) / count;
  report.facts.push({ phase, what: "long poll: requests per happy payment", value: requests, unit: "", atMost: 1.2 });
  report.rows.push(rowOf(phase, waiting));
  await waiting.close();
  await target.program.stop();
  await other.stop();
};
