/**
 * Random histories of bKash payments whose payers approve and return. Execute moves the money. It is sent at most once per
 * payment, whatever returns arrive and whatever parts fail.
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import { describe, expect, it, vi } from "vitest";
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

/** Payments with an Execute of unknown result. Neither deadline nor payer ends them. */
const unknownExecutions = new Set<string>();

interface Return {
  node: NodeName;
  status: "success" | "cancel" | "failure" | "nonsense";
}

interface ReturnInput {
  slot: number;
  attempt: number;
  /** The concurrent returns. */
  returns: Return[];
  hasApproved: boolean;
  execution: Execution;
  /** bKash's query answers: the true state (`open`), none (`down`), or an unknown status (`nothing`). */
  queries: "open" | "down" | "nothing";
}

const returnAs = (input: ReturnInput): Command =>
  command(
    "return",
    { ...input, returns: input.returns.map(({ node, status }) => `${status}@${node}`) },
    {
      check: ({ orders }) => orders.length > 0,
      async run(model, world) {
        const order = pick(model.orders, input.slot);
        const payment = pick(order.payments, input.attempt);
        const checkout = world.checkout(payment.id);
        const { executions } = checkout;
        const executes = payment.status === "processing" && executions === 0 && includes(input, "success");
        Object.assign(checkout, { hasApproved: input.hasApproved, execution: input.execution });
        world.setAnswer(payment.id, input.queries);
        const send = ({ node, status }: Return) => world.recordReturn(node, payment.path, status);
        for (const { status } of await Promise.all(input.returns.map(send))) assert.equal(status, 200);

        // Of concurrent returns with success and with failure, the first one decides.
        const isDeclinedFirst = executes && isDeclined(input) && checkout.executions === executions;
        assert.equal(checkout.executions, executions + (executes && !isDeclinedFirst ? 1 : 0), payment.id);
        // A payment that has ended causes no query.
        if (payment.status !== "processing") assert(!executes);
        else await applyReturn(model, world, { order, payment, input, executes, isDeclinedFirst });
        await compare(world, order);
      },
    },
  );

const includes = ({ returns }: ReturnInput, ...words: Return["status"][]): boolean =>
  returns.some(({ status }) => words.includes(status));

/** Whether a return reports a failure that a query can confirm. */
const isDeclined = (input: ReturnInput): boolean => includes(input, "cancel", "failure") && input.queries === "open";

interface Returned {
  order: ModelOrder;
  payment: ModelPayment;
  input: ReturnInput;
  executes: boolean;
  isDeclinedFirst: boolean;
}

async function applyReturn(
  model: Model,
  world: World,
  { order, payment, input, executes, isDeclinedFirst }: Returned,
): Promise<void> {
  const checkout = world.checkout(payment.id);
  const evidence = isDeclinedFirst ? declined : evidenceOf(payment, checkout, { ...input, executes });
  if (evidence) apply(model, order, payment, evidence);
  else if (executes && input.queries !== "open") await freezeExecution(world, payment);
  else if (isDeclined(input) && !unknownExecutions.has(payment.id)) {
    const { status } = (await world.merchant("a", `/v1/orders/${order.orderId}`)).body.order;
    if (!executes || status === "failed") apply(model, order, payment, declined);
  }
}

const declined: Evidence = { status: "failed" };

/** The evidence from Execute, or else from the query. */
function evidenceOf(
  payment: ModelPayment,
  { isPaid }: Checkout,
  {
    executes,
    hasApproved,
    execution,
    queries,
  }: Pick<ReturnInput, "hasApproved" | "execution" | "queries"> & { executes: boolean },
): Evidence | undefined {
  if (executes && hasApproved && execution === "refuses") return declined;
  const isReported = (executes && hasApproved && execution === "takes") || queries === "open";
  return isPaid && isReported ? paidOf(payment) : undefined;
}

/** Extends the minute in which an Execute of unknown result may still succeed, until another command ends it. */
async function freezeExecution(world: World, { id }: ModelPayment): Promise<void> {
  unknownExecutions.add(id);
  await world.query("update payment set completing_at = 'infinity' where id = $1", [id]);
}

const status = fc.constantFrom<Return["status"]>("success", "success", "success", "cancel", "failure", "nonsense");

const recordReturn = fc
  .record({
    slot: fc.nat(3),
    attempt: fc.nat(3),
    returns: fc.array(fc.record({ node: nodes, status }), { minLength: 1, maxLength: 4 }),
    hasApproved: fc.constantFrom(true, true, true, false),
    execution: fc.constantFrom<Execution>("takes", "takes", "refuses", "loses", "keeps"),
    queries: fc.constantFrom("open" as const, "open" as const, "down" as const, "nothing" as const),
  })
  .map(returnAs);

const meanwhiles = ["success", "cancel", "deadline", "kill", "postgres"] as const;

interface ExecutionInput {
  slot: number;
  meanwhile: (typeof meanwhiles)[number];
}

