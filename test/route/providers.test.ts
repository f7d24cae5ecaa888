/** The routes for providers: their call statistics, and fetching a token ahead of need. */
import Fastify from "fastify";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { createAccess } from "../../server/auth/access.ts";
import { createWatchTokens } from "../../server/auth/watch-token.ts";
import { openDatabase } from "../../server/database/pool.ts";
import { handleErrors } from "../../server/http/problem.ts";
import { createKeyRing } from "../../server/key/ring.ts";
import { figuresOf } from "../../server/provider/call-stats.ts";
import type { Provider } from "../../server/provider/provider.ts";
import { createMemoryCounter } from "../../server/rate-limit.ts";
import { type ProviderView, providerRoutes } from "../../server/route/providers.ts";
import { createDatabase } from "../support/database.ts";
import { apiKey, asMerchant, call, pay, startNode, type TestNode, testSecret } from "../support/node.ts";
import { darajaEnv, startScriptedDaraja } from "../support/scripted-daraja.ts";

interface Ground {
  node: TestNode;
  /** Lets the stored token expire in `seconds`. */
  leaveToken(seconds: number): Promise<void>;
}

/** Starts a node with its own database, because shares and tokens belong to a whole database. */
async function start(env: Record<string, string> = {}): Promise<Ground> {
  const { url, drop } = await createDatabase();
  onTestFinished(drop);
  const database = openDatabase(url, () => undefined);
  onTestFinished(database.close);
  return {
    node: await startNode({ databaseUrl: url, env }),
    async leaveToken(seconds) {
      await database.pool.query("update credential set expires_at = now() + $1 * interval '1 second'", [seconds]);
    },
  };
}

const viewOf = async (node: TestNode): Promise<ProviderView | undefined> => {
  const { status, body } = await asMerchant(node, "/v1/providers");
  expect(status).toBe(200);
  return (body as unknown as { data: ProviderView[] }).data[0];
};

/** Fetches a token ahead of need. Returns the status and the body. */
const fetchAhead = async (node: TestNode, provider = "daraja") => {
  const { status, body } = await asMerchant(node, `/v1/providers/${provider}/token`, {});
  return { status, body: body as unknown as { expiresAt: string | null; code?: string } };
};

const msUntil = (time: string | null | undefined): number => Date.parse(time ?? "") - Date.now();

describe("GET /v1/providers", () => {
  it("answers before the first call and the first payment", async () => {
    const { node } = await start({ SANDBOX: "daraja" });
    const none = { count: 0, errors: 0, p50Ms: null, p99Ms: null };
    expect((await asMerchant(node, "/v1/providers")).body).toEqual({
      data: [
        {
          name: "daraja",
          live: false,
          sandbox: true,
          currencies: ["KES"],
          countries: ["KE"],
          token: null,
          calls: { initiate: none, complete: none, confirm: none, token: none },
          succeededShare: null,
        },
      ],
    });
  });

  it("returns the calls, the token's expiry and the share of succeeded payments", async () => {
    const daraja = await startScriptedDaraja();
    const { node } = await start(daraja.env);
    for (const callback of [undefined, { ResultCode: 1032 }, undefined, undefined]) {
      await pay(node);
      const push = await daraja.nextPush();
      push.accept();
      expect((await push.webhook(callback)).status).toBe(200);
    }
    await pay(node);
    (await daraja.nextPush()).answer(503, "");
    await vi.waitUntil(async () => (await viewOf(node))?.calls.initiate.count === 5);
    const view = await viewOf(node);
    expect(view).toMatchObject({
      live: true,
      sandbox: false,
      calls: {
        initiate: { count: 5, errors: 1, p50Ms: expect.any(Number), p99Ms: expect.any(Number) },
        confirm: { count: 0, errors: 0 },
        token: { count: 1, errors: 0 },
      },
      // The fifth payment has no outcome, so it is not settled.
      succeededShare: 0.75,
    });
    expect(view?.calls.initiate.p99Ms).toBeGreaterThanOrEqual(view?.calls.initiate.p50Ms ?? 0);
    expect(Math.abs(msUntil(view?.token?.expiresAt) - 3_599_000)).toBeLessThan(60_000);
    expect(JSON.stringify(view)).not.toContain('"token":"');
  });

  it("returns the calls of all nodes, also of one that has ended", async () => {
    const daraja = await startScriptedDaraja();
    const { url, drop } = await createDatabase();
    onTestFinished(drop);
    const [one, other] = [
      await startNode({ databaseUrl: url, env: daraja.env }),
      await startNode({ databaseUrl: url, env: daraja.env }),
    ];
    for (const node of [one, one, other]) {
      const { order } = await pay(node);
      (await daraja.nextPush()).accept();
      await asMerchant(node, `/v1/orders/${order.orderId}/wait?after=1`);
    }
    await one.close();
    // The second node uses the token that the first one fetched.
    expect((await viewOf(other))?.calls).toMatchObject({ initiate: { count: 3 }, token: { count: 1 } });
  });

  it("states `live: false` for a provider's own test environment, and the demo shop does not offer it", async () => {
    const { node } = await start(darajaEnv("https://sandbox.safaricom.co.ke"));
    expect(await viewOf(node)).toMatchObject({ name: "daraja", live: false, sandbox: false });
    expect((await call(node.url)).status).toBe(404);
  });

  it("answers `store_unavailable` while PostgreSQL is unreachable", async () => {
    // Without a sandbox, because nodes with sandboxes look for each other in PostgreSQL when they start.
    const env = darajaEnv("https://daraja.example");
    const node = await startNode({ databaseUrl: "postgres://127.0.0.1:1/nowhere", env });
    expect(await asMerchant(node, "/v1/providers")).toMatchObject({ status: 503, body: { code: "store_unavailable" } });
    expect(await fetchAhead(node)).toMatchObject({ status: 503, body: { code: "store_unavailable" } });
  });
});

