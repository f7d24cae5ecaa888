/**
 * Random histories of payments whose payer agrees on bKash's page and comes back: the money is taken at Execute, which is
 * sent once in a payment's life at the most, whoever comes back, how often, saying what, and whatever breaks meanwhile.
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import { expect, it, vi } from "vitest";
import {
  breakPostgres,
  type Command,
  check,
  command,
  compare,
  disconnect,
  kill,
  nodes,
  payAs,
  pick,
  ran,
  reconnect,
  restart,
  restartRedis,
  watchIt,
} from "./command.ts";
import { runHistories, timeout } from "./history.ts";
import { apply, type Evidence, isOpen, type Model, type ModelOrder, type ModelPayment, receiptOf } from "./model.ts";
import type { Checkout, Execution, NodeName, World } from "./world.ts";

const paidOf = (payment: ModelPayment): Evidence => ({
  status: "succeeded",
  states: "full",
  receipt: receiptOf(payment),
});

/** Its money may have been taken, and nobody knows: neither clock nor payer ends it. */
const unsure = new Set<string>();

interface Return {
  node: NodeName;
  says: "success" | "cancel" | "failure" | "nonsense";
}

interface Coming {
  slot: number;
  attempt: number;
  /** All at once. */
  returns: Return[];
  hasAgreed: boolean;
  execution: Execution;
  /** How bKash answers queries: as it is (`open`), not at all, or with nothing that is known to mean anything. */
  queries: "open" | "down" | "nothing";
}

const cameBackAs = (told: Coming): Command =>
  command(
    "return",
    { ...told, returns: told.returns.map(({ node, says }) => `${says}@${node}`) },
    {
      check: ({ orders }) => orders.length > 0,
      async run(model, world) {
        const order = pick(model.orders, told.slot);
        const payment = pick(order.payments, told.attempt);
        const checkout = world.checkout(payment.id);
        const { executions } = checkout;
        const says = (...words: string[]): boolean => told.returns.some((one) => words.includes(one.says));
        const executes = payment.status === "processing" && executions === 0 && says("success");
        Object.assign(checkout, { hasAgreed: told.hasAgreed, execution: told.execution });
        world.say(payment.id, told.queries);
        const isMute = told.queries !== "open";
        const send = ({ node, says: word }: Return) => world.recordReturn(node, payment.path, word);
        for (const { status } of await Promise.all(told.returns.map(send))) assert.equal(status, 200);

        // Who says at once that they agreed and that they did not is believed in what comes first.
        const isDenied = says("cancel", "failure") && !isMute;
        const isForestalled = executes && isDenied && checkout.executions === executions;
        assert.equal(checkout.executions, executions + (executes && !isForestalled ? 1 : 0), payment.id);
        const evidence = isForestalled ? denied : evidenceOf(payment, checkout, { ...told, executes });
        // Once it is settled, nobody even asks.
        if (payment.status !== "processing") assert(!executes);
        else if (evidence) apply(model, order, payment, evidence);
        else if (executes && isMute) await forgetTime(world, payment);
        else if (isDenied && !unsure.has(payment.id)) {
          const { status } = (await world.merchant("a", `/v1/orders/${order.orderId}`)).body.order;
          if (!executes || status === "failed") apply(model, order, payment, denied);
        }
        await compare(world, order);
      },
    },
  );

const denied: Evidence = { status: "failed" };

/** What Execute, or else the query, tells of a payment. */
function evidenceOf(
  payment: ModelPayment,
  { isPaid }: Checkout,
  {
    executes,
    hasAgreed,
    execution,
    queries,
  }: Pick<Coming, "hasAgreed" | "execution" | "queries"> & { executes: boolean },
): Evidence | undefined {
  if (executes && hasAgreed && execution === "refuses") return denied;
  const isTold = (executes && hasAgreed && execution === "takes") || queries === "open";
  return isPaid && isTold ? paidOf(payment) : undefined;
}

