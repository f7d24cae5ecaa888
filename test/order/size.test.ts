/**
 * The plan of every statement that Tukio sends, in databases with a million orders. No test here measures time: a plan that reads only
 * the rows that it needs is fast at any size.
 */

import type pg from "pg";
import { parseSync, Visitor } from "rolldown/utils";
import { beforeAll, describe, expect, it } from "vitest";
import { statuses } from "../../client-sdk/protocol.ts";
import { createSealer } from "../../server/auth/keys.ts";
import { createSecretComparison } from "../../server/auth/secret-comparison.ts";
import { checkDurability } from "../../server/database/durability.ts";
import type { Database } from "../../server/database/pool.ts";
import { databaseCheck } from "../../server/doctor/database.ts";
import { endpointCheck } from "../../server/doctor/endpoint.ts";
import { createNodeRows } from "../../server/doctor/node-row.ts";
import { HubError } from "../../server/errors.ts";
import { createOrderQuery, type OrderFilter, type OrderQuery, type PaymentFilter } from "../../server/order/query.ts";
import { erase } from "../../server/order/retention.ts";
import { createReview } from "../../server/order/review.ts";
import { createStatistics, type Statistics } from "../../server/order/statistics.ts";
import { createOrderStore, type OrderStore } from "../../server/order/store.ts";
import { groupings } from "../../server/order/summary.ts";
import { webhookResults } from "../../server/order/tables.ts";
import { findViolations } from "../../server/order/violation.ts";
import { createAccessToken } from "../../server/provider/access-token.ts";
import { Unreachable } from "../../server/provider/http-client.ts";
import { assignStatement, createAssign } from "../../server/webhook/assign.ts";
import { listWebhooks } from "../../server/webhook/history.ts";
import { createInbox, type Inbox } from "../../server/webhook/inbox.ts";
import { filesBelow, textOf } from "../docs/markdown.ts";
import { deliveryCalls, deliveryReads } from "../support/delivery-size.ts";
import { keyCalls, keyReads } from "../support/key-size.ts";
import { createMillion, flood, idOf, rowOrders, unappliedCount } from "../support/million.ts";
import { notificationCalls } from "../support/notification-size.ts";
import { linkIdOf, paymentLinkCalls, paymentLinkReads } from "../support/payment-link-size.ts";
import { planCalls, planReads } from "../support/plan-size.ts";
import { providerCallReads, providerCalls } from "../support/provider-call-size.ts";
import { openExplained, type StatementPlan } from "../support/statement-plan.ts";
import { allowanceOf, draftOf, failed, paid } from "../support/store.ts";

type Call = () => Promise<unknown>;

/** The calls of each method of a part. A new method does not compile without its calls. */
type CallsOf<Part> = Record<keyof Part, Call[]>;

const providers = ["daraja", "zenopay", "mtn", "bkash", "lipana"];

const webhook = { provider: "daraja", proof: "secret" as const, headers: {}, body: Buffer.from("{}") };

const result = { id: "seat-A1", kind: "ticket", title: "Seat A1", code: "TUK-7F3A" } as const;

const daysAgo = (days: number): Date => new Date(Date.now() - days * 86_400_000);

const linkOf = (n: number) => ({ id: linkIdOf(n), isReusable: false, payer: "ab".repeat(32), phoneMax: 3 });

const numbersFrom = (first: number, count: number): number[] =>
  Array.from({ length: count }, (_, index) => first + index);

