/** The address of a plan's page: its token, also in a database of a version without these pages. */
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { describe, expect, inject, it, onTestFinished, vi } from "vitest";
import { createSealer } from "../../server/auth/keys.ts";
import { migrate, migrations } from "../../server/database/migrate.ts";
import { type Database, openDatabase } from "../../server/database/pool.ts";
import { hashOf } from "../../server/payment-link/token.ts";
import { addEndpoint, startBackend } from "../support/backend.ts";
import { administer, urlOf, useDatabase } from "../support/database.ts";
import { asMerchant, startNode, testSecret } from "../support/node.ts";
import { createPlan, readPlan } from "../support/plan.ts";

const file = useDatabase();

type Stored = { token: Buffer | null; token_hash: Buffer | null; version: number; text: string };

async function storedPlan({ pool }: Database, planId: string): Promise<Stored> {
  const text = "select token, token_hash, version, to_jsonb(p)::text as text from plan p where plan_id = $1";
  const [row] = (await pool.query<Stored>(text, [planId])).rows;
  return row ?? expect.unreachable("there is no such plan");
}

const open = (secret: string, { token }: Stored, id: string): string | undefined =>
  token ? createSealer([secret]).open(token, `plan:${id}`) : undefined;

/** A database as the version before left it, with a plan. */
async function createOldDatabase(planId: string): Promise<{ url: string; database: Database }> {
  const { serverUrl } = inject("database");
  const name = `old_${randomUUID().replaceAll("-", "")}`;
  await administer(serverUrl, `create database ${name} template template0`);
  const url = urlOf(serverUrl, name);
  const database = openDatabase(url, () => undefined);
  onTestFinished(async () => {
    await database.close();
    await administer(serverUrl, `drop database ${name} with (force)`);
  });
  for (const one of migrations.slice(0, 13)) {
    await database.pool.query(readFileSync(new URL(`../../migration/${one}`, import.meta.url), "utf8"));
  }
  await database.pool.query("create table tukio_schema (version int not null); insert into tukio_schema values (18)");
  await insertOldPlan(database, planId);
  return { url, database };
}

/** Inserts a plan as a node of the version before does. */
const insertOldPlan = ({ pool }: Database, planId: string): Promise<unknown> =>
  pool.query(
    `insert into plan (id, plan_id, kind, currency, time_zone, prompt_at, remind_days_before, grace_days, next_n, next_index)
     values ($1, $2, 'instalments', 'KES', 'Africa/Nairobi', '09:00', '{}', 3, 2, 1)`,
    [randomUUID(), planId],
  );

describe("the address of a plan's page", () => {
  it("is in the plan and in its messages, and differs for each plan", async () => {
    const node = await startNode({ databaseUrl: file.url });
    const backend = await startBackend();
    await addEndpoint(node, backend);
    const [plan, other] = [await createPlan(node), await createPlan(node)];
    expect(plan.url).toMatch(/^http:\/\/[^/]+\/plan\/[\w-]{24}$/);
    expect(plan.url).not.toBe(other.url);
    expect((await readPlan(node, plan.planId)).url).toBe(plan.url);
    const { body } = await asMerchant(node, "/v1/plans");
    expect((body.data as unknown as { url: string }[]).map(({ url }) => url)).toContain(plan.url);
    await vi.waitUntil(() => backend.received.some(({ id }) => id.startsWith(`${plan.id}.`)));
    const message = backend.received.find(({ id }) => id.startsWith(`${plan.id}.`));
    expect(message?.body.data.plan).toMatchObject({ url: plan.url });
  });

  it("has a token that is stored as a hash and encrypted, never as text", async () => {
    const node = await startNode({ databaseUrl: file.url });
    const { id, planId, url = "" } = await createPlan(node);
    const token = url.slice(-24);
    const stored = await storedPlan(file.database, planId);
    expect(stored.token_hash).toEqual(hashOf(token));
    expect(stored.text).not.toContain(token);
    expect(stored.text).not.toContain(Buffer.from(token).toString("hex"));
    expect(open(testSecret, stored, id)).toBe(token);
    // The text of another plan, or of a payment link with this id, opens nothing.
    expect(open(testSecret, stored, randomUUID())).toBeUndefined();
    expect(createSealer([testSecret]).open(stored.token ?? Buffer.alloc(0), `payment-link:${id}`)).toBeUndefined();
  });

  it("is encrypted anew by a node that starts with a newer secret, and not shown by one without the secret", async () => {
    const node = await startNode({ databaseUrl: file.url });
    const { id, planId, url = "" } = await createPlan(node);
    await node.close();
    const newer = "a newer secret of more than thirty-two characters";
    const without = await startNode({ databaseUrl: file.url, env: { TUKIO_SECRET: newer } });
    expect(await readPlan(without, planId)).not.toHaveProperty("url");
    await without.close();
    const both = await startNode({ databaseUrl: file.url, env: { TUKIO_SECRET: `${newer},${testSecret}` } });
    while (open(newer, await storedPlan(file.database, planId), id) === undefined);
    expect((await readPlan(both, planId)).url?.slice(-24)).toBe(url.slice(-24));
  });

  it("is given to a plan of the version before, once, by two nodes, also to one that such a node creates later", async () => {
    const { url, database } = await createOldDatabase("OLD-1");
    await migrate(database.pool);
    const nodes = [await startNode({ databaseUrl: url }), await startNode({ databaseUrl: url })];
    await insertOldPlan(database, "OLD-2");
    for (const planId of ["OLD-1", "OLD-2"]) {
      await vi.waitUntil(async () => (await storedPlan(database, planId)).token);
      const [first, second] = await Promise.all(nodes.map((node) => readPlan(node, planId)));
      expect(first?.url).toMatch(/\/plan\/[\w-]{24}$/);
      expect(second?.url?.slice(-24)).toBe(first?.url?.slice(-24));
      const stored = await storedPlan(database, planId);
      expect(stored).toMatchObject({ version: 1, token_hash: hashOf(first?.url?.slice(-24) ?? "") });
    }
  });
});
