/** The metrics after real payments, and the dashboard that shows them. */
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { request } from "node:http";
import { connect } from "node:net";
import { networkInterfaces } from "node:os";
import { beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import type { StatusEvent } from "../../client-sdk/protocol.ts";
import { openDatabase } from "../../server/database/pool.ts";
import { createMetrics } from "../../server/metrics/metrics.ts";
import { createOrderStore } from "../../server/order/store.ts";
import { createDatabase } from "../support/database.ts";
import { apiKey, asMerchant, pay, startNode, type TestNode } from "../support/node.ts";
import { type Scrape, scrape, valuesOf } from "../support/scrape.ts";
import { type HeldPush, startScriptedDaraja, success } from "../support/scripted-daraja.ts";
import { draftOf, failed, paid } from "../support/store.ts";
import { transportNames, watch } from "../support/watch.ts";

let databaseUrl: string;
beforeAll(async () => {
  const database = await createDatabase();
  databaseUrl = database.url;
  return database.drop;
});

/** Scrapes until a scrape fits, and resolves with it. */
async function scrapeUntil(node: TestNode, fits: (found: Scrape) => boolean): Promise<Scrape> {
  let found = await scrape(node);
  await vi.waitUntil(
    async () => {
      found = await scrape(node);
      return fits(found);
    },
    { interval: 20 },
  );
  return found;
}

/** A backlog without waiting work. */
const idle = { queries: [], inReview: 0, unapplied: 0 };

const transportLabel = {
  "Socket.IO": "socketio",
  WebSocket: "websocket",
  "server-sent events": "eventsource",
  "long poll": "longpoll",
} as const;

describe("the metrics of a node", () => {
  it("count the scenarios of the phones 01, 07, 10 and 06, without order ids, phones or tokens", async () => {
    const database = await createDatabase();
    onTestFinished(database.drop);
    const node = await startNode({ databaseUrl: database.url });
    const before = await scrape(node);
    expect(before.value("tukio_payments_started_total", { provider: "daraja" })).toBe(0);
    expect(before.value("tukio_mismatches_total", { provider: "daraja", reason: "amount_mismatch" })).toBe(0);

    const phones = ["01", "07", "10", "06"].map((digits) => `+2547987654${digits}`);
    const paid = await Promise.all(phones.map((phone) => pay(node, { phone })));
    const watches = paid.map(({ order, watchToken: token }, index) =>
      watch(transportNames[index] ?? "Socket.IO", { node, orderId: order.orderId, token }),
    );
    const ends = await Promise.all(watches.map((one) => one.until(({ settled }) => settled)));
    expect(ends.map(({ status }) => status)).toEqual(["succeeded", "succeeded", "review", "succeeded"]);

    const after = await scrapeUntil(
      node,
      ({ value }) =>
        (value("tukio_webhooks_total") ?? 0) >= 5 &&
        transportNames.every((name) => value("tukio_watchers", { transport: transportLabel[name] }) === 1),
    );
    const daraja = { provider: "daraja" };
    const { value } = after;
    expect(value("tukio_payments_started_total", daraja)).toBe(4);
    expect(value("tukio_webhooks_total", { ...daraja, proof: "secret", result: "applied" })).toBe(3);
    expect(value("tukio_webhooks_total", { ...daraja, proof: "secret", result: "repeat" })).toBe(2);
    expect(value("tukio_webhook_seconds_count", daraja)).toBe(5);
    expect(value("tukio_payment_settled_seconds_count", { ...daraja, status: "succeeded" })).toBe(3);
    expect(value("tukio_payment_settled_seconds_count", { ...daraja, status: "review" })).toBe(1);
    // Each scenario answers after a second.
    expect(value("tukio_payment_settled_seconds_bucket", { ...daraja, status: "succeeded", le: "1" })).toBe(0);
    expect(value("tukio_payment_settled_seconds_bucket", { ...daraja, le: "10" })).toBe(4);
    expect(value("tukio_mismatches_total", daraja)).toBe(1);
    expect(value("tukio_late_successes_total", daraja)).toBe(0);
    expect(value("tukio_paid_twice_total", daraja)).toBe(0);
    expect(value("tukio_provider_call_seconds_count", { ...daraja, verb: "initiate", outcome: "answered" })).toBe(4);
    expect(value("tukio_provider_call_seconds_count", { ...daraja, verb: "token", outcome: "answered" })).toBe(1);
    expect(value("tukio_provider_call_seconds_count", { ...daraja, verb: "confirm" })).toBeGreaterThanOrEqual(1);
    for (const transport of Object.values(transportLabel)) {
      expect(value("tukio_push_seconds_count", { transport })).toBeGreaterThanOrEqual(1);
      expect(value("tukio_push_seconds_bucket", { transport, le: "5" })).toBeGreaterThanOrEqual(1);
    }
    expect(value("tukio_resync_passes_total")).toBeGreaterThanOrEqual(1);
    expect(value("tukio_database_up")).toBe(1);
    expect(value("tukio_reconciler_due")).toBeGreaterThanOrEqual(0);
    expect(value("tukio_reconciler_oldest_seconds")).toBeLessThan(30);
    expect(value("process_cpu_seconds_total")).toBeGreaterThan(0);

    const secrets = paid.flatMap(({ order, watchToken }, index) => [
      order.id,
      order.orderId,
      order.payment.id,
      watchToken,
      ends[index]?.payment.receipt ?? apiKey,
      phones[index]?.slice(-9) ?? apiKey,
    ]);
    for (const secret of [...secrets, apiKey]) expect(after.text).not.toContain(secret);
    expect(labelsOf(after, "tukio_")).toEqual(
      new Set([
        "as",
        "delivery",
        "invariant",
        "le",
        "notification",
        "outcome",
        "proof",
        "provider",
        "purpose",
        "reason",
        "result",
        "status",
        "transport",
        "verb",
        "why",
      ]),
    );

    for (const one of watches) one.close();
    const gone = await scrapeUntil(node, (found) => found.value("tukio_watchers") === 0);
    expect(gone.value("tukio_push_seconds_count")).toBe(value("tukio_push_seconds_count"));
  });

  it("count an order once for each connection that watches it", async () => {
    const node = await startNode({ databaseUrl });
    const { order, watchToken: token } = await pay(node);
    for (const name of transportNames) {
      for (const _ of [1, 2]) watch(name, { node, orderId: order.orderId, token });
    }
    await scrapeUntil(node, ({ value }) =>
      Object.values(transportLabel).every((transport) => value("tukio_watchers", { transport }) === 2),
    );
  });

  it("do not time the first state that a watcher reads", async () => {
    const node = await startNode({ databaseUrl });
    const { order, watchToken: token } = await pay(node);
    const watches = transportNames.map((name) => watch(name, { node, orderId: order.orderId, token }));
    await Promise.all(watches.map((one) => one.until(({ status }) => status === "processing")));
    const { orderId } = order;
    const late = transportNames.map((name) => watch(name, { node, orderId, token }));
    const before = (await scrape(node)).value("tukio_push_seconds_count");
    await Promise.all(late.map((one) => one.until(({ status }) => status === "processing")));
    expect((await scrape(node)).value("tukio_push_seconds_count")).toBe(before);
  });

  it("count a late success, a second paid attempt and a mismatch once each, whatever evidence follows", async () => {
    const { node, payOnce } = await startScripted();
    const first = await payOnce();
    await first.push.webhook({ ResultCode: 1032 });
    await first.until("failed");
    const second = await payOnce(first.orderId);
    await first.push.webhook();
    await first.until("succeeded");
    await second.push.webhook();
    for (const _ of [1, 2]) {
      await first.push.webhook(success(100));
      await second.push.webhook(success(100));
    }
    const { value } = await scrape(node);
    expect(value("tukio_payments_started_total")).toBe(2);
    expect(value("tukio_late_successes_total")).toBe(1);
    expect(value("tukio_paid_twice_total")).toBe(1);
    expect(value("tukio_mismatches_total", { reason: "amount_mismatch" })).toBe(1);
    // The failure settled first. The late success and the second payment are counted above.
    expect(value("tukio_payment_settled_seconds_count")).toBe(1);
    expect(value("tukio_payment_settled_seconds_count", { status: "failed" })).toBe(1);
  });

  it("do not count a late success and a second paid attempt again when a receipt is added", async () => {
    const database = openDatabase(databaseUrl, () => undefined);
    onTestFinished(database.close);
    const metrics = createMetrics({
      providers: new Map([["daraja", undefined]]),
      backlog: async () => idle,
      isDatabaseUp: async () => true,
      isBusUp: () => true,
      spooled: () => 0,
      secrets: () => ({ conflicts: 0, acceptsLast: true }),
    });
    const announced: StatusEvent[] = [];
    const store = createOrderStore({
      database,
      announce(event, before) {
        announced.push(event);
        metrics.onEvent(event, before);
      },
      amountlessProviders: ["daraja"],
    });
    const draft = draftOf();
    const first = (await store.open(draft)).payment?.id ?? "";
    await store.advance(first, failed());
    const second = (await store.open(draft)).payment?.id ?? "";
    await store.advance(first, { status: "succeeded", source: "query" });
    await store.advance(first, { status: "succeeded", receipt: `R-${first}`, source: "webhook" });
    await store.advance(second, paid());
    await store.advance(first, paid());
    expect(announced.map(({ reason }) => reason)).toEqual([
      undefined,
      "cancelled",
      undefined,
      "late",
      "late",
      "paid_twice",
      "paid_twice",
    ]);
    const { value } = valuesOf(await metrics.scrape());
    expect(value("tukio_late_successes_total")).toBe(1);
    expect(value("tukio_paid_twice_total")).toBe(1);
  });

  it("do not count a person's decision as settled", async () => {
    const { node, payOnce } = await startScripted();
    for (const as of ["succeeded", "failed"]) {
      const { orderId, paymentId, push, until } = await payOnce();
      await push.webhook(success(100));
      await until("review");
      const { status } = await asMerchant(node, `/v1/orders/${orderId}/resolve`, { paymentId, as, note: "seen" });
      expect(status).toBe(200);
    }
    const { value } = await scrape(node);
    expect(value("tukio_payments_started_total")).toBe(2);
    expect(value("tukio_payment_settled_seconds_count")).toBe(2);
    expect(value("tukio_payment_settled_seconds_count", { status: "review" })).toBe(2);
    expect(value("tukio_mismatches_total")).toBe(2);
  });

  it("count the orders in review and the decisions of persons", async () => {
    const { node, payOnce } = await startScripted();
    const found = async (): Promise<(number | undefined)[]> => {
      const { value } = await scrape(node);
      const resolved = ["succeeded", "failed"].map((as) => value("tukio_resolved_total", { provider: "daraja", as }));
      return [value("tukio_in_review"), ...resolved];
    };
    expect(await found()).toEqual([0, 0, 0]);
    const reviewed = [await payOnce(), await payOnce(), await payOnce()];
    for (const { push, until } of reviewed) {
      await push.webhook(success(100));
      await until("review");
    }
    expect(await found()).toEqual([3, 0, 0]);
    const [one, two, three] = reviewed;
    const resolve = async (payment = one, as = "succeeded"): Promise<number> => {
      const decision = { paymentId: payment?.paymentId, as, note: "seen" };
      return (await asMerchant(node, `/v1/orders/${payment?.orderId}/resolve`, decision)).status;
    };
    expect(await resolve(one)).toBe(200);
    expect(await found()).toEqual([2, 1, 0]);
    expect(await resolve(one)).toBe(409);
    // The provider's evidence is no decision of a person.
    await two?.push.webhook();
    expect(await found()).toEqual([1, 1, 0]);
    expect(await resolve(three, "failed")).toBe(200);
    expect(await found()).toEqual([0, 1, 1]);
  });

  it("report the database as up when only the statement of the backlog takes too long", async () => {
    const { url, drop } = await createDatabase();
    onTestFinished(drop);
    const node = await startNode({ databaseUrl: url });
    const database = openDatabase(url, () => undefined);
    onTestFinished(database.close);
    const client = await database.pool.connect();
    onTestFinished(() => client.release());
    expect((await scrape(node)).value("tukio_reconciler_due")).toBe(0);
    await client.query("begin; lock table payment in access exclusive mode");
    const { value } = await scrape(node);
    expect(value("tukio_reconciler_due")).toBeUndefined();
    expect(value("tukio_in_review")).toBeUndefined();
    expect(value("tukio_database_up")).toBe(1);
    await client.query("rollback");
    expect((await scrape(node)).value("tukio_reconciler_due")).toBe(0);
    const ofBacklog = node.log.map((line) => JSON.parse(line)).filter(({ task }) => task === "backlog");
    expect(ofBacklog.map(({ event }) => event)).toEqual(["task.failed", "task.recovered"]);
  });

  it("are listed before those of the process, with the meanings of their labels", async () => {
    const { families } = valuesOf(
      await createMetrics({
        providers: new Map([["daraja", undefined]]),
        backlog: async () => idle,
        isDatabaseUp: async () => true,
        isBusUp: () => true,
        spooled: () => 0,
        secrets: () => ({ conflicts: 0, acceptsLast: true }),
      }).scrape(),
    );
    const names = [...families.keys()];
    const firstOfProcess = names.findIndex((name) => !name.startsWith("tukio_"));
    expect(firstOfProcess).toBe(names.filter((name) => name.startsWith("tukio_")).length);
    for (const [name, labels] of Object.entries(labelValues)) {
      for (const [label, values] of Object.entries(labels)) {
        const meanings = values.map((value) => `${value} \\([^)]+\\)`).join(", ");
        expect(families.get(name)?.help).toMatch(new RegExp(` ${label}: ${meanings}\\.`));
      }
    }
  });

  it("count refused and unreadable webhooks separately, and none of unknown providers", async () => {
    const { node, payOnce } = await startScripted();
    const { push } = await payOnce();
    const post = async (url: string, body: string): Promise<number> =>
      (await fetch(url, { method: "POST", body })).status;
    expect(await post(push.callbackUrl, "{")).toBe(400);
    expect(await post(`${node.url}/webhooks/daraja/00ff`, "{}")).toBe(401);
    expect(await post(`${node.url}/webhooks/nobody/00ff`, "{}")).toBe(404);
    const { value, families } = await scrape(node);
    expect(value("tukio_webhooks_total", { proof: "secret", result: "unreadable" })).toBe(1);
    expect(value("tukio_webhooks_total", { proof: "none", result: "refused" })).toBe(1);
    expect(families.get("tukio_webhooks_total")?.samples.filter((sample) => sample.value > 0)).toHaveLength(2);
  });

  it("count declined and failed calls separately", async () => {
    const { node, daraja } = await startScripted();
    const ask = async (answer: (push: HeldPush) => void): Promise<void> => {
      const paying = pay(node);
      answer(await daraja.nextPush());
      await paying;
    };
    const busy = { requestId: "x", errorCode: "500.001.1001", errorMessage: "Unable to lock subscriber" };
    await ask((push) => push.answer(500, JSON.stringify(busy)));
    await ask((push) => push.answer(503, ""));
    const { value } = await scrapeUntil(
      node,
      (found) => found.value("tukio_provider_call_seconds_count", { verb: "initiate" }) === 2,
    );
    expect(value("tukio_provider_call_seconds_count", { verb: "initiate", outcome: "declined" })).toBe(1);
    expect(value("tukio_provider_call_seconds_count", { verb: "initiate", outcome: "failed" })).toBe(1);
  });

  it("count the states that a resync delivers on a node without a bus", async () => {
    const { databaseUrl: url, node, daraja, payOnce } = await startScripted();
    const deaf = await startNode({ databaseUrl: url, env: daraja.env });
    const { orderId, watchToken: token, push } = await payOnce();
    const watching = watch("WebSocket", { node: deaf, orderId, token });
    await watching.until(({ status }) => status === "processing");
    await push.webhook();
    await watching.until(({ settled }) => settled);
    const { value } = await scrape(deaf);
    expect(value("tukio_resync_healed_total")).toBeGreaterThanOrEqual(1);
    expect(value("tukio_push_seconds_count", { transport: "websocket" })).toBe(1);
    expect(value("tukio_payment_settled_seconds_count")).toBeUndefined();
    expect((await scrape(node)).value("tukio_resync_healed_total")).toBe(0);
  });

  it("are available while PostgreSQL is unreachable", async () => {
    const database = await createDatabase();
    const node = await startNode({ databaseUrl: database.url });
    expect((await scrape(node)).value("tukio_database_up")).toBe(1);
    await database.drop();
    const { value, families } = await scrape(node);
    expect(value("tukio_database_up")).toBe(0);
    expect(value("tukio_reconciler_due")).toBeUndefined();
    expect(value("tukio_in_review")).toBeUndefined();
    expect(families.size).toBeGreaterThan(20);
  });
});

const transportValues = ["socketio", "websocket", "eventsource", "longpoll"];

/** The values of each metric's labels, without providers. */
const labelValues: Record<string, Record<string, string[]>> = {
  tukio_payment_settled_seconds: { status: ["succeeded", "failed", "expired", "review"] },
  tukio_mismatches_total: { reason: ["amount_mismatch", "currency_mismatch", "receipt_reused"] },
  tukio_resolved_total: { as: ["succeeded", "failed"] },
  tukio_webhooks_total: {
    proof: ["signature", "secret", "none"],
    result: [
      "applied",
      "repeat",
      "hint",
      "unmatched",
      "nothing",
      "error",
      "unreadable",
      "spooled",
      "refused",
      "failed",
    ],
  },
  tukio_provider_call_seconds: {
    verb: ["initiate", "complete", "confirm", "token"],
    outcome: ["answered", "declined", "nothing", "failed"],
  },
  tukio_watchers: { transport: transportValues },
  tukio_push_seconds: { transport: transportValues },
};

/** Starts a node with a scripted Daraja. It has its own database, because it would query payments of other tests. */
async function startScripted() {
  const daraja = await startScriptedDaraja();
  const { url, drop } = await createDatabase();
  onTestFinished(drop);
  const node = await startNode({ databaseUrl: url, env: daraja.env });
  /** Starts a payment and lets Daraja accept it. */
  const payOnce = async (again?: string) => {
    const { order, watchToken } = await pay(node, again === undefined ? {} : { orderId: again });
    const push = await daraja.nextPush();
    push.accept();
    const { orderId } = order;
    const until = (status: string): Promise<boolean> =>
      vi.waitUntil(async () => (await asMerchant(node, `/v1/orders/${orderId}`)).body.order.status === status, {
        timeout: 15_000,
        interval: 5,
      });
    await until("processing");
    return { orderId, paymentId: order.payment.id, watchToken, push, until };
  };
  return { databaseUrl: url, node, daraja, payOnce };
}

const labelsOf = ({ families }: Scrape, prefix: string): Set<string> =>
  new Set(
    [...families.values()]
      .filter(({ name }) => name.startsWith(prefix))
      .flatMap(({ samples }) => samples.flatMap(({ labels }) => Object.keys(labels)))
      .sort(),
  );

/** Requests `GET /metrics` with these headers, which may include `Host`. */
function ask(url: string, headers: Record<string, string> = {}): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    request(`${url}/metrics`, { headers }, async (response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of response) chunks.push(chunk as Buffer);
      resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString() });
    })
      .on("error", reject)
      .end();
  });
}

