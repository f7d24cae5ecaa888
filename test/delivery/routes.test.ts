/** The API of endpoints, the endpoint of the environment, and what is stored of secrets. */
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { createSealer } from "../../server/auth/keys.ts";
import { createEndpoints } from "../../server/delivery/endpoint.ts";
import { environmentId, resealSecrets, storeEnvironmentEndpoint } from "../../server/delivery/environment.ts";
import { startBackend } from "../support/backend.ts";
import { useDatabase } from "../support/database.ts";
import { startDeliveryNode } from "../support/delivery.ts";
import { asMerchant, call, paymentBody, send, type TestNode, testSecret } from "../support/node.ts";

const file = useDatabase();

interface Endpoint {
  id: string;
  url: string;
  enabled: boolean;
  version: number;
  events: string[] | null;
}

interface WithSecret {
  endpoint: Endpoint;
  secret: string;
}

const url = "https://shop.example.com/hooks";

const create = async (node: TestNode, body: object = { url }): Promise<WithSecret> =>
  (await send(node, "POST", "/v1/endpoints", body)).body as unknown as WithSecret;

const start = (env?: Record<string, string>): Promise<TestNode> => startDeliveryNode(file, env);

describe("endpoints API", () => {
  it("creates, lists, reads, changes and deletes endpoints", async () => {
    const node = await start();
    const answer = await send(node, "POST", "/v1/endpoints", { url, events: ["order.succeeded"], description: "Shop" });
    expect(answer.status).toBe(201);
    const { endpoint, secret } = answer.body as unknown as WithSecret;
    expect(secret).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/);
    expect(endpoint).toMatchObject({
      url,
      events: ["order.succeeded"],
      description: "Shop",
      enabled: true,
      version: 1,
    });
    expect((await send(node, "GET", "/v1/endpoints")).body).toEqual({ data: [endpoint] });
    expect((await send(node, "GET", `/v1/endpoints/${endpoint.id}`)).body).toEqual({ endpoint });
    const changed = await send(node, "PATCH", `/v1/endpoints/${endpoint.id}`, {
      events: null,
      enabled: false,
      description: null,
    });
    expect(changed.body).toMatchObject({
      endpoint: { events: null, enabled: false, disabledBecause: "merchant", version: 2, url },
    });
    expect((changed.body as unknown as WithSecret).endpoint).not.toHaveProperty("description");
    const enabled = (await send(node, "PATCH", `/v1/endpoints/${endpoint.id}`, { enabled: true }))
      .body as unknown as WithSecret;
    expect(enabled.endpoint).toMatchObject({ enabled: true });
    expect(enabled.endpoint).not.toHaveProperty("disabledBecause");
    expect((await send(node, "DELETE", `/v1/endpoints/${endpoint.id}`)).status).toBe(204);
    for (const [method, path, body] of [
      ["GET", "", undefined],
      ["PATCH", "", { enabled: true }],
      ["DELETE", "", undefined],
      ["POST", "/rotate-secret", undefined],
      ["POST", "/ping", undefined],
      ["POST", "/replay", { since: "2026-01-01T00:00:00Z" }],
      ["GET", "/deliveries", undefined],
    ] as const) {
      const gone = await send(node, method, `/v1/endpoints/${endpoint.id}${path}`, body);
      expect([method, path, gone.status, gone.body.code]).toEqual([method, path, 404, "endpoint_unknown"]);
    }
    expect((await send(node, "GET", "/v1/endpoints/nonsense")).body.code).toBe("endpoint_unknown");
  });

  it("counts no version for a change that changes nothing", async () => {
    const node = await start();
    const { endpoint } = await create(node, { url, events: ["order.failed"], description: "Shop" });
    const twice = { events: ["order.failed", "order.failed"] };
    expect((await send(node, "PATCH", `/v1/endpoints/${endpoint.id}`, twice)).body).toMatchObject({
      endpoint: { version: endpoint.version, events: ["order.failed"] },
    });
    const same = { url, events: ["order.failed"], description: "Shop", enabled: true };
    for (const body of [{}, same, { enabled: true }]) {
      expect((await send(node, "PATCH", `/v1/endpoints/${endpoint.id}`, body)).body).toEqual({ endpoint });
    }
    const { body } = await send(node, "PATCH", `/v1/endpoints/${endpoint.id}`, { ...same, events: null });
    expect(body).toMatchObject({ endpoint: { version: 2, events: null } });
  });

  it.each([
    [{}, "url"],
    [{ url: "shop" }, "url"],
    [{ url: "http://shop.example.com/" }, "url"],
    [{ url: "https://10.0.0.1/" }, "url"],
    [{ url: "https://user:word@shop.example.com/" }, "url"],
    [{ url, events: [] }, "events"],
    [{ url, events: ["order.unknown"] }, "events.0"],
    [{ url, secret: "mine" }, "secret"],
    [{ url, description: "x".repeat(501) }, "description"],
  ])("refuses %j and names %s", async (body, path) => {
    const node = await start();
    const answer = await send(node, "POST", "/v1/endpoints", body);
    expect([answer.status, answer.body.code, answer.body.errors?.[0]?.path]).toEqual([400, "body_invalid", path]);
  });

  it("accepts at most 50 endpoints", async () => {
    const node = await start();
    for (let count = 0; count < 50; count += 1) await create(node);
    const answer = await send(node, "POST", "/v1/endpoints", { url });
    expect([answer.status, answer.body.code]).toEqual([409, "endpoint_limit"]);
  });

  it("needs the API key", async () => {
    const node = await start();
    const { endpoint } = await create(node);
    for (const [method, path] of [
      ["GET", ""],
      ["POST", ""],
      ["GET", `/${endpoint.id}`],
      ["PATCH", `/${endpoint.id}`],
      ["DELETE", `/${endpoint.id}`],
      ["POST", `/${endpoint.id}/rotate-secret`],
      ["POST", `/${endpoint.id}/ping`],
      ["POST", `/${endpoint.id}/replay`],
      ["GET", `/${endpoint.id}/deliveries`],
    ] as const) {
      const { status, body } = await call(`${node.url}/v1/endpoints${path}`, { method });
      expect([method, path, status, body.code]).toEqual([method, path, 401, "key_invalid"]);
    }
  });

  it("shows a secret only when it is created or replaced, stores it encrypted and never logs it", async () => {
    const node = await start();
    const { endpoint, secret } = await create(node);
    const rotated = (await send(node, "POST", `/v1/endpoints/${endpoint.id}/rotate-secret`))
      .body as unknown as WithSecret;
    expect(rotated.secret).not.toBe(secret);
    for (const path of ["", `/${endpoint.id}`]) {
      const { body } = await send(node, "GET", `/v1/endpoints${path}`);
      expect(JSON.stringify(body)).not.toMatch(/whsec|secret/);
    }
    const { rows } = await file.database.pool.query("select e::text as text from endpoint e where id = $1", [
      endpoint.id,
    ]);
    for (const one of [secret, rotated.secret]) {
      const bytes = Buffer.from(one.slice(6), "base64");
      expect(rows[0].text).not.toContain(bytes.toString("hex"));
      expect(rows[0].text).not.toContain(Buffer.from(one).toString("hex"));
      expect(node.log.join("")).not.toContain(one.slice(6));
    }
  });

  it("signs with the new and the old secret for 24 hours after a rotation", async () => {
    const node = await start();
    const backend = await startBackend();
    const { endpoint, secret } = await create(node, { url: backend.url });
    const { secret: newest } = (await send(node, "POST", `/v1/endpoints/${endpoint.id}/rotate-secret`))
      .body as unknown as WithSecret;
    const isVerifiedBy = async (one: string): Promise<boolean | undefined> => {
      backend.secrets = [one];
      await send(node, "POST", `/v1/endpoints/${endpoint.id}/ping`);
      return backend.received.at(-1)?.isVerified;
    };
    expect([await isVerifiedBy(secret), await isVerifiedBy(newest)]).toEqual([true, true]);
    const { rows } = await file.database.pool.query(
      "select extract(epoch from old_secret_until - now())::float8 / 3600 as hours from endpoint where id = $1",
      [endpoint.id],
    );
    expect(rows[0].hours).toBeCloseTo(24, 1);
    await file.database.pool.query("update endpoint set old_secret_until = now()");
    expect([await isVerifiedBy(secret), await isVerifiedBy(newest)]).toEqual([false, true]);
  });

  it("pings an endpoint and returns its answer", async () => {
    const node = await start();
    const backend = await startBackend();
    const { endpoint, secret } = await create(node, { url: backend.url });
    backend.secrets.push(secret);
    const { status, body } = await send(node, "POST", `/v1/endpoints/${endpoint.id}/ping`);
    expect([status, body]).toMatchObject([
      200,
      { delivered: true, httpStatus: 200, answer: "ok", durationMs: expect.any(Number) },
    ]);
    expect(backend.received).toMatchObject([
      { type: "ping", isVerified: true, id: `${endpoint.id}.0.1`, body: { data: { endpoint: { id: endpoint.id } } } },
    ]);
    backend.answer = (response) => response.writeHead(500).end("broken");
    const broken = await send(node, "POST", `/v1/endpoints/${endpoint.id}/ping`);
    expect(broken.body).toMatchObject({ delivered: false, httpStatus: 500, answer: "broken" });
  });

  it("pages through deliveries, by order and by status", async () => {
    const node = await start();
    const backend = await startBackend();
    const { endpoint } = await create(node, { url: backend.url });
    const orders = [];
    for (let count = 0; count < 3; count += 1) {
      orders.push((await asMerchant(node, "/v1/payments", paymentBody({ phone: "+254712345601" }))).body.order);
    }
    await vi.waitUntil(() => backend.received.length === 3);
    const list = async (query: string) => {
      const { body } = await send(node, "GET", `/v1/endpoints/${endpoint.id}/deliveries${query}`);
      return body as unknown as { data: { orderId: string; status: string }[]; nextCursor: string | null };
    };
    await vi.waitUntil(async () => (await list("")).data.length === 3);
    const first = await list("?limit=2");
    const second = await list(`?limit=2&cursor=${first.nextCursor}`);
    expect([first.data.length, second.data.length, second.nextCursor]).toEqual([2, 1, null]);
    expect(new Set([...first.data, ...second.data].map(({ orderId }) => orderId))).toEqual(
      new Set(orders.map(({ orderId }) => orderId)),
    );
    expect((await list(`?orderId=${orders[1]?.orderId}`)).data).toMatchObject([
      { orderId: orders[1]?.orderId, status: "delivered" },
    ]);
    expect((await list("?status=failed")).data).toEqual([]);
    const wrong = await send(node, "GET", `/v1/endpoints/${endpoint.id}/deliveries?cursor=nonsense`);
    expect([wrong.status, wrong.body.errors?.[0]?.path]).toEqual([400, "cursor"]);
  });

  it("deletes the deliveries of a deleted endpoint in the background", async () => {
    const node = await start();
    const { endpoint } = await create(node);
    await file.database.pool.query(
      "insert into delivery_attempt (endpoint_id, subject_id, epoch, version, result) select $1, gen_random_uuid(), 0, 1, 'failed' from generate_series(1, 1500)",
      [endpoint.id],
    );
    await send(node, "DELETE", `/v1/endpoints/${endpoint.id}`);
    const { removeDeleted } = await import("../../server/delivery/disable.ts");
    for (let passes = 0; passes < 3; passes += 1) await removeDeleted(file.database.pool);
    const { rows } = await file.database.pool.query("select from endpoint where id = $1", [endpoint.id]);
    expect(rows).toEqual([]);
  });
});

