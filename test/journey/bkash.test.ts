/** bKash from the request to the payer's return, on real nodes. Execute runs at most once, however often payers return. */
import pg from "pg";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import type { StatusEvent } from "../../client-sdk/protocol.ts";
import { createUrlSecrets } from "../../server/auth/keys.ts";
import { createDatabase } from "../support/database.ts";
import { asMerchant, pay, startNode, type TestNode, testSecret } from "../support/node.ts";
import { fixture } from "../support/sandbox.ts";
import { scrape } from "../support/scrape.ts";
import {
  providerEnv,
  type ScriptedAnswer,
  type ScriptedCall,
  startScriptedProvider,
} from "../support/scripted-provider.ts";

const verbOf = ({ path }: ScriptedCall): string => path.replace("/tokenized/checkout/", "");

type Answering = (call: ScriptedCall) => ScriptedAnswer | "drop" | Promise<ScriptedAnswer | "drop">;

/** A bKash server with one payment at a time, which completes as soon as it is executed. */
interface Provider {
  env: Record<string, string>;
  /** Replaces the answers of these calls. */
  answers: Partial<Record<string, Answering>>;
  /** Number of requests per call. */
  count(verb: string): number;
  /** The payment's status in query answers; Execute sets it to completed. */
  isPaid: boolean;
  /** The path of the last return URL. */
  returnPath(): string;
  /** Completes the payment and returns the answer of Execute. */
  executed(): ScriptedAnswer;
}

let payments = 0;

async function startBkash(): Promise<Provider> {
  payments += 1;
  const paymentID = `TR0011${process.pid}X${payments}`;
  const trxID = `TRX${process.pid}X${payments}`;
  let created: Record<string, unknown> = {};
  const stated = (name: string): ScriptedAnswer => {
    const { body } = fixture("bkash", name);
    const { amount, merchantInvoiceNumber } = created;
    // The query has another name for this field.
    const invoice = "merchantInvoice" in body ? { merchantInvoice: merchantInvoiceNumber } : { merchantInvoiceNumber };
    return { body: { ...body, paymentID, amount, ...invoice, ...("trxID" in body && { trxID }) } };
  };
  const usual: Record<string, Answering> = {
    create: (call) => {
      created = call.body;
      return stated("create-accepted");
    },
    execute: () => provider.executed(),
    "payment/status": () => stated(provider.isPaid ? "query-completed" : "query-initiated"),
  };
  const { url, calls } = await startScriptedProvider((call) => {
    const verb = verbOf(call);
    return (provider.answers[verb] ?? usual[verb] ?? (() => fixture("bkash", "token-granted")))(call);
  });
  const provider: Provider = {
    env: providerEnv("bkash", url),
    answers: {},
    count: (verb) => calls.filter((call) => verbOf(call).startsWith(verb)).length,
    isPaid: false,
    returnPath: () => new URL(String(created.callbackURL)).pathname,
    executed() {
      provider.isPaid = true;
      return stated("execute-completed");
    },
  };
  return provider;
}

/** Holds Execute: the payment completes only at the release. */
function holdExecute(provider: Provider): { arrived: Promise<void>; release(): void } {
  const arrived = Promise.withResolvers<void>();
  const released = Promise.withResolvers<void>();
  provider.answers.execute = async () => {
    arrived.resolve();
    await released.promise;
    return provider.executed();
  };
  return { arrived: arrived.promise, release: released.resolve };
}

interface Ground {
  provider: Provider;
  a: TestNode;
  b: TestNode;
  databaseUrl: string;
  orderId: string;
  paymentId: string;
  state(): Promise<StatusEvent>;
  until(status: StatusEvent["status"]): Promise<StatusEvent>;
  /** The payer's browser returns to a node with this status. */
  recordReturn(node: TestNode, status?: string, init?: RequestInit): Promise<Response>;
  /** Moves the payment's deadline into the past. */
  expire(): Promise<StatusEvent>;
  sql(text: string, values?: unknown[]): Promise<pg.QueryResult>;
}

const returnUrl = "https://shop.example/thanks?lang=bn#top";