const bearer = { authorization: `Bearer ${apiKey}` };

/** An address of this machine that is not loopback, if it has one. */
const address = Object.values(networkInterfaces())
  .flat()
  .find((found) => found?.family === "IPv4" && !found.internal)?.address;

describe("GET /metrics", () => {
  it("answers requests from this machine in the text format", async () => {
    const node = await startNode({ databaseUrl });
    for (const host of ["localhost", "127.0.0.1:3000", "[::1]:3000"]) {
      expect((await ask(node.url, { host })).status).toBe(200);
    }
    const response = await fetch(`${node.url}/metrics`);
    expect(response.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");
    expect(response.headers.get("cache-control")).toBe("no-store");
    await response.text();
  });

  it.each([
    { "x-forwarded-for": "203.0.113.9" },
    { "x-forwarded-for": "127.0.0.1" },
    { "x-forwarded-host": "pay.example.com" },
    { forwarded: "for=203.0.113.9" },
    { "x-real-ip": "203.0.113.9" },
    { via: "1.1 proxy" },
    { host: "pay.example.com" },
    { authorization: "Bearer not-the-key-of-this-node", "x-forwarded-for": "203.0.113.9" },
  ])("requires the API key through a proxy on this machine, as with %j", async (headers) => {
    const node = await startNode({ databaseUrl, env: { TRUSTED_PROXIES: "127.0.0.1" } });
    const refused = await ask(node.url, headers);
    expect(refused.status).toBe(401);
    expect(JSON.parse(refused.text)).toMatchObject({ code: "key_invalid" });
    expect((await ask(node.url, { ...headers, ...bearer })).status).toBe(200);
  });

  it.skipIf(address === undefined)("requires the API key from other machines", async () => {
    const node = await startNode({ databaseUrl, env: { HOST: "0.0.0.0" } });
    const url = `http://${address}:${new URL(node.url).port}`;
    expect((await ask(url, { host: "localhost" })).status).toBe(401);
    expect((await ask(url, bearer)).status).toBe(200);
  });

  it("requires the API key through a proxy that uses HTTP/1.0 and adds no header", async () => {
    const node = await startNode({ databaseUrl });
    const { port } = new URL(node.url);
    for (const [version, status] of [
      ["1.0", "401"],
      ["1.1", "200"],
    ]) {
      const socket = connect(Number(port), "127.0.0.1");
      socket.write(`GET /metrics HTTP/${version}\r\nHost: 127.0.0.1:${port}\r\nConnection: close\r\n\r\n`);
      const [answer] = await once(socket, "data");
      socket.destroy();
      expect(String(answer)).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    }
  });

  it("refuses a watch token", async () => {
    const node = await startNode({ databaseUrl });
    const { watchToken } = await pay(node);
    const headers = { "x-forwarded-for": "203.0.113.9", authorization: `Bearer ${watchToken}` };
    expect((await ask(node.url, headers)).status).toBe(401);
  });
});

interface Panel {
  id: number;
  type: string;
  title: string;
  description?: string;
  gridPos: { h: number; w: number; x: number; y: number };
  datasource?: { type: string; uid: string };
  fieldConfig?: { defaults: { unit?: string } };
  targets?: { expr: string; datasource: { uid: string } }[];
}

const dashboard: { schemaVersion: number; templating: { list: { name: string; type: string }[] }; panels: Panel[] } =
  JSON.parse(readFileSync(new URL("../../deploy/grafana.json", import.meta.url), "utf8"));

const keywords = new Set([
  "sum",
  "clamp_max",
  "max",
  "min",
  "avg",
  "by",
  "rate",
  "increase",
  "histogram_quantile",
  "label_values",
]);

/** The names of the metrics in a query: the rest without functions, labels, ranges and numbers. */
const metricsIn = (expression: string): string[] =>
  (expression.replace(/\{[^}]*\}|\[[^\]]*\]|by \([^)]*\)/g, " ").match(/[a-zA-Z_:][\w:]*/g) ?? []).filter(
    (word) => !keywords.has(word),
  );

