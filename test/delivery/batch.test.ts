/** Large work on deliveries, which the engine does in batches. */
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { createSealer } from "../../server/auth/keys.ts";
import type { Database } from "../../server/database/pool.ts";
import { removeDeleted } from "../../server/delivery/disable.ts";
import { createEndpoints } from "../../server/delivery/endpoint.ts";
import { startEngine } from "../../server/delivery/engine.ts";
import { resumeDeliveries } from "../../server/delivery/resume.ts";
import { useDatabase } from "../support/database.ts";
import { testSecret } from "../support/node.ts";

const file = useDatabase();

const query = async (text: string, values: unknown[] = []) => (await file.database.pool.query(text, values)).rows;

const endpointsOf = (pool = file.database.pool) =>
  createEndpoints({ pool, sealer: createSealer([testSecret]), onUnreadable: () => undefined });

/** A disabled endpoint with this number of deliveries that have no attempt left. */
async function createExhausted(count: number): Promise<string> {
  const { endpoint } = await endpointsOf().create({ url: "https://shop.example.com/" });
  await endpointsOf().change(endpoint.id, { enabled: false });
  await query(
    `insert into delivery (endpoint_id, kind, subject_id, due_version, attempts, attempt_at)
     select $1, 'order', gen_random_uuid(), 2, 10, 'infinity' from generate_series(1, $2)`,
    [endpoint.id, count],
  );
  return endpoint.id;
}

const resumedOf = async (endpointId: string): Promise<number> =>
  (
    await query(
      "select count(*)::int as n from delivery where endpoint_id = $1 and attempts = 0 and attempt_at <= now()",
      [endpointId],
    )
  )[0].n;

/** An engine without receivers. */
const start = () => {
  const errors: unknown[] = [];
  const engine = startEngine({
    pool: file.database.pool,
    receivers: async () => new Map(),
    onResult: () => undefined,
    onError: (error) => void errors.push(error),
    onRecovered: () => undefined,
    log: { info: () => undefined, warn: () => undefined, error: (line: unknown) => void errors.push(line) } as never,
  });
  onTestFinished(engine.close);
  return { engine, errors };
};

describe("an endpoint that is enabled", () => {
  it("is answered without its deliveries, and resumed in batches", async () => {
    const endpointId = await createExhausted(2_500);
    let statements = 0;
    const counting = {
      query: (statement: never) => {
        statements += 1;
        return file.database.pool.query(statement);
      },
    } as unknown as Database["pool"];
    await endpointsOf(counting).change(endpointId, { enabled: true });
    expect([statements, await resumedOf(endpointId)]).toEqual([1, 0]);
    expect(await resumeDeliveries(file.database.pool)).toBe(true);
    expect(await resumedOf(endpointId)).toBe(1_000);
    // One that fails meanwhile waits for its next attempt, unless the endpoint is enabled once more.
    await query(
      `update delivery set attempts = 1, attempt_at = now() + interval '1 hour' where subject_id = (
         select min(subject_id::text)::uuid from delivery where endpoint_id = $1)`,
      [endpointId],
    );
    for (const expected of [1_999, 2_499]) {
      expect(await resumeDeliveries(file.database.pool)).toBe(true);
      expect(await resumedOf(endpointId)).toBe(expected);
    }
    expect(await resumeDeliveries(file.database.pool)).toBe(false);
    await endpointsOf().change(endpointId, { enabled: true });
    while (await resumeDeliveries(file.database.pool));
    expect(await resumedOf(endpointId)).toBe(2_500);
    await endpointsOf().remove(endpointId);
  });

  it("is resumed by an engine, also by another one than that of the request", async () => {
    const endpointId = await createExhausted(2_500);
    const { errors } = start();
    await endpointsOf().change(endpointId, { enabled: true });
    const left = () =>
      query(
        "select from delivery where endpoint_id = $1 and attempts > 0 union all select from endpoint where resumed_to is not null",
        [endpointId],
      );
    await vi.waitUntil(async () => (await left()).length === 0);
    expect(errors).toEqual([]);
    await endpointsOf().remove(endpointId);
  });
});

describe("a deleted endpoint", () => {
  const createDeleted = async (count: number): Promise<string> => {
    const endpointId = await createExhausted(count);
    await query(
      `insert into delivery_attempt (endpoint_id, subject_id, epoch, version, result)
       select endpoint_id, subject_id, 0, 2, 'failed' from delivery where endpoint_id = $1`,
      [endpointId],
    );
    await endpointsOf().remove(endpointId);
    return endpointId;
  };

  it("is removed in batches of 1,000 rows of each table", async () => {
    while (await removeDeleted(file.database.pool));
    const endpointId = await createDeleted(1_500);
    const left = async () =>
      (
        await query(
          `select (select count(*) from delivery where endpoint_id = $1) as deliveries,
             (select count(*) from delivery_attempt where endpoint_id = $1) as attempts,
             (select count(*) from endpoint where id = $1) as endpoints`,
          [endpointId],
        )
      )[0];
    expect(await removeDeleted(file.database.pool)).toBe(true);
    expect(await left()).toEqual({ deliveries: 500, attempts: 500, endpoints: 1 });
    expect(await removeDeleted(file.database.pool)).toBe(true);
    expect(await left()).toEqual({ deliveries: 0, attempts: 0, endpoints: 1 });
    expect(await removeDeleted(file.database.pool)).toBe(false);
    expect(await left()).toEqual({ deliveries: 0, attempts: 0, endpoints: 0 });
  });

  it("is removed without a minute between the batches", async () => {
    const endpointId = await createDeleted(5_500);
    const { errors } = start();
    // The next look for deleted endpoints is due, and no other one in this test.
    const now = performance.now.bind(performance);
    vi.spyOn(performance, "now").mockImplementation(() => now() + 61_000);
    onTestFinished(() => void vi.restoreAllMocks());
    await vi.waitUntil(async () => (await query("select from endpoint where id = $1", [endpointId])).length === 0);
    expect(errors).toEqual([]);
  });
});