/** Starts two nodes and a payment that waits for its payer. */
async function start(own?: Provider): Promise<Ground> {
  const provider = own ?? (await startBkash());
  const { url: databaseUrl, drop } = await createDatabase();
  onTestFinished(drop);
  const [a, b] = await Promise.all(
    [1, 2].map(() => startNode({ databaseUrl, env: provider.env })) as [Promise<TestNode>, Promise<TestNode>],
  );
  const { order } = await pay(a, { provider: "bkash", currency: "BDT", phone: undefined, returnUrl });
  const { orderId } = order;
  const state = async () => (await asMerchant(b, `/v1/orders/${orderId}`)).body.order;
  const until = (status: StatusEvent["status"]) =>
    vi.waitUntil(
      async () => {
        const event = await state();
        return event.status === status && event;
      },
      { interval: 20 },
    );
  await until("processing");
  const sql = async (text: string, values?: unknown[]): Promise<pg.QueryResult> => {
    const client = new pg.Client(databaseUrl);
    await client.connect();
    try {
      return await client.query(text, values);
    } finally {
      await client.end();
    }
  };
  return {
    provider,
    a,
    b,
    databaseUrl,
    orderId,
    paymentId: order.payment.id,
    state,
    until,
    recordReturn: (node, status = "success", init = {}) =>
      fetch(`${node.url}${provider.returnPath()}?paymentID=x&status=${status}&signature=y`, {
        redirect: "manual",
        ...init,
      }),
    async expire() {
      await sql("update payment set expires_at = clock_timestamp(), check_at = clock_timestamp() where id = $1", [
        order.payment.id,
      ]);
      return until("expired");
    },
    sql,
  };
}