function storeCalls(database: Database): CallsOf<OrderStore> {
  const store = createOrderStore({
    database,
    announce: () => undefined,
    amountlessProviders: ["daraja"],
    receiptProviders: ["mtn"],
    limits: { phone: 1, order: 1 },
  });
  const pay = (n: number) => store.advance(idOf(n), paid({ reference: `REF-${n}`, receipt: `NEW-${n}` }), webhook);
  const fail = (n: number) => store.advance(idOf(n), failed(), webhook);
  const settled = idOf(500_000);
  return {
    open: [
      () => store.open(draftOf({ phone: "+254733000000", idempotencyKey: "new" })),
      () => store.open(draftOf({ phone: "+254733000001", orderId: "MILLION-100001" })),
      // Each of the others opens nothing: a paid order, a used key, an expired key, the limits of a phone and of an order.
      () => store.open(draftOf({ phone: "+254733000002", orderId: "MILLION-500002" })),
      () => store.open(draftOf({ phone: "+254733000003", idempotencyKey: "key-100" })),
      () => store.open(draftOf({ phone: "+254733000004", idempotencyKey: "key-26200" })),
      () => store.open(draftOf({ live: true, phone: "+254700007919" })),
      () => store.open(draftOf({ phone: "+254733000005", orderId: "MILLION-100001" })),
      // On the page of a link: an order of its own, a link that is paid, and a link that has another order id.
      ...[900_101, 90_000, 50_000].map(
        (n, index) => () =>
          store.open(draftOf({ phone: `+25473300001${index}`, orderId: `MILLION-${n}`, link: linkOf(50_000) })),
      ),
    ],
    advance: [
      // Together, so that the later ones make a batch.
      () => Promise.all(numbersFrom(1, 6).map(pay)),
      () => Promise.all(numbersFrom(3_001, 6).map(fail)),
      () => store.advance("019f0000-0000-7000-9000-000000000000", paid(), webhook),
      () => store.advance(idOf(300), { status: "processing", reference: "REF-300", source: "reply" }),
      () => store.advance(idOf(301), { status: "failed", reason: "cancelled", source: "query" }),
      () => store.advance(idOf(500_001), { status: "succeeded", source: "query" }),
    ],
    claimDue: [() => store.claimDue(providers.map((provider) => allowanceOf({ provider, perMinute: 600 })))],
    defer: [() => store.defer(idOf(5))],
    endReceiptCheck: [() => store.endReceiptCheck(settled)],
    preparePace: [() => store.preparePace(providers)],
    slowQueries: [() => store.slowQueries("daraja")],
    findAsked: [() => store.findAsked(settled), () => store.findAsked("019f0000-0000-7000-9000-000000000000")],
    takeQuery: [() => store.takeQuery("daraja", 600), () => store.takeQuery("unknown", undefined)],
    isPayable: [() => store.isPayable(settled)],
    recordReturn: [() => store.recordReturn(idOf(20), true), () => store.recordReturn(settled, false)],
    clearCompletionLock: [() => store.clearCompletionLock(idOf(20))],
    locate: [() => store.locate("daraja", "REF-500006"), () => store.locate("zenopay", "unknown")],
    locateOwn: [() => store.locateOwn("lipana", idOf(500_008).slice(-12))],
    assessSuccess: [() => store.assessSuccess(settled, paid({ receipt: "RCT-1" }))],
    checkNow: [() => store.checkNow(idOf(7))],
    checkEpoch: [() => store.checkEpoch()],
    reportLoss: [() => store.reportLoss(0)],
    putResult: [
      () => store.putResult("MILLION-500000", result),
      () => store.putResult("MILLION-100001", result),
      () => store.putResult("unknown", result),
    ],
    removeResult: [() => store.removeResult("MILLION-500000", result.id), () => store.removeResult("unknown", "none")],
    datePayments: [() => store.datePayments()],
    current: [() => store.current(numbersFrom(1, 1_000).map((n) => idOf(n * 900)))],
    currentWithTime: [() => store.currentWithTime(numbersFrom(1, 1_000).map((n) => idOf(n * 900)))],
    changedSince: [undefined, daysAgo(1 / 24), daysAgo(3)].map((at) => () => store.changedSince(at)),
  };
}

const times: Partial<OrderFilter>[] = [
  {},
  { to: daysAgo(60) },
  { from: daysAgo(31), to: daysAgo(30) },
  { changedSince: daysAgo(1) },
  { changedSince: daysAgo(100) },
  { changedSince: daysAgo(100), to: daysAgo(110) },
];

/** Frequent and rare, used for the first days only, and never used. */
const listedProviders = [undefined, "daraja", "lipana", "payhero", "unknown"];

const phones = ["+254700007919", "+255700007919"];

/** Filters with an index of their own, each also with a condition that few rows or none fit. */
const shared = [
  { reason: "cancelled" },
  { reason: "late" },
  { paidFrom: daysAgo(90) },
  { paidFrom: daysAgo(60), paidTo: daysAgo(30) },
  { paidTo: daysAgo(30) },
  { receipt: "rct-500005" },
  { receipt: "unknown" },
  { phones },
] as const;