describe("failing endpoints", () => {
  it("are disabled after five days without a success, and others are told", async () => {
    const node = await start();
    const backend = await startBackend();
    const { endpoint } = await create(node);
    const { secret } = await create(node, { url: backend.url });
    backend.secrets.push(secret);
    const { disableFailing } = await import("../../server/delivery/disable.ts");
    await file.database.pool.query(
      "update endpoint set failing_since = now() - interval '4 days 23 hours' where id = $1",
      [endpoint.id],
    );
    expect(await disableFailing(file.database.pool)).toEqual([]);
    // It has no attempt left.
    await file.database.pool.query(
      `insert into delivery (endpoint_id, kind, subject_id, due_version, attempts, attempt_at)
       values ($1, 'order', gen_random_uuid(), 2, 10, 'infinity')`,
      [endpoint.id],
    );
    await file.database.pool.query(
      "update endpoint set failing_since = now() - interval '5 days 1 minute' where id = $1",
      [endpoint.id],
    );
    expect(await disableFailing(file.database.pool)).toEqual([{ id: endpoint.id }]);
    await vi.waitUntil(() => backend.received.length > 0);
    expect(backend.received[0]).toMatchObject({
      type: "endpoint.disabled",
      isVerified: true,
      body: { data: { endpoint: { id: endpoint.id, enabled: false, disabledBecause: "failing" } } },
    });
  });
});

