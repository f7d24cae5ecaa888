/** Access tokens shared by nodes, with real PostgreSQL. The provider is a function that counts its calls. */
import type { Socket } from "node:net";
import type { PoolClient } from "pg";
import { beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { createSealer } from "../../server/auth/keys.ts";
import { type Database, openDatabase } from "../../server/database/pool.ts";
import { HubError } from "../../server/errors.ts";
import { createAccessToken, type FetchedToken, type StoredAccessToken } from "../../server/provider/access-token.ts";
import { Unreachable } from "../../server/provider/http-client.ts";
import { startRefreshAhead } from "../../server/provider/refresh-ahead.ts";
import { createDatabase } from "../support/database.ts";

let url: string;
beforeAll(async () => {
  const database = await createDatabase();
  url = database.url;
  return database.drop;
});

const secret = "a secret of more than thirty-two characters";
const otherSecret = "another secret of more than thirty-two chars";

/** A provider that issues `token-1`, `token-2`, … */
interface Fetcher {
  provider: string;
  /** The number of token calls. */
  asked: number;
  lifetimeS: number;
  /** The answer instead of a token. */
  failure: Error | undefined;
  /** The refresh tokens of its calls. It issues `refresh-1`, … if this list exists. */
  refreshedWith: (string | undefined)[] | undefined;
  callsPerHourMax: number | undefined;
  /** Holds the answers from now on. Resolves when a call waits for its answer. */
  hold(): { asked: Promise<void>; release(): void };
  fetch(refreshToken?: string): Promise<FetchedToken>;
}

let providers = 0;

/** Each test has its own provider, so that no token is stored for it yet. */
function createFetcher(): Fetcher {
  providers += 1;
  let connectionLimit: Promise<void> | undefined;
  let onAsked: () => void = () => undefined;
  const fetcher: Fetcher = {
    provider: `provider-${providers}`,
    asked: 0,
    lifetimeS: 3_599,
    failure: undefined,
    refreshedWith: undefined,
    callsPerHourMax: undefined,
    hold() {
      const asked = Promise.withResolvers<void>();
      const released = Promise.withResolvers<void>();
      onAsked = asked.resolve;
      connectionLimit = released.promise;
      return { asked: asked.promise, release: released.resolve };
    },
    async fetch(refreshToken) {
      fetcher.asked += 1;
      fetcher.refreshedWith?.push(refreshToken);
      const token = `token-${fetcher.asked}`;
      const { failure } = fetcher;
      onAsked();
      await connectionLimit;
      if (failure) throw failure;
      const { lifetimeS, refreshedWith, asked } = fetcher;
      return { token, lifetimeS, ...(refreshedWith && { refreshToken: `refresh-${asked}` }) };
    },
  };
  return fetcher;
}

interface Node {
  accessToken: StoredAccessToken;
  database: Database;
}

/** A node with its own connections and memory. */
function startNode({ provider, fetch, callsPerHourMax }: Fetcher, secrets: readonly string[] = [secret]): Node {
  const database = openDatabase(url, () => undefined);
  onTestFinished(database.close);
  const shared = { provider, pool: database.pool, sealer: createSealer(secrets) };
  const accessToken = createAccessToken({
    ...shared,
    fetch,
    ...(callsPerHourMax !== undefined && { callsPerHourMax }),
  });
  return { accessToken, database };
}

/** Resolves when this number of statements waits for a lock. */
async function lockWaiters({ database }: Node, count: number): Promise<void> {
  for (let waiting = 0; waiting < count; ) {
    const { rows } = await database.pool.query(
      "select count(*)::int as waiting from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
    );
    waiting = rows[0].waiting;
  }
}

const storedOf = async ({ database }: Node, { provider }: Fetcher): Promise<Buffer | undefined> =>
  (await database.pool.query("select sealed from credential where provider = $1", [provider])).rows[0]?.sealed;

/** Sets the remaining lifetime of the stored token, by PostgreSQL's clock. */
async function expireIn({ database }: Node, { provider }: Fetcher, seconds: number): Promise<void> {
  const text = "update credential set expires_at = clock_timestamp() + $2 * interval '1 second' where provider = $1";
  expect((await database.pool.query(text, [provider, seconds])).rowCount).toBe(1);
}

/** Expects that no lock is held and no connection is in use. */
async function expectNothingHeld({ database: { pool } }: Node): Promise<void> {
  const { rows } = await pool.query(
    `select count(*)::int as held from pg_locks join pg_database d on d.oid = database
     where datname = current_database() and locktype = 'advisory'`,
  );
  expect(rows).toEqual([{ held: 0 }]);
  expect({ idle: pool.idleCount, waiting: pool.waitingCount }).toEqual({ idle: pool.totalCount, waiting: 0 });
}

const times = <T>(count: number, act: () => Promise<T>): Promise<T>[] => Array.from({ length: count }, act);

describe("access token", () => {
  it("makes one token call for twenty concurrent callers on two nodes", async () => {
    const fetcher = createFetcher();
    const a = startNode(fetcher);
    const b = startNode(fetcher);
    const held = fetcher.hold();
    const calls = [a, b].flatMap(({ accessToken }) => times(10, () => accessToken.token()));
    await held.asked;
    await lockWaiters(a, 1);
    held.release();
    expect(new Set(await Promise.all(calls))).toEqual(new Set(["token-1"]));
    expect(fetcher.asked).toBe(1);
    await expectNothingHeld(a);
    await expectNothingHeld(b);
  });

  it("comes from the database after a restart, and from memory after that", async () => {
    const fetcher = createFetcher();
    await startNode(fetcher).accessToken.token();
    const restarted = startNode(fetcher);
    const query = vi.spyOn(restarted.database.pool, "query");
    expect(await restarted.accessToken.token()).toBe("token-1");
    expect(await restarted.accessToken.token()).toBe("token-1");
    expect(query).toHaveBeenCalledTimes(1);
    expect(fetcher.asked).toBe(1);
  });

  it("allows a token call longer than the statement timeout", async () => {
    const fetcher = createFetcher();
    const { accessToken, database } = startNode(fetcher);
    const lent: PoolClient[] = [];
    database.pool.on("acquire", (client) => lent.push(client));
    const { asked, release } = fetcher.hold();
    const fetched = accessToken.token();
    await asked;
    const silentMs = () => Math.max(...lent.map(({ connection }) => Number((connection.stream as Socket).timeout)));
    expect(silentMs()).toBeGreaterThan(22_000);
    release();
    await fetched;
    expect(silentMs()).toBe(6_000);
  });

  it("keeps the tokens of providers apart", async () => {
    const one = createFetcher();
    const other = createFetcher();
    const node = startNode(one);
    await node.accessToken.token();
    // Also not if its bytes are copied into the other provider's row.
    await node.database.pool.query(
      "insert into credential select $2, sealed, expires_at from credential where provider = $1",
      [one.provider, other.provider],
    );
    await startNode(other).accessToken.token();
    expect([one.asked, other.asked]).toEqual([1, 1]);
  });

  it("is encrypted in the database", async () => {
    const fetcher = createFetcher();
    const node = startNode(fetcher);
    const token = await node.accessToken.token();
    const { rows } = await node.database.pool.query(
      "select c::text as row, sealed from credential c where provider = $1",
      [fetcher.provider],
    );
    const sealed: Buffer = rows[0].sealed;
    for (const encoding of ["latin1", "hex", "base64"] as const) {
      const visible = Buffer.from(token).toString(encoding).replace(/=+$/, "");
      expect(sealed.toString("latin1")).not.toContain(visible);
      expect(rows[0].row).not.toContain(visible);
    }
  });

  it("encrypts equal tokens to different bytes", async () => {
    const fetcher = createFetcher();
    const node = startNode(fetcher);
    await node.accessToken.token();
    const before = await storedOf(node, fetcher);
    fetcher.asked = 0;
    expect(await node.accessToken.token("token-1")).toBe("token-1");
    expect(await storedOf(node, fetcher)).not.toEqual(before);
  });

  it("opens a token sealed with an accepted secret, and replaces one sealed with a removed secret", async () => {
    const fetcher = createFetcher();
    await startNode(fetcher, [secret]).accessToken.token();
    expect(await startNode(fetcher, [otherSecret, secret]).accessToken.token()).toBe("token-1");
    expect(await startNode(fetcher, [otherSecret]).accessToken.token()).toBe("token-2");
    expect(await startNode(fetcher, [otherSecret]).accessToken.token()).toBe("token-2");
    expect(fetcher.asked).toBe(2);
  });
});

describe("rejected token", () => {
  /** Two nodes that both cached `token-1`. */
  const twoNodes = async () => {
    const fetcher = createFetcher();
    const a = startNode(fetcher);
    const b = startNode(fetcher);
    expect([await a.accessToken.token(), await b.accessToken.token()]).toEqual(["token-1", "token-1"]);
    return { fetcher, a, b };
  };

  it("is replaced once when many callers on two nodes report it at once", async () => {
    const { fetcher, a, b } = await twoNodes();
    const held = fetcher.hold();
    const calls = [a, b].flatMap(({ accessToken }) => times(10, () => accessToken.token("token-1")));
    await held.asked;
    await lockWaiters(a, 1);
    held.release();
    expect(new Set(await Promise.all(calls))).toEqual(new Set(["token-2"]));
    expect(fetcher.asked).toBe(2);
  });

  it("is replaced without a token call if another node has replaced it", async () => {
    const { fetcher, a, b } = await twoNodes();
    expect(await a.accessToken.token("token-1")).toBe("token-2");
    expect(await b.accessToken.token("token-1")).toBe("token-2");
    expect(await b.accessToken.token()).toBe("token-2");
    expect(fetcher.asked).toBe(2);
  });

  it("causes no token call if it is reported after its replacement", async () => {
    const { fetcher, a } = await twoNodes();
    const query = vi.spyOn(a.database.pool, "query");
    expect(await a.accessToken.token("token-1")).toBe("token-2");
    query.mockClear();
    expect(await a.accessToken.token("token-1")).toBe("token-2");
    expect(query).not.toHaveBeenCalled();
    expect(fetcher.asked).toBe(2);
  });

  it("is replaced again if its replacement is rejected", async () => {
    const { fetcher, a } = await twoNodes();
    expect(await a.accessToken.token("token-1")).toBe("token-2");
    expect(await a.accessToken.token("token-2")).toBe("token-3");
    expect(fetcher.asked).toBe(3);
  });
});

describe("token near its expiry", () => {
  it.each([
    ["61 s before it is used", 61, "token-1", 1],
    ["59 s before it is not", 59, "token-2", 2],
    ["and past it it is not", -1, "token-2", 2],
  ])("%s by a node that reads it from the database", async (_when, leftS, token, asked) => {
    const fetcher = createFetcher();
    const node = startNode(fetcher);
    await node.accessToken.token();
    await expireIn(node, fetcher, leftS);
    expect(await startNode(fetcher).accessToken.token()).toBe(token);
    expect(fetcher.asked).toBe(asked);
  });

  it("is replaced once by the node that cached it, 60 s before its expiry", async () => {
    const fetcher = createFetcher();
    fetcher.lifetimeS = 3_600;
    const node = startNode(fetcher);
    await node.accessToken.token();
    const now = performance.now.bind(performance);
    let laterS = 3_530;
    vi.spyOn(performance, "now").mockImplementation(() => now() + laterS * 1_000);
    onTestFinished(() => {
      vi.restoreAllMocks();
    });
    await expireIn(node, fetcher, 3_600 - laterS);
    expect(await node.accessToken.token()).toBe("token-1");
    laterS = 3_541;
    await expireIn(node, fetcher, 3_600 - laterS);
    const held = fetcher.hold();
    const calls = times(10, () => node.accessToken.token());
    await held.asked;
    held.release();
    expect(new Set(await Promise.all(calls))).toEqual(new Set(["token-2"]));
    expect(fetcher.asked).toBe(2);
  });

  it("expires by PostgreSQL's clock, also on the node that fetched it", async () => {
    const fetcher = createFetcher();
    const a = startNode(fetcher);
    await a.accessToken.token();
    await expireIn(a, fetcher, 59);
    expect(await startNode(fetcher).accessToken.token()).toBe("token-2");
    // The provider refuses the first node's token; the node finds the other node's token.
    expect(await a.accessToken.token("token-1")).toBe("token-2");
    expect(fetcher.asked).toBe(2);
  });
});

describe("failed token call", () => {
  it("fails each waiting caller, releases lock and connection, and is repeated by the next caller", async () => {
    const fetcher = createFetcher();
    const node = startNode(fetcher);
    const failure = new Error("no token today");
    fetcher.failure = failure;
    const held = fetcher.hold();
    const reading = vi.spyOn(node.database.pool, "query");
    const calls = Promise.allSettled(times(5, () => node.accessToken.token()));
    await held.asked;
    // Each caller has read the database and waits for the token call before it ends.
    await Promise.all(reading.mock.results.map(({ value }) => value));
    await node.database.pool.query("select");
    held.release();
    expect(await calls).toEqual(Array.from({ length: 5 }, () => ({ status: "rejected", reason: failure })));
    expect(fetcher.asked).toBe(1);
    await expectNothingHeld(node);
    expect(await storedOf(node, fetcher)).toBeUndefined();

    fetcher.failure = undefined;
    expect(await node.accessToken.token()).toBe("token-2");
    expect(await startNode(fetcher).accessToken.token()).toBe("token-2");
  });

  it("leaves a waiting node to make its own call", async () => {
    const fetcher = createFetcher();
    const a = startNode(fetcher);
    const b = startNode(fetcher);
    fetcher.failure = new Error("no token today");
    const held = fetcher.hold();
    const first = Promise.allSettled([a.accessToken.token()]);
    await held.asked;
    const second = b.accessToken.token();
    await lockWaiters(a, 1);
    fetcher.failure = undefined;
    held.release();
    expect(await first).toMatchObject([{ status: "rejected", reason: { message: "no token today" } }]);
    expect(await second).toBe("token-2");
    expect(await a.accessToken.token()).toBe("token-2");
    expect(fetcher.asked).toBe(2);
  });

  it("keeps the stored token", async () => {
    const fetcher = createFetcher();
    const node = startNode(fetcher);
    await node.accessToken.token();
    const before = await storedOf(node, fetcher);
    fetcher.failure = new Error("no token today");
    await expect(node.accessToken.token("token-1")).rejects.toBe(fetcher.failure);
    expect(await storedOf(node, fetcher)).toEqual(before);
    fetcher.failure = undefined;
    expect(await node.accessToken.token("token-1")).toBe("token-3");
    await expectNothingHeld(node);
  });

  it("fails only its callers if the database connection is lost meanwhile", async () => {
    const fetcher = createFetcher();
    const node = startNode(fetcher);
    const uncaught = catchUncaught();
    const lost = new Promise((resolve) => {
      node.database.pool.on("acquire", (client) => client.once("end", resolve));
    });
    const held = fetcher.hold();
    const call = Promise.allSettled([node.accessToken.token()]);
    await held.asked;
    const { rows } = await node.database.pool.query(
      `select pg_terminate_backend(pid) as ended from pg_locks join pg_database d on d.oid = database
       where datname = current_database() and locktype = 'advisory' and granted`,
    );
    expect(rows).toEqual([{ ended: true }]);
    await Promise.race([lost, uncaught.first]);
    held.release();
    expect(await call).toMatchObject([{ status: "rejected" }]);
    expect(await node.accessToken.token()).toBe("token-2");
    await expectNothingHeld(node);
    // No query is in flight during the token call, so an unhandled error of the connection would end the process.
    expect(uncaught.errors).toEqual([]);
  });
});

describe("limit of two token calls an hour", () => {
  const rationed = (): Fetcher => Object.assign(createFetcher(), { callsPerHourMax: 2 });
  const refusal = { code: "provider_unavailable", message: expect.stringContaining("2 token calls an hour") };

  it("allows no third call on two nodes and after a restart", async () => {
    const fetcher = rationed();
    const [a, b] = [startNode(fetcher), startNode(fetcher)];
    await Promise.all([a, b].flatMap(({ accessToken }) => times(5, () => accessToken.token())));
    await Promise.all([a, b].flatMap(({ accessToken }) => times(5, () => accessToken.token("token-1"))));
    expect(fetcher.asked).toBe(2);
    const restarted = startNode(fetcher);
    const more = [a, b, restarted].map(({ accessToken }) => accessToken.token("token-2"));
    for (const call of await Promise.allSettled(more)) expect(call).toMatchObject({ reason: refusal });
    expect(await restarted.accessToken.token()).toBe("token-2");
    expect(fetcher.asked).toBe(2);
    await expectNothingHeld(a);
  });

  it("counts a failed call for an hour", async () => {
    const fetcher = rationed();
    const node = startNode(fetcher);
    fetcher.failure = new Error("no token today");
    for (let call = 1; call <= 2; call += 1) await expect(node.accessToken.token()).rejects.toBe(fetcher.failure);
    fetcher.failure = undefined;
    await expect(node.accessToken.token()).rejects.toMatchObject(refusal);
    const age = "update token_call set at = at - $2::interval where provider = $1";
    await node.database.pool.query(age, [fetcher.provider, "60 minutes 30 seconds"]);
    // The provider may have counted the calls later.
    await expect(node.accessToken.token()).rejects.toMatchObject(refusal);
    await node.database.pool.query(age, [fetcher.provider, "30 seconds"]);
    expect(await node.accessToken.token()).toBe("token-3");
  });

  it("does not count a call that was not sent, and keeps its refresh token", async () => {
    const fetcher = Object.assign(rationed(), { refreshedWith: [] });
    const node = startNode(fetcher);
    await node.accessToken.token();
    fetcher.failure = new HubError("provider_unavailable", "no network", {
      cause: new Unreachable("POST bkash.example", "ENOTFOUND"),
    });
    for (let call = 1; call <= 3; call += 1) {
      await expect(node.accessToken.token("token-1")).rejects.toBe(fetcher.failure);
    }
    fetcher.failure = undefined;
    expect(await node.accessToken.token("token-1")).toBe("token-5");
    expect(fetcher.refreshedWith).toEqual([undefined, ...Array(4).fill("refresh-1")]);
    await expect(node.accessToken.token("token-5")).rejects.toMatchObject(refusal);
  });

  it("counts a call during which the process died", async () => {
    const fetcher = rationed();
    const dying = startNode(fetcher);
    const held = fetcher.hold();
    dying.accessToken.token().catch(() => undefined);
    await held.asked;
    const { rows } = await dying.database.pool.query(
      "select count(*)::int as calls from token_call where provider = $1",
      [fetcher.provider],
    );
    expect(rows).toEqual([{ calls: 1 }]);
    held.release();
  });
});

describe("refresh token", () => {
  it("fetches the next token on any node, and is dropped after a failure", async () => {
    const fetcher = Object.assign(createFetcher(), { refreshedWith: [] });
    await startNode(fetcher).accessToken.token();
    const a = startNode(fetcher);
    expect(await a.accessToken.token("token-1")).toBe("token-2");
    fetcher.failure = new Error("the refresh token is not good");
    await expect(a.accessToken.token("token-2")).rejects.toBe(fetcher.failure);
    // The stored token stays until it is replaced.
    expect(await startNode(fetcher).accessToken.token()).toBe("token-2");
    fetcher.failure = undefined;
    expect(await a.accessToken.token("token-2")).toBe("token-4");
    expect(fetcher.refreshedWith).toEqual([undefined, "refresh-1", "refresh-2", undefined]);
  });
});

describe("refresh ahead", () => {
  it("replaces a token in its last 5 min once for all nodes, and fetches none for an unused account", async () => {
    const fetcher = createFetcher();
    const unused = createFetcher();
    const nodes = [startNode(fetcher), startNode(fetcher)];
    await nodes[0]?.accessToken.token();
    const warned: object[] = [];
    for (const { accessToken } of nodes) {
      const accessTokens = new Map([
        ["used", accessToken],
        ["unused", startNode(unused).accessToken],
      ]);
      const log = { info: () => undefined, warn: (details: object) => warned.push(details) };
      onTestFinished(startRefreshAhead({ accessTokens, log, intervalMs: 5 }).close);
    }
    const [node] = nodes;
    if (!node) throw new Error("there are two");
    await expireIn(node, fetcher, 305);
    const stored = await storedOf(node, fetcher);
    // Both nodes checked meanwhile. A node's next check waits for a refresh that the node has started.
    await Promise.all(nodes.map(({ accessToken }) => accessToken.refreshAhead()));
    expect(await storedOf(node, fetcher)).toEqual(stored);
    await expireIn(node, fetcher, 295);
    await vi.waitUntil(async () => !(await storedOf(node, fetcher))?.equals(stored ?? Buffer.alloc(0)));
    await Promise.all(nodes.map(({ accessToken }) => accessToken.refreshAhead()));
    expect([fetcher.asked, unused.asked]).toEqual([2, 0]);
    expect(warned).toEqual([]);
  });
});

/** Catches errors that would end the process, until the test ends. */
function catchUncaught(): { errors: Error[]; first: Promise<void> } {
  const errors: Error[] = [];
  const first = Promise.withResolvers<void>();
  const usual = process.listeners("uncaughtException");
  const caught = (error: Error): void => {
    errors.push(error);
    first.resolve();
  };
  process.removeAllListeners("uncaughtException").on("uncaughtException", caught);
  onTestFinished(() => {
    process.off("uncaughtException", caught);
    for (const listener of usual) process.on("uncaughtException", listener);
  });
  return { errors, first: first.promise };
}