/** The minute in which an execution whose end is not known may still end lasts until a command lets it pass. */
async function forgetTime(world: World, { id }: ModelPayment): Promise<void> {
  unsure.add(id);
  await world.query("update payment set completing_at = 'infinity' where id = $1", [id]);
}

const says = fc.constantFrom<Return["says"]>("success", "success", "success", "cancel", "failure", "nonsense");

const recordReturn = fc
  .record({
    slot: fc.nat(3),
    attempt: fc.nat(3),
    returns: fc.array(fc.record({ node: nodes, says }), { minLength: 1, maxLength: 4 }),
    hasAgreed: fc.constantFrom(true, true, true, false),
    execution: fc.constantFrom<Execution>("takes", "takes", "refuses", "loses", "keeps"),
    queries: fc.constantFrom("open" as const, "open" as const, "down" as const, "nothing" as const),
  })
  .map(cameBackAs);

const meanwhiles = ["success", "cancel", "deadline", "kill", "postgres"] as const;

interface Staging {
  slot: number;
  meanwhile: (typeof meanwhiles)[number];
}

/** While bKash moves the money of an approved payment, which it does, something else happens. */
const whileTakingAs = (told: Staging): Command =>
  command("taking", told, {
    check: ({ orders }) => orders.some(isWaiting),
    async run(model, world) {
      const order = pick(model.orders.filter(isWaiting), told.slot);
      const payment = pick(order.payments, order.payments.length - 1);
      const checkout = world.checkout(payment.id);
      if (checkout.executions > 0) return;
      const { promise: isFree, resolve: release } = Promise.withResolvers<void>();
      Object.assign(checkout, { hasAgreed: true, execution: "takes", isFree });
      world.say(payment.id, "open");
      const back = (node: NodeName, word: string) => world.recordReturn(node, payment.path, word);
      const first = back("b", "success");
      await vi.waitUntil(() => checkout.executions > 0, { interval: 5 });
      if (told.meanwhile === "success" || told.meanwhile === "cancel") {
        await Promise.all([back("a", told.meanwhile), back("b", told.meanwhile)]);
      }
      if (told.meanwhile === "deadline") await endTime(world, payment);
      const broken =
        told.meanwhile === "kill" ? world.kill() : told.meanwhile === "postgres" ? world.breakPostgres() : undefined;
      release();
      await Promise.all([first, broken]);
      // What was not stored is found by asking.
      if (broken) await back("a", "success");
      apply(model, order, payment, paidOf(payment));
      await compare(world, order);
      assert.equal(checkout.executions, 1);
    },
  });

const isWaiting = ({ status }: ModelOrder): boolean => status === "processing";

const whileTaking = fc.record({ slot: fc.nat(3), meanwhile: fc.constantFrom(...meanwhiles) }).map(whileTakingAs);

/** Its time is over, and bKash is asked about it. */
async function endTime(world: World, { id }: ModelPayment): Promise<void> {
  const before = world.questions(id);
  await world.query("update payment set expires_at = clock_timestamp(), check_at = clock_timestamp() where id = $1", [
    id,
  ]);
  await vi.waitUntil(() => world.questions(id) > before, { interval: 10 });
}

interface Asking {
  slot: number;
  attempt: number;
  isOver: boolean;
}

const askedAs = (told: Asking): Command =>
  command("asked", told, {
    check: ({ orders }) => orders.length > 0,
    async run(model, world) {
      const order = pick(model.orders, told.slot);
      const payment = pick(order.payments, told.attempt);
      if (!payment.hasReference || !isOpen(payment)) return;
      world.say(payment.id, "open");
      const isOver = told.isOver && payment.status === "processing";
      if (isOver) {
        // And so is the minute of an execution.
        await world.query(
          "update payment set completing_at = least(completing_at, clock_timestamp()) - interval '1 minute' where id = $1 and completing_at is not null",
          [payment.id],
        );
        unsure.delete(payment.id);
        await endTime(world, payment);
      } else await world.ask(payment.id, { ageS: 31 });
      if (world.checkout(payment.id).isPaid) apply(model, order, payment, paidOf(payment));
      else if (isOver) apply(model, order, payment, { status: "expired" });
      await compare(world, order);
    },
  });

