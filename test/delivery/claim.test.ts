/** The statement that claims due deliveries, for endpoints that are far behind. */
import { describe, expect, it, onTestFinished } from "vitest";
import { createSealer } from "../../server/auth/keys.ts";
import { claimDeliveries } from "../../server/delivery/claim.ts";
import { createEndpoints } from "../../server/delivery/endpoint.ts";
import { useDatabase } from "../support/database.ts";
import { testSecret } from "../support/node.ts";
import { openExplained } from "../support/statement-plan.ts";

const file = useDatabase();

async function addEndpoint(): Promise<string> {
  const { pool } = file.database;
  const endpoints = createEndpoints({ pool, sealer: createSealer([testSecret]), onUnreadable: () => undefined });
  return (await endpoints.create({ url: "https://shop.example.com/" })).endpoint.id;
}

/** Makes this many subjects due. Subjects need not exist to be claimed. */
const makeDue = (endpointId: string, count: number): Promise<unknown> =>
  file.database.pool.query(
    `insert into delivery (endpoint_id, kind, subject_id, due_version, attempt_at)
     select $1, 'order', gen_random_uuid(), 1, now() from generate_series(1, $2::int)`,
    [endpointId, count],
  );

describe("claim", () => {
  it("reads a bounded number of rows, however far an endpoint is behind", async () => {
    const [behind, other] = [await addEndpoint(), await addEndpoint()];
    await makeDue(behind, 20_000);
    await makeDue(other, 3);
    await file.database.pool.query("analyze delivery");
    const { database, plans } = await openExplained(file.url);
    onTestFinished(database.close);
    const claimed = await claimDeliveries(database.pool, new Map());
    expect(claimed.filter(({ endpointId }) => endpointId === behind)).toHaveLength(32);
    expect(claimed.filter(({ endpointId }) => endpointId === other)).toHaveLength(3);
    expect(plans.map(({ name, isGeneric }) => [name, isGeneric])).toEqual([
      ["claim-deliveries", false],
      ["claim-deliveries", true],
    ]);
    for (const { read, scannedTables } of plans) {
      expect(scannedTables).toEqual([]);
      expect(read).toBeLessThan(200);
    }
  });
});