/** Something happens while the Execute of an approved payment is in flight. The Execute succeeds. */
const duringExecutionAs = (input: ExecutionInput): Command =>
  command("execution", input, {
    check: ({ orders }) => orders.some(isWaiting),
    async run(model, world) {
      const order = pick(model.orders.filter(isWaiting), input.slot);
      const payment = pick(order.payments, order.payments.length - 1);
      const checkout = world.checkout(payment.id);
      if (checkout.executions > 0) return;
      const { promise: isFree, resolve: release } = Promise.withResolvers<void>();
      Object.assign(checkout, { hasApproved: true, execution: "takes", isFree });
      world.setAnswer(payment.id, "open");
      const back = (node: NodeName, status: string) => world.recordReturn(node, payment.path, status);
      const first = back("b", "success");
      await vi.waitUntil(() => checkout.executions > 0, { interval: 5 });
      if (input.meanwhile === "success" || input.meanwhile === "cancel") {
        await Promise.all([back("a", input.meanwhile), back("b", input.meanwhile)]);
      }
      if (input.meanwhile === "deadline") await reachDeadline(world, payment);
      const broken =
        input.meanwhile === "kill" ? world.kill() : input.meanwhile === "postgres" ? world.breakPostgres() : undefined;
      release();
      await Promise.all([first, broken]);
      // A query finds a result that was not stored.
      if (broken) await back("a", "success");
      apply(model, order, payment, paidOf(payment));
      await compare(world, order);
      assert.equal(checkout.executions, 1);
    },
  });

const isWaiting = ({ status }: ModelOrder): boolean => status === "processing";

const duringExecution = fc
  .record({ slot: fc.nat(3), meanwhile: fc.constantFrom(...meanwhiles) })
  .map(duringExecutionAs);

/** Moves the payment's deadline to now and waits for the query. */
async function reachDeadline(world: World, { id }: ModelPayment): Promise<void> {
  const before = world.queryCount(id);
  await world.query("update payment set expires_at = clock_timestamp(), check_at = clock_timestamp() where id = $1", [
    id,
  ]);
  await vi.waitUntil(() => world.queryCount(id) > before, { interval: 10 });
}

interface QueryInput {
  slot: number;
  attempt: number;
  isOver: boolean;
}

const queryAs = (input: QueryInput): Command =>
  command("query", input, {
    check: ({ orders }) => orders.length > 0,
    async run(model, world) {
      const order = pick(model.orders, input.slot);
      const payment = pick(order.payments, input.attempt);
      if (!payment.hasReference || !isOpen(payment)) return;
      world.setAnswer(payment.id, "open");
      const isOver = input.isOver && payment.status === "processing";
      if (isOver) {
        // The minute of an Execute is over too.
        await world.query(
          "update payment set completing_at = least(completing_at, clock_timestamp()) - interval '1 minute' where id = $1 and completing_at is not null",
          [payment.id],
        );
        unknownExecutions.delete(payment.id);
        await reachDeadline(world, payment);
      } else await world.checkNow(payment.id, { ageS: 31 });
      if (world.checkout(payment.id).isPaid) apply(model, order, payment, paidOf(payment));
      else if (isOver) apply(model, order, payment, { status: "expired" });
      await compare(world, order);
    },
  });

const query = fc.record({ slot: fc.nat(3), attempt: fc.nat(3), isOver: fc.boolean() }).map(queryAs);

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
  duringExecution,
  query,
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

const everywhere = (status: Return["status"]): Return[] => [
  { node: "a", status },
  { node: "b", status },
  { node: "a", status },
];

const back = (slot: number, status: Return["status"], fields: Partial<ReturnInput> = {}): Command =>
  returnAs({
    slot,
    attempt: 0,
    returns: everywhere(status),
    hasApproved: true,
    execution: "takes",
    queries: "open",
    ...fields,
  });

/** Every kind of return, and every event during an Execute. */
const everyReturn = (): fc.Arbitrary<Iterable<Command>> =>
  fc.tuple(watchIt, watchIt).map(([one, other]) => [
    created(0),
    one,
    back(0, "nonsense"),
    back(0, "success"),
    back(0, "success"),
    back(0, "cancel"),
    // A forged return, a true cancellation, another attempt, and a refused Execute.
    created(1),
    back(1, "cancel", { queries: "nothing" }),
    back(1, "success", { hasApproved: false }),
    back(1, "cancel"),
    back(1, "success"),
    created(1, "refuse"),
    created(1),
    back(1, "success"),
    back(1, "success", { attempt: 2, execution: "refuses" }),
    back(1, "success", { attempt: 2 }),
    // Neither Execute nor query is answered: a return with cancel must not end the payment.
    created(2),
    back(2, "success", { execution: "loses", queries: "down" }),
    back(2, "cancel", { queries: "down" }),
    back(2, "success"),
    created(3),
    other,
    back(3, "success", { execution: "keeps", queries: "nothing" }),
    back(3, "cancel"),
    queryAs({ slot: 3, attempt: 0, isOver: true }),
    back(3, "success"),
    created(4),
    back(4, "success", { execution: "loses" }),
    created(5),
    back(5, "success", { returns: [...everywhere("success"), ...everywhere("cancel")] }),
    ...meanwhiles.flatMap((meanwhile, index) => [created(6 + index), duringExecutionAs({ slot: 0, meanwhile })]),
  ]);

async function checkExecutions(model: Model, world: World): Promise<void> {
  for (const { id } of model.orders.flatMap(({ payments }) => payments)) {
    assert(world.checkout(id).executions <= 1, `${id} has ${world.checkout(id).executions} Execute requests`);
  }
  await check(model, world);
}

describe("a random history of bKash payments", () => {
  it("executes each payment at most once and ends as in the model (G10)", { timeout }, async () => {
    await runHistories((isLong) => ({
      first: everyReturn(),
      commands: commandsOf(isLong),
      check: checkExecutions,
      shortMs: 3_000,
    }));
    expect(ran.get("return")).toBeGreaterThan(0);
  });
});