const combinedWith = [{}, { status: "succeeded", provider: "lipana", to: daysAgo(40) }] as const;

const combined = <Filter extends object>(some: readonly Filter[]) =>
  some.flatMap((one) => combinedWith.map((other) => ({ ...one, ...other })));

const filters: Partial<OrderFilter>[] = [
  ...times.flatMap((time) =>
    [undefined, ...statuses].flatMap((status) => listedProviders.map((provider) => ({ ...time, status, provider }))),
  ),
  ...combined<Partial<OrderFilter>>([
    ...shared,
    { customer: "C-15" },
    { customer: "guest" },
    { customer: "C15@example.com" },
    { customer: "unknown" },
    { needsAttention: true },
    { needsAttention: true, reason: "late", phones },
    {
      changedSince: daysAgo(100),
      needsAttention: true,
      phones,
      receipt: "unknown",
      customer: "guest",
      paidFrom: daysAgo(90),
    },
  ]),
];

const paymentFilters: Partial<PaymentFilter>[] = [
  ...times
    .filter(({ changedSince }) => !changedSince)
    .flatMap((time) =>
      ([undefined, "processing", "review", "succeeded"] as const).flatMap((status) =>
        [undefined, "lipana", "payhero", "unknown"].map((provider) => ({ ...time, status, provider })),
      ),
    ),
  ...combined<Partial<PaymentFilter>>([
    ...shared,
    { orderId: "MILLION-500000" },
    { orderId: "unknown" },
    { reference: "REF-500005" },
    { reference: "unknown" },
  ]),
];

function queryCalls(database: Database): CallsOf<OrderQuery> {
  const query = createOrderQuery(database);
  return {
    idOf: [() => query.idOf("MILLION-500000"), () => query.idOf("unknown")],
    find: [() => query.find("MILLION-100000")],
    findByPayment: [() => query.findByPayment(idOf(20))],
    list: filters.map((filter) => async () => {
      const { nextCursor } = await query.list({ ...filter, limit: 50 });
      if (nextCursor !== null) await query.list({ ...filter, limit: 50, cursor: nextCursor });
    }),
    listDetailed: [
      () => query.listDetailed({ limit: 1_000 }),
      () => query.listDetailed({ limit: 1_000, paidTo: daysAgo(30) }),
    ],
    listPayments: paymentFilters.map((filter) => async () => {
      const { nextCursor } = await query.listPayments({ ...filter, limit: 50 });
      if (nextCursor !== null) await query.listPayments({ ...filter, limit: 50, cursor: nextCursor });
    }),
    summarize: groupings.map((by) => () => query.summarize(by, [{ from: daysAgo(10), to: daysAgo(3) }])),
    clock: [() => query.clock()],
  };
}

function inboxCalls(database: Database): CallsOf<Inbox> {
  const inbox = createInbox(database);
  const paymentId = idOf(8);
  return {
    insert: (["unreadable", "error"] as const).map((result) => () => inbox.insert({ ...webhook, result, paymentId })),
    claimParked: [
      // 50,000 unproven webhooks have the first reference.
      () => inbox.claimParked("daraja", "REF-1"),
      () => inbox.claimParked("zenopay", "PARKED-2"),
      () => inbox.claimParked("daraja", "unknown"),
    ],
    claimUnapplied: [() => inbox.claimUnapplied(100)],
    settle: [() => inbox.settle(1, "applied")],
    refuse: [() => inbox.refuse(webhook, "forged")],
  };
}

