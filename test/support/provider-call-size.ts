/** Counted calls beside a million orders, and the calls that send every statement about them. */
import type { Database } from "../../server/database/pool.ts";
import { createCallRecord } from "../../server/provider/call-record.ts";

const [minutes, durations] = [90, 60];

/** A busy hour and a half of two providers. Those of the oldest half hour are to be removed. */
export const providerCallRows: readonly string[] = [
  `insert into provider_call (minute, provider, verb, took_ms, calls, failed)
   select date_trunc('minute', now()) - n * interval '1 minute', provider, verb, took_ms, 5, 1
   from generate_series(0, ${minutes - 1}) n cross join unnest(array['daraja', 'mtn']) provider
     cross join unnest(array['initiate', 'confirm']) verb cross join generate_series(1, ${durations}) took_ms`,
];

/** All counts of 15 minutes, all of an hour to find failing providers, and 500 that are removed, read and deleted. */
export const providerCallReads: Record<string, number> = {
  recentCalls: 2 * 61 * 4 * durations + 2 * 500,
};

/** Named as the keys of `providerCallReads`. */
export function providerCalls({ pool }: Database): Record<string, (() => Promise<unknown>)[]> {
  return {
    recentCalls: [
      async () => {
        const record = createCallRecord({
          pool,
          onFailing: () => undefined,
          onError: () => undefined,
          onRecovered: () => undefined,
        });
        record.add({ provider: "daraja", verb: "initiate", outcome: "failed", tookMs: 100 });
        await record.recent();
        await record.close();
      },
    ],
  };
}
