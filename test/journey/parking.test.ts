/**
 * A webhook with an unknown reference is parked and applied as soon as the reference is stored, for every interleaving of
 * the node that stores the reference with the node that takes the webhook, and although either may die.
 */
import Fastify from "fastify";
import { beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { createUrlSecrets } from "../../server/auth/keys.ts";
import { type Database, openDatabase } from "../../server/database/pool.ts";
import { handleErrors } from "../../server/http/problem.ts";
import { createOrderQuery } from "../../server/order/query.ts";
import { createOrderStore, type OrderStore } from "../../server/order/store.ts";
import { createInitiator } from "../../server/payment/initiate.ts";
import type { Provider } from "../../server/provider/provider.ts";
import { webhookRoutes } from "../../server/route/webhooks.ts";
import { createInbox, type Inbox } from "../../server/webhook/inbox.ts";
import { createReceiver } from "../../server/webhook/receive.ts";
import { startRedelivery } from "../../server/webhook/redelivery.ts";
import { createDatabase } from "../support/database.ts";
import { lipanaWebhook } from "../support/lipana.ts";
import { asMerchant, call, pay, startNode, type TestNode, testSecret } from "../support/node.ts";
import { openProvider, providerEnv, type ScriptedAnswer, startScriptedProvider } from "../support/scripted-provider.ts";
import { draftOf } from "../support/store.ts";

let databaseUrl: string;
let database: Database;
let store: OrderStore;
let inbox: Inbox;
beforeAll(async () => {
  const own = await createDatabase();
  databaseUrl = own.url;
  database = openDatabase(databaseUrl, () => undefined);
  store = createOrderStore({ database, announce: () => undefined, amountlessProviders: [] });
  inbox = createInbox(database);
  return async () => {
    await database.close();
    await own.drop();
  };
});

interface Transaction {
  reference: string;
  amountMinor: number;
  receipt: string;
}

let references = 0;

/** Returns a reference and a receipt that no other test uses. */
function nextTransaction(): Transaction {
  references += 1;
  return {
    reference: `TXN${process.pid}N${references}`,
    amountMinor: 15_000,
    receipt: `P${process.pid}R${references}`,
  };
}

const acceptance = ({ reference }: Transaction): ScriptedAnswer => ({
  body: { success: true, data: { transactionId: reference, status: "pending" } },
});

/** The results of the webhooks with this reference. */
async function webhookResults({ reference }: Transaction): Promise<{ result: string; waits: boolean }[]> {
  const { rows } = await database.pool.query<{ result: string; waits: boolean }>(
    "select result, offer_at is not null as waits from webhook where convert_from(body, 'UTF8') like '%' || $1 || '%'",
    [`"${reference}"`],
  );
  return rows;
}

/** Makes parked webhooks due at once, because the sweep would wait for 30 s. */
const makeDue = ({ reference }: Transaction) =>
  database.pool.query("update webhook set offer_at = clock_timestamp() where reference = $1", [reference]);

async function historyOf(orderId: string): Promise<{ statuses: string[]; reference: string | undefined }> {
  const view = await createOrderQuery(database).find(orderId);
  return { statuses: view?.events.map(({ status }) => status) ?? [], reference: view?.payments[0]?.reference };
}

/** One process whose steps run one at a time, when the test says so. */
interface Steps {
  /** Wraps a function as a step. */
  step<Given extends unknown[], T>(run: (...given: Given) => Promise<T>): (...given: Given) => Promise<T>;
  /** Runs the next step. Resolves when it has finished, or when no step is left. */
  next(): Promise<void>;
  /** Kills the process before its next step: no later step runs. */
  kill(): void;
  /** Marks the process as finished: no further step will come. */
  end(): void;
}

function createSteps(): Steps {
  const dead = new Error("killed");
  let arrived = Promise.withResolvers<(isAlive: boolean) => Promise<void>>();
  const ended = Promise.withResolvers<undefined>();
  let isDead = false;
  return {
    step:
      (run) =>
      async (...given) => {
        if (isDead) throw dead;
        const turn = Promise.withResolvers<boolean>();
        const happened = Promise.withResolvers<void>();
        arrived.resolve((isAlive) => {
          turn.resolve(isAlive);
          return happened.promise;
        });
        try {
          if (!(await turn.promise)) throw dead;
          return await run(...given);
        } finally {
          happened.resolve();
        }
      },
    async next() {
      const go = await Promise.race([arrived.promise, ended.promise]);
      arrived = Promise.withResolvers();
      await go?.(true);
    },
    kill() {
      isDead = true;
      void Promise.race([arrived.promise, ended.promise]).then((go) => go?.(false));
    },
    end: () => ended.resolve(undefined),
  };
}

const silent = { info: () => undefined, warn: () => undefined };

/** A node's re-offering of parked webhooks, without the sweep, because the tests must pass without it. */
function redeliver(providers: ReadonlyMap<string, Provider>, { step }: Steps) {
  const claimParked = step(inbox.claimParked);
  const redelivery = startRedelivery({
    providers,
    store,
    inbox: { ...inbox, claimParked, claimUnapplied: async () => [] },
    log: silent,
  });
  onTestFinished(redelivery.close);
  return redelivery;
}

interface Staged {
  orderId: string;
  transaction: Transaction;
  /** The node that initiated: it stores the reference, then looks for parked webhooks. */
  initiating: Steps;
  /** The node with the webhook: it looks for the payment, stores the bytes, looks again, then looks for parked webhooks. */
  taking: Steps;
  /** Waits until both have finished, and returns the answer to the webhook. */
  finished(): Promise<number>;
}

/** Starts both processes before their first step. */
async function stage(): Promise<Staged> {
  const transaction = nextTransaction();
  const script = await startScriptedProvider(() => acceptance(transaction));
  const providers = new Map([["lipana", openProvider("lipana", script.url)]]);
  const { event, payment } = await store.open(draftOf({ provider: "lipana" }));
  if (!payment) throw new Error("nothing was opened");
  const secrets = {
    webhook: createUrlSecrets([testSecret], "webhook"),
    return: createUrlSecrets([testSecret], "return"),
  };

  const initiating = createSteps();
  const initiator = createInitiator({
    providers,
    store: { ...store, advance: initiating.step(store.advance) },
    secrets,
    onReference: redeliver(providers, initiating).applyParked,
    publicUrl: () => "https://pay.example",
    log: silent,
  });
  const stored = initiator.start(payment).finally(initiating.end);

  const taking = createSteps();
  const app = Fastify();
  onTestFinished(() => app.close());
  handleErrors(app);
  const receiver = createReceiver({
    check: async () => undefined,
    providers,
    store: { ...store, locate: taking.step(store.locate) },
    inbox: { ...inbox, insert: taking.step(inbox.insert) },
    isDatabaseUp: async () => true,
    applyParked: redeliver(providers, taking).applyParked,
    log: silent,
  });
  onTestFinished(receiver.close);
  webhookRoutes(app, { providers, secrets: secrets.webhook, receiver, isBlocked: () => false });
  const { headers, body: payload } = lipanaWebhook(transaction);
  const taken = app.inject({ method: "POST", url: "/webhooks/lipana", headers, payload }).finally(taking.end);

  return {
    orderId: event.orderId,
    transaction,
    initiating,
    taking,
    finished: async () => {
      const [{ statusCode }] = await Promise.all([taken, stored]);
      return statusCode;
    },
  };
}

type Turn = "store" | "take" | "both";

/** All interleavings of the two nodes' steps, including simultaneous steps. */
function turnsOf(stores: number, takes: number): Turn[][] {
  if (stores === 0 && takes === 0) return [[]];
  const first = (turn: Turn, rest: Turn[][]): Turn[][] => rest.map((turns) => [turn, ...turns]);
  return [
    ...(stores > 0 ? first("store", turnsOf(stores - 1, takes)) : []),
    ...(takes > 0 ? first("take", turnsOf(stores, takes - 1)) : []),
    ...(stores > 0 && takes > 0 ? first("both", turnsOf(stores - 1, takes - 1)) : []),
  ];
}

async function runTurns({ initiating, taking }: Staged, turns: readonly Turn[]): Promise<void> {
  for (const turn of turns) {
    await Promise.all([...(turn === "take" ? [] : [initiating.next()]), ...(turn === "store" ? [] : [taking.next()])]);
  }
}

const storeSteps = 2;
const takeSteps = 4;

describe("two nodes, of which one stores the reference while the other takes the webhook", () => {
  const orders = turnsOf(storeSteps, takeSteps);

  it("have 41 interleavings", () => {
    // The Delannoy number D(2, 4) counts paths of single and simultaneous steps.
    expect(new Set(orders.map((turns) => turns.join())).size).toBe(41);
  });

  it.each(orders.map((turns) => [turns.join(" "), turns] as const))(
    "pay the order once in the order %s (G6)",
    async (_, turns) => {
      const staged = await stage();
      await runTurns(staged, turns);
      expect(await staged.finished()).toBe(200);
      const { statuses, reference } = await historyOf(staged.orderId);
      expect({ statuses, reference }).toEqual({
        statuses: ["pending", "processing", "succeeded"],
        reference: staged.transaction.reference,
      });
      expect(await webhookResults(staged.transaction)).toEqual([
        { result: expect.stringMatching(/^(applied|repeat)$/), waits: false },
      ]);
    },
  );
});

describe("a webhook parked by a node that dies", () => {
  /** A live node whose sweep finds the webhook. Lipana's query keeps reporting an open payment. */
  async function startSweeping({ reference }: Transaction): Promise<TestNode> {
    const script = await startScriptedProvider(() => ({
      body: { transactionId: reference, amount: 150, status: "pending" },
    }));
    return startNode({ databaseUrl, env: providerEnv("lipana", script.url) });
  }

  it.each<[string, Turn[], ("initiating" | "taking")[]]>([
    ["the node that stored the reference dies before its lookup", ["take", "take", "take", "store"], ["initiating"]],
    ["the node that parked the webhook dies before its second lookup", ["take", "store", "store", "take"], ["taking"]],
    ["both nodes die, each before it looks for the other's work", ["take", "take", "store"], ["initiating", "taking"]],
    [
      "both nodes die, each before it looks for parked webhooks",
      ["take", "store", "take", "take"],
      ["initiating", "taking"],
    ],
  ])("is applied by another node after %s (G1)", async (_, turns, dying) => {
    const staged = await stage();
    await runTurns(staged, turns);
    for (const node of dying) staged[node].kill();
    for (const node of ["initiating", "taking"] as const) {
      if (!dying.includes(node)) for (let step = 0; step < takeSteps; step += 1) await staged[node].next();
    }
    await staged.finished();
    expect(await webhookResults(staged.transaction)).toEqual([{ result: "unmatched", waits: true }]);
    expect((await historyOf(staged.orderId)).statuses).toEqual(["pending", "processing"]);
    await makeDue(staged.transaction);
    await startSweeping(staged.transaction);
    await vi.waitUntil(async () => (await webhookResults(staged.transaction)).every(({ waits }) => !waits));
    expect(await historyOf(staged.orderId)).toEqual({
      statuses: ["pending", "processing", "succeeded"],
      reference: staged.transaction.reference,
    });
  });
});

describe("two complete nodes", () => {
  interface Whole {
    initiating: TestNode;
    taking: TestNode;
    transaction: Transaction;
    orderId: string;
    /** Releases Lipana's answer to the push. */
    answer(answer: ScriptedAnswer | "drop"): void;
    /** Posts the webhook to the node that did not initiate. */
    post(): Promise<number>;
    state(): Promise<string>;
  }

  /** Starts a payment whose push Lipana has not answered. */
  async function startWhole(nodes: { initiating: TestNode; taking: TestNode }, lipana: HeldLipana): Promise<Whole> {
    const transaction = nextTransaction();
    const { order } = await pay(nodes.initiating, { provider: "lipana" });
    const answer = await lipana.nextPush();
    return {
      ...nodes,
      transaction,
      orderId: order.orderId,
      answer,
      async post() {
        const { headers, body } = lipanaWebhook(transaction);
        return (await call(`${nodes.taking.url}/webhooks/lipana`, { method: "POST", headers, body })).status;
      },
      state: async () => (await asMerchant(nodes.taking, `/v1/orders/${order.orderId}`)).body.order.status,
    };
  }

  interface HeldLipana {
    url: string;
    /** The transactions in Lipana's list, all pending. */
    listed: { reference: string; accountReference: string }[];
    /** Waits for the next push and answers it. */
    nextPush(): Promise<Whole["answer"]>;
    /** The account reference of the last push. */
    accountReference(): string;
  }

  async function startLipana(): Promise<HeldLipana> {
    const pushes: Whole["answer"][] = [];
    const listed: HeldLipana["listed"] = [];
    let accountReference = "";
    const script = await startScriptedProvider(({ method, body }) => {
      if (method === "GET") {
        const transactions = listed.map(({ reference, accountReference }) => ({
          ...{ transactionId: reference, accountReference },
          ...{ amount: 150, status: "pending" },
        }));
        return { body: { transactions, pagination: { pages: 1 } } };
      }
      accountReference = String(body.accountReference);
      const answered = Promise.withResolvers<ScriptedAnswer | "drop">();
      pushes.push(answered.resolve);
      return answered.promise;
    });
    return {
      url: script.url,
      listed,
      accountReference: () => accountReference,
      nextPush: () => vi.waitUntil(() => pushes.shift(), { interval: 2 }),
    };
  }

  async function startNodes(lipana: HeldLipana): Promise<{ initiating: TestNode; taking: TestNode }> {
    const env = providerEnv("lipana", lipana.url);
    const [initiating, taking] = [await startNode({ databaseUrl, env }), await startNode({ databaseUrl, env })];
    return { initiating, taking };
  }

  const paid = ["pending", "processing", "succeeded"];

  it("park a webhook that arrives before the reply, and apply it after the reply", async () => {
    const lipana = await startLipana();
    const whole = await startWhole(await startNodes(lipana), lipana);
    expect(await whole.post()).toBe(200);
    expect(await whole.state()).toBe("pending");
    expect(await webhookResults(whole.transaction)).toEqual([{ result: "unmatched", waits: true }]);
    whole.answer(acceptance(whole.transaction));
    await vi.waitUntil(async () => (await whole.state()) === "succeeded", { timeout: 4_000, interval: 10 });
    expect(await historyOf(whole.orderId)).toEqual({ statuses: paid, reference: whole.transaction.reference });
  });

  it("lose no webhook that arrives at the same time as the reply, in 20 runs", async () => {
    const lipana = await startLipana();
    const nodes = await startNodes(lipana);
    for (let round = 0; round < 20; round += 1) {
      const whole = await startWhole(nodes, lipana);
      whole.answer(acceptance(whole.transaction));
      expect(await whole.post()).toBe(200);
      await vi.waitUntil(async () => (await whole.state()) === "succeeded", { timeout: 4_000, interval: 5 });
      expect(await historyOf(whole.orderId)).toEqual({ statuses: paid, reference: whole.transaction.reference });
    }
  });

  it("park a webhook whose payment's reply is lost, and apply it when the list shows the reference", async () => {
    const lipana = await startLipana();
    const whole = await startWhole(await startNodes(lipana), lipana);
    expect(await whole.post()).toBe(200);
    whole.answer("drop");
    await vi.waitUntil(() => whole.initiating.log.some((line) => line.includes("provider.initiate.unknown")));
    expect(await whole.state()).toBe("pending");
    lipana.listed.push({ reference: whole.transaction.reference, accountReference: lipana.accountReference() });
    await database.pool.query("update payment set check_at = clock_timestamp() where status = 'pending'");
    await vi.waitUntil(async () => (await whole.state()) === "succeeded", { interval: 10 });
    expect(await historyOf(whole.orderId)).toEqual({ statuses: paid, reference: whole.transaction.reference });
    expect(await webhookResults(whole.transaction)).toEqual([{ result: "applied", waits: false }]);
  });
});