function webhookCalls(database: Database): Record<string, Call[]> {
  const { pool } = database;
  const store = createOrderStore({ database, announce: () => undefined, amountlessProviders: [] });
  const assign = createAssign({ pool, providers: new Map(), store, onReference: async () => undefined });
  const filters = [undefined, ...webhookResults].flatMap((result) =>
    [undefined, "lipana", "payhero"].map((provider) => ({ result, provider })),
  );
  return {
    inbox: [...filters, { paymentId: idOf(8) }, { paymentId: idOf(100_000), result: "applied" as const }].map(
      (filter) => async () => {
        const { nextCursor } = await listWebhooks(pool, { ...filter, limit: 50 });
        if (nextCursor !== null) await listWebhooks(pool, { ...filter, limit: 50, cursor: nextCursor });
      },
    ),
    // The provider is not enabled, so the second one ends before its update.
    assign: [
      () => assign(1, idOf(8)),
      async () => {
        const { rows } = await pool.query("select max(id)::int as id from webhook");
        await assign(rows[0].id, idOf(8));
      },
      () => pool.query({ ...assignStatement, values: [1, "hint", idOf(8)] }),
    ],
  };
}

function statisticsCalls(database: Database): CallsOf<Statistics> {
  const statistics = createStatistics(database);
  return {
    backlog: [() => statistics.backlog()],
    succeededShares: [() => statistics.succeededShares()],
  };
}

function otherCalls(database: Database) {
  const store = createOrderStore({ database, announce: () => undefined, amountlessProviders: [] });
  const review = createReview({ database, store, announce: () => undefined });
  return {
    isUp: [() => database.isUp()],
    findViolations: [() => findViolations(database)],
    resolve: [
      () => review.resolve({ orderId: "MILLION-4007", paymentId: idOf(4_007), as: "failed", note: "" }),
      () => review.resolve({ orderId: "MILLION-8007", paymentId: idOf(8_007), as: "succeeded", note: "" }),
    ],
    erase: [() => erase(database)],
    checkDurability: [
      () => checkDurability(database.pool, { isProduction: false, accepted: [], log: { warn: () => undefined } }),
    ],
    secretComparison: [() => compareSecrets(database)],
    accessToken: [() => useAccessToken(database)],
    doctor: [() => examine(database)],
  };
}

async function examine(database: Database): Promise<void> {
  const { signal } = new AbortController();
  const { pool } = database;
  // Through the pool, because only its statements are explained.
  const client = { query: pool.query.bind(pool), end: async () => undefined } as unknown as pg.Client;
  const connectAlone = async () => client;
  await databaseCheck({ database: { pool, connectAlone }, accepted: [], isProduction: false }).run(signal);
  await endpointCheck(pool).run(signal);
  const rows = createNodeRows(pool);
  const facts = {
    name: "hub:3000",
    version: "0",
    schema: 1,
    settings: {},
    clockS: null,
    redis: "off",
    spooled: 0,
  } as const;
  await rows.renew(facts);
  await rows.others();
  await rows.leave();
}

async function compareSecrets(database: Database): Promise<void> {
  const log = { info: () => undefined, warn: () => undefined, error: () => undefined };
  let clockMs = 0;
  // Through the pool, because only its statements are explained.
  const client = { query: database.pool.query.bind(database.pool), end: async () => undefined } as unknown as pg.Client;
  const comparison = createSecretComparison({
    database: { connectAlone: async () => client },
    nowMs: () => clockMs,
    secrets: ["a secret of more than thirty-two characters"],
    log,
  });
  await comparison.compare();
  // So that it removes old rows too.
  clockMs = 15_000;
  await comparison.compare();
  await comparison.leave();
}

/** Stores a token, forgets a refresh token that the provider refuses, and does not count a call that was not sent. */
async function useAccessToken({ pool }: Database): Promise<void> {
  const sealer = createSealer(["a secret of more than thirty-two characters"]);
  let calls = 0;
  const fetch = async () => {
    calls += 1;
    if (calls === 1) return { token: "one", lifetimeS: 60, refreshToken: "refresh" };
    throw new HubError(
      "provider_unavailable",
      "",
      calls === 2 ? {} : { cause: new Unreachable("POST daraja.example", "ENOTFOUND") },
    );
  };
  const tokens = createAccessToken({ provider: "daraja", pool, sealer, fetch, callsPerHourMax: 10 });
  await tokens.token();
  for (let times = 0; times < 2; times += 1) await tokens.ahead().catch(() => undefined);
  expect(calls).toBe(3);
}