/** The labels that a query matches or groups by. */
const labelsIn = (expression: string): string[] => [
  ...[...expression.matchAll(/([a-z_]+)=~?"/g)].map(([, label = ""]) => label),
  ...[...expression.matchAll(/by \(([^)]*)\)/g)].flatMap(([, labels = ""]) => labels.split(/, */)),
];

describe("the dashboard", () => {
  const panels = dashboard.panels.filter(({ type }) => type !== "row");
  const expressions = panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));

  it("queries only metrics and labels of a node, and shows every metric of Tukio", async () => {
    const { node, payOnce } = await startScripted();
    const { push, orderId, watchToken: token } = await payOnce();
    const watching = watch("WebSocket", { node, orderId, token });
    await watching.until(() => true);
    await push.webhook();
    await watching.until(({ settled }) => settled);
    const { families } = await scrape(node);
    const names = new Set(
      [...families.values()].flatMap(({ name, type }) =>
        type === "histogram" ? [`${name}_bucket`, `${name}_sum`, `${name}_count`] : [name],
      ),
    );
    // Prometheus adds the first two labels.
    const known = new Set(["job", "instance", ...labelsOf(await scrape(node), "")]);
    for (const expression of expressions) {
      expect(metricsIn(expression)).not.toEqual([]);
      for (const name of metricsIn(expression)) expect(names).toContain(name);
      for (const label of labelsIn(expression)) expect(known).toContain(label);
    }
    const shown = new Set(expressions.flatMap(metricsIn).map((name) => name.replace(/_(bucket|sum|count)$/, "")));
    const ours = [...families.keys()].filter((name) => name.startsWith("tukio_"));
    expect(ours.filter((name) => !shown.has(name))).toEqual([]);
  });

  it("has variables for the data source, the job and the instance", () => {
    expect(dashboard.templating.list.map(({ name, type }) => [name, type])).toEqual([
      ["datasource", "datasource"],
      ["job", "query"],
      ["instance", "query"],
    ]);
    for (const { datasource, targets = [] } of panels) {
      for (const source of [datasource, ...targets.map((target) => target.datasource)]) {
        expect(source).toEqual({ type: "prometheus", uid: ["$", "{datasource}"].join("") });
      }
    }
    for (const expression of expressions) {
      expect(expression).toContain('job=~"$job", instance=~"$instance"');
    }
  });

  it("has panels that do not overlap, each with a description and a unit", () => {
    expect(dashboard.schemaVersion).toBe(42);
    expect(dashboard.panels.filter(({ type }) => type === "row").map(({ title }) => title)).toEqual([
      "Payments",
      "Webhooks",
      "Watchers",
      "Providers",
      "Reconciler",
      "Events to the backend",
      "Process",
    ]);
    expect(new Set(dashboard.panels.map(({ id }) => id)).size).toBe(dashboard.panels.length);
    const cells = dashboard.panels.flatMap(({ gridPos: { x, y, w, h } }) =>
      Array.from({ length: w * h }, (_, index) => `${x + (index % w)},${y + Math.floor(index / w)}`),
    );
    expect(new Set(cells).size).toBe(cells.length);
    for (const { description, fieldConfig, gridPos } of panels) {
      expect(description).toBeTruthy();
      expect(fieldConfig?.defaults.unit).toBeTruthy();
      expect(gridPos.x + gridPos.w).toBeLessThanOrEqual(24);
    }
  });
});