describe("the endpoint of the environment", () => {
  const secret = `whsec_${Buffer.from("a secret of 24 bytes or more").toString("base64")}`;

  it("receives events without a call of the API, and is disabled when the variable is gone", async () => {
    const backend = await startBackend();
    backend.secrets.push(secret);
    const node = await start({ ENDPOINT_URL: backend.url, ENDPOINT_SECRET: secret });
    await asMerchant(node, "/v1/payments", paymentBody({ phone: "+254712345601" }));
    await vi.waitUntil(() => backend.received.length > 0);
    expect(backend.received[0]).toMatchObject({ type: "order.succeeded", isVerified: true });
    await node.close();
    const without = await start();
    const read = async (at: TestNode) => {
      const { body } = await send(at, "GET", `/v1/endpoints/${environmentId}`);
      return (body as unknown as WithSecret).endpoint;
    };
    await vi.waitUntil(async () => !(await read(without)).enabled);
    expect(await read(without)).toMatchObject({ enabled: false, disabledBecause: "environment" });
    await without.close();
    const { version } = await read(without).catch(() => ({ version: 0 }));
    // What failed before must not disable it again.
    await file.database.pool.query("update endpoint set failing_since = now() - interval '6 days' where id = $1", [
      environmentId,
    ]);
    const again = await start({ ENDPOINT_URL: backend.url, ENDPOINT_SECRET: secret });
    await vi.waitUntil(async () => (await read(again)).enabled);
    expect((await read(again)).version).toBeGreaterThan(version);
    expect(await read(again)).not.toHaveProperty("failingSince");
  });

  it("has its secret from the variable only, and the old one signs too after a change", async () => {
    const [first, second] = ["first", "second"].map(
      (name) => `whsec_${Buffer.from(name.repeat(5)).toString("base64")}`,
    );
    const sealer = createSealer([testSecret]);
    const { pool } = file.database;
    const endpoints = createEndpoints({ pool, sealer, onUnreadable: () => undefined });
    const secretsAfter = async (secret = "") => {
      await storeEnvironmentEndpoint(pool, sealer, { url, secret });
      return (await endpoints.addresses([environmentId])).get(environmentId);
    };
    await secretsAfter(first);
    const after = await secretsAfter(second);
    expect(after?.secrets).toEqual([second, first]);
    // The start of another node.
    expect(await secretsAfter(second)).toEqual(after);
    const node = await start();
    const refused = await send(node, "POST", `/v1/endpoints/${environmentId}/rotate-secret`);
    expect([refused.status, refused.body]).toMatchObject([409, { code: "secret_configured", retryable: false }]);
  });

  it.each([
    [{ ENDPOINT_URL: "https://shop.example.com/" }, /ENDPOINT_SECRET: is needed/],
    [{ ENDPOINT_SECRET: secret }, /ENDPOINT_URL: is needed/],
    [{ ENDPOINT_URL: "https://shop.example.com/", ENDPOINT_SECRET: "short" }, /ENDPOINT_SECRET: must be whsec_/],
    [{ ENDPOINT_URL: "http://shop.example.com/", ENDPOINT_SECRET: secret }, /ENDPOINT_URL: must be an https URL/],
  ])("is refused at the start: %j", async (env, message) => {
    await expect(startDeliveryNode(file, env as Record<string, string>)).rejects.toThrow(message);
  });
});