describe("a payer who returns", () => {
  it("pays after approval, and gets to the merchant's page with the order id and no secret", async () => {
    const { provider, a, orderId, state, recordReturn } = await start();
    expect((await state()).payment.action).toEqual({
      type: "redirect",
      url: fixture("bkash", "create-accepted").body.bkashURL,
    });
    const response = await recordReturn(a);
    expect(response.status).toBe(303);
    expect(response.headers.get("location")).toBe(`https://shop.example/thanks?lang=bn&orderId=${orderId}#top`);
    expect(response.headers.get("referrer-policy")).toBe("no-referrer");
    expect(await state()).toMatchObject({ status: "succeeded", version: 3, payment: { amountPaidMinor: 15_000 } });
    // The result of Execute is final, and bKash forbids a query after it.
    expect([provider.count("execute"), provider.count("payment/status")]).toEqual([1, 0]);
  });

  it("makes calls that the node's statistics and metrics count: one Execute, and a query if its answer is lost", async () => {
    for (const isLost of [false, true]) {
      const { provider, a, state, recordReturn } = await start();
      if (isLost) {
        provider.answers.execute = () => {
          provider.executed();
          return "drop";
        };
      }
      await recordReturn(a);
      expect((await state()).status).toBe("succeeded");
      const { data } = (await asMerchant(a, "/v1/providers")).body as unknown as { data: { calls: object }[] };
      expect(data[0]?.calls).toMatchObject({
        initiate: { count: 1, errors: 0 },
        complete: { count: 1, errors: isLost ? 1 : 0, p50Ms: expect.any(Number) },
        confirm: { count: isLost ? 1 : 0, errors: 0 },
        token: { count: 1, errors: 0 },
      });
      const outcome = isLost ? "failed" : "answered";
      expect((await scrape(a)).value("tukio_provider_call_seconds_count", { verb: "complete", outcome })).toBe(1);
    }
  });

  it("pays once in two browsers at once on two nodes (G10)", async () => {
    const { provider, a, b, state, recordReturn } = await start();
    const held = holdExecute(provider);
    const returns = [a, b, a, b].map((node) => recordReturn(node));
    await held.arrived;
    // The other returns share one query and redirect.
    await vi.waitUntil(() => provider.count("payment/status") >= 1);
    held.release();
    for (const response of await Promise.all(returns)) expect(response.status).toBe(303);
    expect(provider.count("execute")).toBe(1);
    expect(await state()).toMatchObject({ status: "succeeded", version: 3 });
  });

  it("pays once after repeated returns, without a query (G10)", async () => {
    const { provider, a, b, until, state, recordReturn } = await start();
    await recordReturn(a);
    await until("succeeded");
    for (const status of ["success", "cancel", "failure", "nonsense"]) {
      for (const node of [a, b]) expect((await recordReturn(node, status)).status).toBe(303);
    }
    expect([provider.count("execute"), provider.count("payment/status")]).toEqual([1, 0]);
    expect(await state()).toMatchObject({ status: "succeeded", version: 3 });
  });

  it("causes at most 30 queries a minute with repeated returns without approval (G12)", async () => {
    const { provider, a, state, recordReturn } = await start();
    for (let times = 0; times < 35; times += 1) expect((await recordReturn(a, "nonsense")).status).toBe(303);
    // The schedule's checks add to these.
    expect(provider.count("payment/status")).toBeGreaterThanOrEqual(30);
    expect(provider.count("payment/status")).toBeLessThan(35);
    expect(await state()).toMatchObject({ status: "processing" });
  });

  it.each([
    ["cancel", "cancelled"],
    ["failure", "declined"],
  ])(
    "with %s fails the payment once a query confirms it, and a forged success then moves no money",
    async (status, reason) => {
      const { provider, a, b, state, recordReturn } = await start();
      expect((await recordReturn(a, status)).status).toBe(303);
      expect(await state()).toMatchObject({ status: "failed", reason, version: 3 });
      expect(provider.count("payment/status")).toBe(1);
      expect((await recordReturn(b, "success")).status).toBe(303);
      expect(provider.count("execute")).toBe(0);
      expect(await state()).toMatchObject({ status: "failed", version: 3 });
    },
  );

  it("with cancel may start another attempt at once, not half an hour later", async () => {
    const { provider, a, orderId, recordReturn, until } = await start();
    await recordReturn(a, "cancel");
    expect(await until("failed")).toMatchObject({ reason: "cancelled" });
    const { order } = await pay(a, { orderId, provider: "bkash", currency: "BDT", phone: undefined, returnUrl });
    expect(order).toMatchObject({ status: "pending", payment: { attempt: 2 } });
    await until("processing");
    expect([provider.count("create"), provider.count("execute")]).toEqual([2, 0]);
  });

  it("with cancel has paid when the query reports a completed payment", async () => {
    const { provider, a, state, recordReturn } = await start();
    provider.isPaid = true;
    await recordReturn(a, "cancel");
    expect(await state()).toMatchObject({ status: "succeeded" });
    expect(provider.count("execute")).toBe(0);
  });

  it("with cancel changes nothing while Execute is in flight", async () => {
    const { provider, a, b, state, until, recordReturn } = await start();
    const held = holdExecute(provider);
    const agreed = recordReturn(a);
    await held.arrived;
    expect((await recordReturn(b, "cancel")).status).toBe(303);
    expect(await state()).toMatchObject({ status: "processing", version: 2 });
    held.release();
    await agreed;
    await until("succeeded");
  });

  it("with cancel fails the payment at once after a forged success that took no money", async () => {
    const { provider, a, b, recordReturn, until } = await start();
    provider.answers.execute = () => fixture("bkash", "error-invalid-payment-state");
    await recordReturn(a, "success");
    expect(provider.count("execute")).toBe(1);
    await recordReturn(b, "cancel");
    expect(await until("failed")).toMatchObject({ reason: "cancelled" });
    await recordReturn(a, "success");
    expect(provider.count("execute")).toBe(1);
  });

  it("with an unreadable status causes a query, and no Execute", async () => {
    const { provider, a, state, recordReturn } = await start();
    for (const status of ["Success", "success&status=cancel", ""]) {
      expect((await recordReturn(a, status)).status).toBe(303);
    }
    expect([provider.count("execute"), provider.count("payment/status")]).toEqual([0, 3]);
    expect((await state()).status).toBe("processing");
  });

  it("gets an error page for an unknown return URL, and moves no money with HEAD", async () => {
    const { provider, a, paymentId, recordReturn } = await start();
    const secrets = createUrlSecrets([testSecret], "webhook");
    for (const secret of ["x", "0".repeat(64), secrets.seal("bkash", paymentId)]) {
      const response = await fetch(`${a.url}/return/${secret}?status=success`);
      expect([response.status, await response.text()]).toEqual([404, expect.stringContaining("There is nothing here")]);
    }
    const ofNobody = createUrlSecrets([testSecret], "return").seal("bkash", "0199f2c4-0000-7000-8000-00000000dead");
    expect((await fetch(`${a.url}/return/${ofNobody}?status=success`)).status).toBe(404);
    expect((await recordReturn(a, "success", { method: "HEAD" })).status).toBe(405);
    expect(provider.count("execute")).toBe(0);
  });

  it("gets a closing page without a merchant's page", async () => {
    const { a, sql, recordReturn } = await start();
    await sql("update payment set return_url = null");
    const response = await recordReturn(a);
    expect([response.status, await response.text()]).toEqual([200, expect.stringContaining("You may close this page")]);
    expect(response.headers.get("content-security-policy")).toMatch(
      /^default-src 'none'; script-src 'self'; style-src 'sha256-/,
    );
  });
});