function callsOf(database: Database): [string, Call][] {
  // Last, because they change the endpoints, of which the first has many deliveries.
  const parts = [
    storeCalls,
    queryCalls,
    inboxCalls,
    webhookCalls,
    statisticsCalls,
    planCalls,
    keyCalls,
    paymentLinkCalls,
    notificationCalls,
    providerCalls,
    otherCalls,
    deliveryCalls,
  ];
  return parts
    .flatMap((part) => Object.entries<Call[]>(part(database)))
    .flatMap(([method, calls]) => calls.map((call): [string, Call] => [method, call]));
}

/** Rows that a method's statements may read besides those of the result, because a limit of the statement bounds them. */
const boundedReads: Record<string, number> = {
  ...deliveryReads,
  ...paymentLinkReads,
  ...planReads,
  ...keyReads,
  ...providerCallReads,
  // Of each provider the 1,000 open and 1,000 settled payments due longest are ranked, and those of the result are read three times more.
  claimDue: 2_000 * providers.length,
  // A page reads 1,000 orders. PostgreSQL sorts those of a small range instead of reading a part of them in the order of the index.
  list: 4_000,
  // It also reads the payment of each order.
  listDetailed: 7_000,
  // PostgreSQL may look for the unapplied webhooks of a frequent reference, or for old ones, among all that are unapplied.
  claimParked: unappliedCount,
  erase: unappliedCount,
  // The 300 orders of each open status that are open longest, the payments of 300 of them, and the orders of five minutes with their
  // events. A bitmap scan counts a row twice.
  findViolations: 600 + 300 + 5 * 35,
  // Each order that changed in three days is in the arrays of the only row.
  changedSince: 2 * 3 * 8_640 + 100,
  // Four counts of at most 10,000 rows each, of daraja's open and settled payments, webhooks and orders; `flood` makes more rows of each.
  // The due payments of the other providers are fewer.
  backlog: 4 * 10_000 + 3_000,
  // The range of each provider is read as far as the page, and each row of the page has a payment, an order and a later payment.
  listPayments: 20_000,
  // Each payment of a week. A bitmap scan counts a row twice.
  summarize: 2 * 7 * 8_640 + 100,
  // A page reads 1,000 webhooks, and of those with a result or a payment the ones of another provider.
  inbox: 3_000,
  // Of the payments of a day the newest ones of each provider; `flood` makes more.
  succeededShares: 20_000 * providers.length,
};

/** Tables that a method reads as a whole, because all of their rows are its result, or of the last hour; their number is bounded. */
const wholeTables: Record<string, string> = { readKeys: "api_key", recentCalls: "provider_call" };

/** Why a plan is no good, or undefined. An index that is walked without its leading column shows in the pages only. */
function faultOf(method: string, plan: StatementPlan): object | undefined {
  const { result, changed, read, pages } = plan;
  const scannedTables = plan.scannedTables.filter((table) => table !== wholeTables[method]);
  const readMax = 10 * result + 20 + (boundedReads[method] ?? 0);
  // A changed row has a new entry in each index of its table.
  // A probe that finds nothing reads pages and no row.
  // The first statement on a connection reads the catalogue of its tables and their indexes: about 500 pages for orders and payments.
  const pagesMax = 550 + 6 * (read + result) + 30 * changed + (boundedReads[method] ?? 0);
  if (read <= readMax && pages <= pagesMax && scannedTables.length === 0) return undefined;
  return { method, ...plan };
}

describe.each(rowOrders)("statements among 1,000,000 orders (%s)", (rowOrder) => {
  const explained = Promise.withResolvers<[string, StatementPlan][]>();

  beforeAll(async () => {
    const { url, drop } = await createMillion(rowOrder);
    const { database, plans } = await openExplained(url);
    const found: [string, StatementPlan][] = [];
    for (const [method, call] of callsOf(database)) {
      await call().catch((error: unknown) => {
        if (!(error instanceof HubError) || error.code === "store_unavailable") throw error;
      });
      found.push(...plans.splice(0).map((plan): [string, StatementPlan] => [method, plan]));
    }
    await flood(url);
    for (const [method, [call]] of Object.entries(statisticsCalls(database))) {
      await call?.();
      found.push(...plans.splice(0).map((plan): [string, StatementPlan] => [method, plan]));
    }
    explained.resolve(found);
    return async () => {
      await database.close();
      await drop();
    };
  }, 600_000);

  it("read a few rows for each row of their result, and scan no large table", async () => {
    const plans = await explained.promise;
    expect(plans.map(([method, plan]) => faultOf(method, plan)).filter((fault) => fault !== undefined)).toEqual([]);
  });

  it("include every statement of the server's code", async () => {
    const plans = (await explained.promise).map(([, plan]) => plan);
    const isExplained = ({ name, pattern }: SourceStatement): boolean =>
      plans.some((plan) => (name !== undefined && plan.name === name) || pattern?.test(plan.text));
    expect(sourceStatements().filter((statement) => !isExplained(statement))).toEqual([]);
    expect(sourceStatements().length).toBeGreaterThan(40);
  });
});

