/** API keys: created, used, listed and revoked, on one node and on two. */
import { beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { openDatabase } from "../../server/database/pool.ts";
import { keysMax } from "../../server/key/store.ts";
import { createDatabase } from "../support/database.ts";
import { createKey, withKey } from "../support/key.ts";
import { apiKey, asMerchant, pay, paymentBody, send, startNode } from "../support/node.ts";

let databaseUrl: string;
beforeAll(async () => {
  const database = await createDatabase();
  databaseUrl = database.url;
  return database.drop;
});

const openPool = () => {
  const database = openDatabase(databaseUrl, () => undefined);
  onTestFinished(database.close);
  return database.pool;
};

describe("an API key", () => {
  it("works at once on the node that created it, for its scopes only", async () => {
    const node = await startNode({ databaseUrl });
    const { key, secret } = await createKey(node, ["pay"], "checkout server");
    expect(key).toMatchObject({ name: "checkout server", scopes: ["pay"] });
    const paid = await withKey(node, secret, "/v1/payments", { method: "POST", body: paymentBody() });
    expect(paid.status).toBe(202);
    const refused = await withKey(node, secret, "/v1/orders");
    expect(refused).toMatchObject({
      status: 403,
      body: { code: "scope_missing", detail: "This needs the scope read; the key checkout server has pay" },
    });
    expect(refused.headers.get("www-authenticate")).toBe('Bearer error="insufficient_scope", scope="read"');
  });

  it("is stored as a hash, and its secret is neither listed nor logged", async () => {
    const node = await startNode({ databaseUrl });
    const { key, secret } = await createKey(node, ["read"]);
    expect(secret).toMatch(/^tukio_key_[\w-]{43}$/);
    await withKey(node, secret, `/v1/orders/${secret}?${secret}`);
    await withKey(node, "wrong", `/v1/orders?token=${secret}`);
    const { rows } = await openPool().query("select * from api_key where id = $1", [key.id]);
    expect(rows).toHaveLength(1);
    const { body } = await asMerchant(node, "/v1/keys");
    expect(body.data).toContainEqual(key);
    for (const text of [JSON.stringify(rows), JSON.stringify(body), node.log.join("\n")])
      expect(text).not.toContain(secret.slice(10));
  });

  it("works on another node within 5 s, and on none 5 s after it was revoked", async () => {
    const [one, two] = [await startNode({ databaseUrl }), await startNode({ databaseUrl })];
    const { key, secret } = await createKey(one, ["read"]);
    const list = async (node: typeof one): Promise<number> => (await withKey(node, secret, "/v1/orders")).status;
    expect(await list(one)).toBe(200);
    await expect.poll(() => list(two), { timeout: 5_000 }).toBe(200);
    expect((await send(two, "DELETE", `/v1/keys/${key.id}`)).status).toBe(204);
    expect(await list(two)).toBe(401);
    await expect.poll(() => list(one), { timeout: 5_000 }).toBe(401);
    expect((await send(two, "DELETE", `/v1/keys/${key.id}`)).body.code).toBe("key_unknown");
  });

  it("causes no statement of the database, known or unknown", async () => {
    const node = await startNode({ databaseUrl });
    const { secret } = await createKey(node, ["pay"]);
    const pool = openPool();
    // Refused: the scope is missing, or the key is unknown, or too many keys of the address were.
    const transactions = async (): Promise<number> =>
      (
        await pool.query(
          "select xact_commit + xact_rollback as count from pg_stat_database where datname = current_database()",
        )
      ).rows[0].count;
    const before = await transactions();
    const started = performance.now();
    const statuses = new Set<number>();
    for (let sent = 0; sent < 500; sent += 1) {
      statuses.add((await withKey(node, secret, "/v1/orders")).status);
      statuses.add((await withKey(node, `tukio_key_${sent}`, "/v1/orders")).status);
    }
    const seconds = (performance.now() - started) / 1_000;
    expect([...statuses].toSorted()).toEqual([401, 403, 429]);
    await pool.query("select pg_stat_clear_snapshot()");
    // Background work of the node: some statements a second.
    expect((await transactions()) - before).toBeLessThan(50 * (seconds + 2));
    expect(seconds).toBeLessThan(18);
  });

  it("is refused beyond the largest number of keys", async () => {
    const node = await startNode({ databaseUrl });
    const pool = openPool();
    await pool.query(
      `insert into api_key (id, hash, name, scopes)
       select gen_random_uuid(), sha256(n::text::bytea), 'filler', '{read}' from generate_series(1, $1::int) n`,
      [keysMax],
    );
    expect(await asMerchant(node, "/v1/keys", { name: "one more", scopes: ["read"] })).toMatchObject({
      status: 409,
      body: { code: "key_limit" },
    });
    await pool.query("delete from api_key where name = 'filler'");
  });

  it.each([
    [{ name: "", scopes: ["read"] }, "name"],
    [{ name: "a\nb", scopes: ["read"] }, "name"],
    [{ name: "x".repeat(101), scopes: ["read"] }, "name"],
    [{ name: "shop", scopes: [] }, "scopes"],
    [{ name: "shop", scopes: ["everything"] }, "scopes.0"],
    [{ name: "shop" }, "scopes"],
  ])("is not created from %j", async (body, path) => {
    const node = await startNode({ databaseUrl });
    const answer = await asMerchant(node, "/v1/keys", body);
    expect(answer).toMatchObject({ status: 400, body: { code: "body_invalid", errors: [{ path }] } });
  });
});

describe("TUKIO_API_KEY", () => {
  it("has all scopes, and is not listed", async () => {
    const node = await startNode({ databaseUrl });
    await pay(node);
    const { body } = await asMerchant(node, "/v1/keys");
    expect(JSON.stringify(body)).not.toContain("TUKIO_API_KEY");
    expect((await withKey(node, apiKey, "/v1/orders")).status).toBe(200);
  });
});