describe("a payment whose Execute has no usable answer", () => {
  it("takes the result of one query, and is not executed twice (G10)", async () => {
    const { provider, a, b, state, recordReturn } = await start();
    provider.answers.execute = () => {
      provider.executed();
      return fixture("bkash", "error-timeout");
    };
    await recordReturn(a);
    expect(await state()).toMatchObject({ status: "succeeded", version: 3 });
    expect([provider.count("execute"), provider.count("payment/status")]).toEqual([1, 1]);
    await recordReturn(b);
    expect(provider.count("execute")).toBe(1);
  });

  it("succeeds by a query when bKash answers that Execute timed out", async () => {
    const { provider, a, state, recordReturn } = await start();
    provider.answers.execute = () => {
      provider.executed();
      return fixture("bkash", "execute-timeout");
    };
    await recordReturn(a);
    expect(await state()).toMatchObject({ status: "succeeded", payment: { amountPaidMinor: 15_000 } });
    expect([provider.count("execute"), provider.count("payment/status")]).toEqual([1, 1]);
  });

  it("succeeds by an answer without invoice, currency and paymentID", async () => {
    const { provider, a, state, recordReturn } = await start();
    provider.answers.execute = () => {
      provider.executed();
      return { body: { ...fixture("bkash", "execute-bare").body, trxID: `BARE${process.pid}` } };
    };
    await recordReturn(a);
    expect(await state()).toMatchObject({
      status: "succeeded",
      payment: { amountPaidMinor: 15_000, receipt: `BARE${process.pid}` },
    });
    expect(provider.count("payment/status")).toBe(0);
  });

  it("stays open while the query reports it as open", async () => {
    const { provider, a, b, paymentId, state, until, recordReturn, sql } = await start();
    provider.answers.execute = () => "drop";
    await recordReturn(a);
    expect((await state()).status).toBe("processing");
    for (const node of [a, b]) await recordReturn(node);
    expect(provider.count("execute")).toBe(1);
    provider.isPaid = true;
    await sql("update payment set check_at = clock_timestamp() where id = $1", [paymentId]);
    await until("succeeded");
    expect(provider.count("execute")).toBe(1);
  });

  it("expires without a second Execute when the process died before the first (G10)", async () => {
    const { provider, a, b, paymentId, recordReturn, expire, sql } = await start();
    // The state after a process was killed right after it had set the completion lock.
    await sql("update payment set completing_at = clock_timestamp() - interval '2 minutes' where id = $1", [paymentId]);
    for (const node of [a, b]) await recordReturn(node);
    expect([provider.count("execute"), provider.count("payment/status")]).toEqual([0, 2]);
    expect(await expire()).toMatchObject({ reason: "deadline" });
    expect(provider.count("execute")).toBe(0);
  });

  it("stores the answer when the node shuts down meanwhile", async () => {
    const { provider, a, state, recordReturn } = await start();
    const held = holdExecute(provider);
    const agreed = recordReturn(a);
    await held.arrived;
    const closed = a.close();
    await vi.waitUntil(async () => !(await fetch(`${a.url}/readyz`).catch(() => undefined))?.ok, 10_000);
    held.release();
    await closed;
    expect((await agreed).status).toBe(303);
    expect((await state()).status).toBe("succeeded");
    // From Execute, without a query.
    expect(provider.count("payment/status")).toBe(0);
  });
});

describe("a payer who returns too late", () => {
  it("pays nothing: the payment expires", async () => {
    const { provider, a, state, recordReturn, expire } = await start();
    expect(await expire()).toMatchObject({ reason: "deadline" });
    expect((await recordReturn(a)).status).toBe(303);
    expect(provider.count("execute")).toBe(0);
    expect((await state()).status).toBe("expired");
  });

  it("pays nothing with the first attempt when a second is in flight", async () => {
    const { provider, a, orderId, recordReturn, expire } = await start();
    await expire();
    const first = provider.returnPath();
    const { order } = await pay(a, { orderId, provider: "bkash", currency: "BDT", phone: undefined, returnUrl });
    expect(order.payment.attempt).toBe(2);
    await vi.waitUntil(() => provider.returnPath() !== first, 10_000);
    await fetch(`${a.url}${first}?status=success`, { redirect: "manual" });
    expect(provider.count("execute")).toBe(0);
    expect((await recordReturn(a)).status).toBe(303);
  });

  it("pays nothing when the order was paid meanwhile", async () => {
    const { provider, a, orderId, paymentId, recordReturn, sql } = await start();
    // The state after a late success of an earlier attempt.
    await sql(`update "order" set status = 'succeeded' where order_id = $1`, [orderId]);
    expect((await recordReturn(a)).status).toBe(303);
    expect(provider.count("execute")).toBe(0);
    const { rows } = await sql("select completing_at from payment where id = $1", [paymentId]);
    expect(rows).toEqual([{ completing_at: null }]);
  });
});