describe("secrets of endpoints", () => {
  it("are encrypted anew with the newest TUKIO_SECRET, so that the older one can be removed", async () => {
    const [old, newest] = [testSecret, "another secret that is long enough for it"];
    const endpointsOf = (secrets: string[], onUnreadable = (_id: string): void => undefined) =>
      createEndpoints({ pool: file.database.pool, sealer: createSealer(secrets), onUnreadable });
    const { endpoint, secret } = await endpointsOf([old]).create({ url });
    await endpointsOf([old]).rotateSecret(endpoint.id);
    onTestFinished(() => endpointsOf([old]).remove(endpoint.id));
    await resealSecrets(file.database.pool, { sealer: createSealer([newest, old]), newest: createSealer([newest]) });
    const found = (await endpointsOf([newest]).addresses([endpoint.id])).get(endpoint.id);
    expect(found?.secrets).toHaveLength(2);
    expect(found?.secrets[1]).toBe(secret);
    const unreadable: string[] = [];
    const addresses = await endpointsOf([old], (id) => void unreadable.push(id)).addresses([endpoint.id]);
    expect(addresses.get(endpoint.id)).toMatchObject({ secrets: [] });
    expect(unreadable).toEqual([endpoint.id]);
  });

  it("that cannot be decrypted are reported by a ping, and fail the attempts by their schedule, until they are replaced", async () => {
    const node = await start();
    const backend = await startBackend();
    const other = createEndpoints({
      pool: file.database.pool,
      sealer: createSealer(["a secret that this node does not have at all"]),
      onUnreadable: () => undefined,
    });
    const { endpoint } = await other.create({ url: backend.url });
    const ping = await send(node, "POST", `/v1/endpoints/${endpoint.id}/ping`);
    expect([ping.status, ping.body]).toMatchObject([409, { code: "secret_unreadable", retryable: false }]);
    await asMerchant(node, "/v1/payments", paymentBody({ phone: "+254712345601" }));
    const deliveries = async () => (await send(node, "GET", `/v1/endpoints/${endpoint.id}/deliveries`)).body.data;
    await vi.waitUntil(async () => (await deliveries()).length > 0);
    expect(await deliveries()).toMatchObject([
      { status: "failed", attempt: 1, error: expect.stringContaining("secret_unreadable") },
    ]);
    const { body } = await send(node, "POST", `/v1/endpoints/${endpoint.id}/rotate-secret`);
    backend.secrets.push((body as unknown as WithSecret).secret);
    await file.database.pool.query("update delivery set attempt_at = now() where endpoint_id = $1", [endpoint.id]);
    await vi.waitUntil(() => backend.received.length > 0);
    expect(backend.received).toMatchObject([{ type: "order.succeeded", isVerified: true }]);
  });
});