describe("POST /v1/providers/:provider/token", () => {
  it("fetches a token, returns its expiry only, and fetches no other while 5 minutes are left", async () => {
    const { node, leaveToken } = await start();
    const first = await fetchAhead(node);
    expect(first).toEqual({ status: 200, body: { expiresAt: expect.any(String) } });
    expect(Math.abs(msUntil(first.body.expiresAt) - 3_599_000)).toBeLessThan(60_000);
    expect(await fetchAhead(node)).toEqual(first);
    await leaveToken(330);
    expect(msUntil((await fetchAhead(node)).body.expiresAt)).toBeLessThan(331_000);
    expect((await viewOf(node))?.calls.token.count).toBe(1);
    await leaveToken(290);
    const second = await fetchAhead(node);
    expect(msUntil(second.body.expiresAt)).toBeGreaterThan(3_500_000);
    expect(await viewOf(node)).toMatchObject({ token: second.body, calls: { token: { count: 2 } } });
    // At Safaricom a new token invalidates the old one, so the next call uses the new one.
    const { order } = await pay(node);
    await vi.waitUntil(async () => {
      return (await asMerchant(node, `/v1/orders/${order.orderId}`)).body.order.status === "processing";
    });
    expect((await viewOf(node))?.calls.token.count).toBe(2);
  });

  it("fetches once for any number of concurrent requests", async () => {
    const { node } = await start();
    // Opens the database connections first, because opening all at once may take longer than a request waits.
    await vi.waitUntil(async () => {
      const views = await Promise.all(Array.from({ length: 20 }, () => asMerchant(node, "/v1/providers")));
      return views.every(({ status }) => status === 200);
    });
    const answers = await Promise.all(Array.from({ length: 20 }, () => fetchAhead(node)));
    expect(new Set(answers.map(({ body }) => body.expiresAt)).size).toBe(1);
    expect((await viewOf(node))?.calls.token.count).toBe(1);
  });

  it("answers `provider_unknown` for a provider that is not enabled", async () => {
    const { node } = await start();
    for (const name of ["mpesa", "__proto__", "%00"]) {
      expect(await fetchAhead(node, name)).toMatchObject({ status: 404, body: { code: "provider_unknown" } });
    }
  });

  it("answers `provider_unavailable` without credentials in the text if the provider issues no token", async () => {
    const { node } = await start(darajaEnv("http://127.0.0.1:1"));
    const answer = await asMerchant(node, "/v1/providers/daraja/token", {});
    expect(answer).toMatchObject({ status: 503, body: { code: "provider_unavailable", retryable: true } });
    expect(JSON.stringify(answer.body)).not.toContain("127.0.0.1");
    expect(await viewOf(node)).toMatchObject({ token: null, calls: { token: { count: 1, errors: 1 } } });
  });

  it("answers null for a provider without access tokens", async () => {
    const none = figuresOf([]);
    const app = Fastify();
    onTestFinished(() => app.close());
    handleErrors(app);
    providerRoutes(app, {
      access: createAccess({
        ring: createKeyRing({
          apiKeys: [apiKey],
          database: { connectAlone: () => Promise.reject(new Error("no database")) },
          onError: () => undefined,
          onRecovered: () => undefined,
        }),
        tokens: createWatchTokens([testSecret], 60),
        query: { idOf: async () => undefined },
        cookie: {},
        counter: createMemoryCounter(),
      }),
      providers: new Map([["keyed", { name: "keyed", currencies: ["KES"], countries: ["KE"] } as unknown as Provider]]),
      accessTokens: new Map(),
      terms: () => ({ live: true, isSandbox: false }),
      calls: { recent: async () => () => ({ initiate: none, complete: none, confirm: none, token: none }) },
      statistics: { succeededShares: async () => new Map() },
    });
    const headers = { authorization: `Bearer ${apiKey}` };
    const fetched = await app.inject({ method: "POST", url: "/v1/providers/keyed/token", headers });
    expect([fetched.statusCode, fetched.json()]).toEqual([200, { expiresAt: null }]);
    expect((await app.inject({ url: "/v1/providers", headers })).json()).toMatchObject({
      data: [{ name: "keyed", token: null }],
    });
  });
});

describe("the routes for providers", () => {
  it("require the API key", async () => {
    const { node } = await start();
    const { watchToken } = await pay(node);
    for (const { path, method } of [
      { path: "/v1/providers", method: "GET" },
      { path: "/v1/providers/daraja/token", method: "POST" },
    ]) {
      for (const authorization of [undefined, `Bearer ${watchToken}`, "Bearer wrong-key-of-some-length"]) {
        const headers = authorization === undefined ? {} : { authorization };
        const refused = { status: 401, body: { code: "key_invalid" } };
        expect(await call(node.url + path, { method, headers })).toMatchObject(refused);
        expect(await call(`${node.url}${path}?token=${apiKey}`, { method, headers })).toMatchObject(refused);
      }
    }
    expect(
      await call(`${node.url}/v1/providers/daraja/token`, {
        method: "POST",
        headers: { authorization: `Bearer ${apiKey}` },
      }),
    ).toMatchObject({ status: 200 });
  });
});