describe("a payer who returns before the payment can be completed", () => {
  const waits = async (response: Response): Promise<void> => {
    expect(response.status).toBe(503);
    const page = await response.text();
    expect(page).toContain("One moment, please");
    expect(page).toContain('<meta http-equiv="refresh" content="5">');
  };

  it("waits for an access token, and pays as soon as there is one", async () => {
    const provider = await startBkash();
    // Tokens expire at once, so that creating the payment uses up both token requests of the hour.
    const token = fixture("bkash", "token-granted").body;
    const brief: Answering = () => ({ body: { ...token, expires_in: 60 } });
    Object.assign(provider.answers, { "token/grant": brief, "token/refresh": brief });
    const { a, b, state, until, recordReturn, sql } = await start(provider);
    await waits(await recordReturn(a));
    expect((await state()).status).toBe("processing");
    // A return with failure needs no completion lock, and proves nothing while no query is possible.
    expect((await recordReturn(a, "cancel")).status).toBe(303);
    expect((await state()).status).toBe("processing");
    provider.answers = {};
    await sql("delete from token_call");
    expect((await recordReturn(b)).status).toBe(303);
    await until("succeeded");
    expect(provider.count("execute")).toBe(1);
  });

  it("waits until the provider's reply to initiate is stored", async () => {
    const { provider, a, until, recordReturn, sql } = await start();
    await sql("update payment set status = 'pending'");
    await waits(await recordReturn(a));
    expect(provider.count("execute")).toBe(0);
    await sql("update payment set status = 'processing'");
    expect((await recordReturn(a)).status).toBe(303);
    await until("succeeded");
  });

  it("waits for PostgreSQL, and never gets an error page", async () => {
    const { provider, a, sql, until, recordReturn } = await start();
    await sql("alter table payment rename to gone");
    try {
      await waits(await recordReturn(a));
    } finally {
      await sql("alter table gone rename to payment");
    }
    expect(provider.count("execute")).toBe(0);
    expect((await recordReturn(a)).status).toBe(303);
    await until("succeeded");
  });
});

describe("access tokens", () => {
  it("are requested at most twice an hour, by two nodes and after a restart, whatever bKash refuses", async () => {
    const provider = await startBkash();
    const { a, b, databaseUrl } = await start(provider);
    expect(provider.count("token/")).toBe(1);
    const refuse: Answering = () => fixture("bkash", "error-unauthorized");
    Object.assign(provider.answers, { create: refuse, execute: refuse, "payment/status": refuse });
    const payOn = async (node: TestNode): Promise<void> => {
      const { order } = await pay(node, { provider: "bkash", currency: "BDT", phone: undefined });
      const isSettled = async () => (await asMerchant(node, `/v1/orders/${order.orderId}`)).body.order?.settled;
      await vi.waitUntil(isSettled);
    };
    await Promise.all([a, b, a, b, a, b].map(payOn));
    await a.close();
    const restarted = await startNode({ databaseUrl, env: provider.env });
    await Promise.all([restarted, b, restarted].map(payOn));
    expect(provider.count("token/")).toBe(2);
    expect(provider.count("token/refresh")).toBe(1);
  });
});

describe("the built-in sandbox", () => {
  it("redirects the payer from its page to the merchant's page", async () => {
    const { url: databaseUrl, drop } = await createDatabase();
    onTestFinished(drop);
    const node = await startNode({ databaseUrl, env: { SANDBOX: "bkash" } });
    const paid = { provider: "bkash", currency: "BDT", phone: undefined, returnUrl };
    const { order } = await pay(node, paid);
    const state = async () => (await asMerchant(node, `/v1/orders/${order.orderId}`)).body.order;
    const { payment } = await vi.waitUntil(async () => {
      const event = await state();
      return event.status === "processing" && event;
    }, 10_000);
    const page = payment.action?.type === "redirect" ? new URL(payment.action.url) : expect.unreachable("no page");
    const token = page.searchParams.get("token") ?? "";
    page.search = "";
    let response: Response | undefined;
    for (const value of ["01770618575", "123456", "12121"]) {
      response = await fetch(page, { method: "POST", body: new URLSearchParams({ token, value }), redirect: "manual" });
    }
    const back = await fetch(response?.headers.get("location") ?? "", { redirect: "manual" });
    expect(new URL(back.headers.get("location") ?? "").origin).toBe("https://shop.example");
    expect(await state()).toMatchObject({ status: "succeeded", live: false, payment: { amountPaidMinor: 15_000 } });
    // The sandbox's notification causes no query, because the payment has ended.
    await vi.waitUntil(() => node.log.some((line) => line.includes('"event":"webhook.received"')), 10_000);
    expect((await state()).version).toBe(3);
  });
});