const asked = fc.record({ slot: fc.nat(3), attempt: fc.nat(3), isOver: fc.boolean() }).map(askedAs);

const created = (slot: number, reply: "accept" | "refuse" = "accept"): Command =>
  payAs({ slot, provider: "bkash", reply, node: slot % 2 ? "b" : "a" });

const create = fc
  .record({
    slot: fc.nat(3),
    provider: fc.constant("bkash" as const),
    reply: fc.constantFrom("accept" as const, "accept" as const, "accept" as const, "refuse" as const),
    node: nodes,
  })
  .map(payAs);

const often = [
  create,
  create,
  create,
  recordReturn,
  recordReturn,
  recordReturn,
  recordReturn,
  whileTaking,
  asked,
  watchIt,
  disconnect,
  reconnect,
];

const commandsOf = (isLong: boolean): fc.Arbitrary<Command>[] => [
  ...often,
  ...(isLong ? [] : [...often, ...often, ...often, ...often]),
  kill,
  restart,
  restartRedis,
  breakPostgres,
];

const everywhere = (word: Return["says"]): Return[] => [
  { node: "a", says: word },
  { node: "b", says: word },
  { node: "a", says: word },
];

const back = (slot: number, word: Return["says"], particulars: Partial<Coming> = {}): Command =>
  cameBackAs({
    slot,
    attempt: 0,
    returns: everywhere(word),
    hasAgreed: true,
    execution: "takes",
    queries: "open",
    ...particulars,
  });

/** Every way to come back, and everything that can happen while the money moves. */
const everyReturn = (): fc.Arbitrary<Iterable<Command>> =>
  fc.tuple(watchIt, watchIt).map(([one, other]) => [
    created(0),
    one,
    back(0, "nonsense"),
    back(0, "success"),
    back(0, "success"),
    back(0, "cancel"),
    // Typed by hand; then the payer cancels indeed, tries again, and has too little.
    created(1),
    back(1, "cancel", { queries: "nothing" }),
    back(1, "success", { hasAgreed: false }),
    back(1, "cancel"),
    back(1, "success"),
    created(1, "refuse"),
    created(1),
    back(1, "success"),
    back(1, "success", { attempt: 2, execution: "refuses" }),
    back(1, "success", { attempt: 2 }),
    // No answer, and nobody to ask: not even a cancel ends it then.
    created(2),
    back(2, "success", { execution: "loses", queries: "down" }),
    back(2, "cancel", { queries: "down" }),
    back(2, "success"),
    created(3),
    other,
    back(3, "success", { execution: "keeps", queries: "nothing" }),
    back(3, "cancel"),
    askedAs({ slot: 3, attempt: 0, isOver: true }),
    back(3, "success"),
    created(4),
    back(4, "success", { execution: "loses" }),
    created(5),
    back(5, "success", { returns: [...everywhere("success"), ...everywhere("cancel")] }),
    ...meanwhiles.flatMap((meanwhile, index) => [created(6 + index), whileTakingAs({ slot: 0, meanwhile })]),
  ]);

async function checkExecutions(model: Model, world: World): Promise<void> {
  for (const { id } of model.orders.flatMap(({ payments }) => payments)) {
    assert(world.checkout(id).executions <= 1, `${id} was executed ${world.checkout(id).executions} times`);
  }
  await check(model, world);
}

it("every payer's money is taken once at the most, and every history ends as the model says", { timeout }, async () => {
  await runHistories((isLong) => ({
    first: everyReturn(),
    commands: commandsOf(isLong),
    check: checkExecutions,
    shortMs: 3_000,
  }));
  expect(ran.get("return")).toBeGreaterThan(0);
});