/** For a database role that may not read the server's place in its log; the table has one row. */
const epochOnly = "select epoch, server as epoch_server, null as server, null as log_bytes from timeline";

/** Migrations; locks and settings, which read no table; the spool's own SQLite. */
const unexplained = /^server\/(database\/(migrate|named-lock|durability)|webhook\/spool-file)\.ts$/;

/** A literal of the code that begins as a statement; with `name`, a named statement, whatever its text begins with. */
interface SourceStatement {
  path: string;
  name?: string;
  pattern?: RegExp;
}

const sourceStatements = (): SourceStatement[] =>
  filesBelow("server", /\.ts$/)
    .filter((path) => !unexplained.test(path))
    .flatMap(statementsIn);

function statementsIn(path: string): SourceStatement[] {
  const found: SourceStatement[] = [];
  const add = (parts: readonly string[]): void => {
    const pattern = patternOf(parts);
    if (pattern && parts[0] !== epochOnly) found.push({ path, pattern });
  };
  new Visitor({
    Literal: ({ value }) => void (typeof value === "string" && add([value])),
    TemplateLiteral: ({ quasis }) => add(partsOf(quasis)),
    ObjectExpression({ properties }) {
      const valueAt = (key: string) =>
        properties.flatMap((one) =>
          one.type === "Property" && one.key.type === "Identifier" && one.key.name === key ? [one.value] : [],
        )[0];
      const [name, text] = [valueAt("name"), valueAt("text")];
      // A text that begins with an expression has no pattern.
      const hasPattern = text?.type === "TemplateLiteral" && patternOf(partsOf(text.quasis)) !== undefined;
      if (name?.type === "Literal" && text?.type === "TemplateLiteral" && !hasPattern) {
        found.push({ path, name: String(name.value) });
      }
    },
  }).visit(parseSync(path, textOf(path)).program);
  return found;
}

const partsOf = (quasis: readonly { value: { cooked: string | null } }[]): string[] =>
  quasis.map(({ value }) => value.cooked ?? "");

/** A pattern of the text, of which `parts` are the parts between expressions. Undefined unless it begins as a statement. */
function patternOf(parts: readonly string[]): RegExp | undefined {
  const begins = /^\s*\(?\s*(with|select|insert into|update|delete from|merge into|truncate)\s/i;
  const isProse = /\.$/.test(parts.at(-1) ?? "");
  if (!begins.test(parts[0] ?? "") || isProse) return undefined;
  const escaped = parts.map((part) => part.replaceAll(/[\\^$.*+?()[\]{}|]/g, "\\$&"));
  return new RegExp(escaped.join("[\\s\\S]*").trim());
}

describe("the list of statements", () => {
  it.each([
    "select from payment",
    "insert into receipt (provider) select 1",
    "insert into receipt(provider) values($1)",
    "SELECT 1 FROM payment",
    "(select 1 from payment)",
    "merge into payment using receipt on true",
    "truncate receipt",
  ])("has `%s`", (text) => {
    expect(patternOf([text])?.test(text)).toBe(true);
  });

  it("misses no statement that Kysely makes, because only the explained reads use it", () => {
    const usesKysely = (path: string): boolean => /^import \{[^}]*\} from "kysely/m.test(textOf(path));
    expect(filesBelow("server", /\.ts$/).filter(usesKysely)).toEqual([
      "server/order/list.ts",
      "server/order/order-filter.ts",
      "server/order/page.ts",
      "server/order/payment-list.ts",
      "server/order/query.ts",
    ]);
  });
});
