/** The commands of the histories. Each acts on the model and on the real system, and compares both. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import fc from "fast-check";
import { vi } from "vitest";
import type { Status, StatusEvent } from "../../client-sdk/protocol.ts";
import { createUrlSecrets } from "../../server/auth/keys.ts";
import { type Answer, testSecret } from "../support/node.ts";
import { type TransportName, transportNames } from "../support/watch.ts";
import {
  apply,
  type Decision,
  decide,
  decisions,
  type Evidence,
  isAbove,
  isChecked,
  isConfirmed,
  isOpen,
  isRetryable,
  type Model,
  type ModelOrder,
  type ModelPayment,
  type ModelProvider,
  providersOf,
  type QueryState,
  receiptOf,
} from "./model.ts";
import {
  bodyFor,
  type NodeName,
  type QueryAnswer,
  type Reply,
  type World,
  type WorldWatcher,
  webhookOf,
} from "./world.ts";

export type Command = fc.AsyncCommand<Model, World>;

/** Number of runs per command. Tests check it, because a history without commands proves nothing. */
export const ran = new Map<string, number>();

/** Creates a command. Its name and input describe it in the output of a failing run. */
export function command(
  name: string,
  input: object,
  {
    check = () => true,
    run,
  }: { check?: (model: Readonly<Model>) => boolean; run(model: Model, world: World): Promise<void> },
): Command {
  return {
    check,
    async run(model, world) {
      ran.set(name, (ran.get(name) ?? 0) + 1);
      await run(model, world);
    },
    toString: () => `${name}(${Object.values(input).join(" ")})`,
  };
}

export const pick = <T>(list: readonly T[], index: number): T => {
  const found = list[index % Math.max(1, list.length)];
  assert(found !== undefined, "the command's check ensures that the list is not empty");
  return found;
};

/** Waits until the real order has the model's version, and checks that it equals the model. */
export async function compare(world: World, order: ModelOrder, node: NodeName = "a"): Promise<StatusEvent> {
  const found = async (): Promise<StatusEvent> =>
    (await world.merchant(node, `/v1/orders/${order.orderId}`)).body.order;
  let last: StatusEvent | undefined;
  await vi
    .waitUntil(
      async () => {
        last = await found();
        return last.version >= order.version;
      },
      { interval: 20 },
    )
    .catch(() => undefined);
  const { version, status, payment, alsoPaid = [] } = last ?? (await found());
  const expected = { version: order.version, status: order.status, payment: order.shown, alsoPaid: order.alsoPaid };
  assert.deepEqual({ version, status, payment: payment.id, alsoPaid }, expected, order.orderId);
  return last ?? (await found());
}

export const nodes = fc.constantFrom<NodeName>("a", "b");

interface PayInput {
  slot: number;
  provider: ModelProvider;
  reply: Reply;
  node: NodeName;
}

export const payAs = (input: PayInput): Command =>
  command("pay", input, {
    async run(model, world) {
      const known = model.orders[input.slot];
      const provider = known?.provider ?? input.provider;
      const orderId = known?.orderId ?? `MODEL-${randomUUID()}`;
      world.nextReply = input.reply;
      const answer = await world.merchant(input.node, "/v1/payments", bodyFor(provider, orderId), {
        "idempotency-key": randomUUID(),
      });
      if (known && !isRetryable(known)) {
        assert.deepEqual([answer.status, answer.body.code], [409, refusalCodes[known.status] ?? "payment_in_progress"]);
        return;
      }
      assert.equal(answer.status, 202, JSON.stringify(answer.body));
      const { order: event, watchToken } = answer.body;
      const { path, reference, release } = await world.initiation(event.payment.id);
      const payment = newPayment({ id: event.payment.id, provider, path, reference });
      const order = known ?? newOrder({ id: event.id, orderId, token: watchToken, provider });
      if (!known) model.orders.push(order);
      order.payments.push(payment);
      Object.assign(order, { version: order.version + 1, status: "pending", shown: payment.id });
      await applyReply(model, world, { order, payment, release, ...input });
    },
  });

/** The problem codes of a refused payment. Any other status gets `payment_in_progress`. */
const refusalCodes: Partial<Record<Status, string>> = { succeeded: "order_paid", review: "order_in_review" };

const newPayment = (fields: Pick<ModelPayment, "id" | "provider" | "path" | "reference">): ModelPayment => ({
  ...fields,
  status: "pending",
  hasReference: false,
  isAmountKnown: false,
  hasMismatch: false,
  isRejected: false,
});

const newOrder = (fields: Pick<ModelOrder, "id" | "orderId" | "token" | "provider">): ModelOrder => ({
  ...fields,
  status: "pending",
  version: 0,
  payments: [],
  shown: "",
  alsoPaid: [],
});

interface Replied extends Pick<PayInput, "reply" | "node"> {
  order: ModelOrder;
  payment: ModelPayment;
  release(): void;
}

/** Applies the provider's reply. A held reply is overtaken by the webhook. */
async function applyReply(
  model: Model,
  world: World,
  { order, payment, reply, node, release }: Replied,
): Promise<void> {
  if (reply === "hold") {
    await post(model, world, { order, payment, kind: "paid", nodes: [node] });
    await compare(world, order, node);
    await world.unspooled();
    release();
  }
  if (reply === "accept" || reply === "hold") {
    apply(model, order, payment, { status: "processing" });
    payment.hasReference = true;
  }
  if (reply === "refuse") apply(model, order, payment, { status: "failed" });
  await compare(world, order, node);
  // Waits for the end of a held reply, so that no later command runs beside it.
  if (reply === "hold") await untilReferenced(world, order, payment);
}

const pay = fc
  .record({
    slot: fc.nat(3),
    provider: fc.constantFrom<ModelProvider>("daraja", "zenopay"),
    reply: fc.constantFrom<Reply>("accept", "accept", "accept", "refuse", "drop", "hold"),
    node: nodes,
  })
  .map(payAs);

const untilReferenced = (world: World, order: ModelOrder, { id, reference }: ModelPayment): Promise<unknown> =>
  vi.waitUntil(
    async () =>
      (await world.merchant("a", `/v1/orders/${order.orderId}`)).body.payments.some(
        (one) => one.id === id && one.reference === reference,
      ),
    { interval: 20 },
  );

interface Posted {
  order: ModelOrder;
  payment: ModelPayment;
  kind: "paid" | "wrong" | "bare" | "cancelled" | "timeout" | "reused";
  nodes: NodeName[];
}

/** Posts a webhook to each of these nodes at once, and applies it to the model once. */
async function post(model: Model, world: World, posted: Posted): Promise<void> {
  const { payment, kind } = posted;
  const receipt = (kind === "reused" && receiptOfAnother(model, payment)) || receiptOf(payment);
  const webhook = webhookOf(payment, { kind: kind === "reused" ? "paid" : kind, receipt });
  if (payment.provider === "daraja") await postProven(model, world, { ...posted, receipt, webhook });
  else await postHint(model, world, { ...posted, receipt, webhook });
}

interface Prepared extends Posted {
  receipt: string;
  webhook: Parameters<World["deliver"]>[2];
}

const receiptOfAnother = (model: Model, { id, provider }: ModelPayment): string | undefined =>
  [...model.receipts].find(([key, owner]) => key.startsWith(provider) && owner !== id)?.[0].split(" ")[1];

async function deliverAll(world: World, { payment, nodes: targets, webhook }: Prepared): Promise<void> {
  const answers = await Promise.all(targets.map((node) => world.deliver(node, payment.path, webhook)));
  for (const { status } of answers) assert.equal(status, 200);
}

const statesOf = (kind: Posted["kind"]): "full" | "wrong" | "bare" =>
  kind === "wrong" || kind === "bare" ? kind : "full";

const isSuccess = (kind: Posted["kind"]): boolean => kind !== "cancelled" && kind !== "timeout";

/** Daraja's webhook is evidence. */
async function postProven(model: Model, world: World, prepared: Prepared): Promise<void> {
  const { order, payment, kind, receipt } = prepared;
  await deliverAll(world, prepared);
  payment.hasReference = true;
  const evidence: Evidence = isSuccess(kind)
    ? { status: "succeeded", states: statesOf(kind), ...(kind !== "bare" && { receipt }) }
    : { status: kind === "cancelled" ? "failed" : "expired" };
  apply(model, order, payment, evidence);
}

/** ZenoPay's webhook only causes a query, whose answer has the amount. */
async function postHint(model: Model, world: World, prepared: Prepared): Promise<void> {
  const { order, payment, kind, receipt } = prepared;
  const { amountMinor } = providersOf[payment.provider];
  const isReported = isChecked(payment) && isSuccess(kind) && kind !== "bare";
  if (isReported) {
    world.setAnswer(payment.id, { paidMinor: kind === "wrong" ? amountMinor + 100 : amountMinor, receipt });
  }
  await deliverAll(world, prepared);
  if (isSuccess(kind)) payment.hasReference = true;
  if (isReported) apply(model, order, payment, { status: "succeeded", states: statesOf(kind), receipt });
}

interface WebhookInput {
  slot: number;
  attempt: number;
  kind: Posted["kind"];
  nodes: NodeName[];
  meanwhile: string;
}

const webhookAs = (input: WebhookInput): Command =>
  command("webhook", input, {
    check: ({ orders }) => orders.length > 0,
    async run(model, world) {
      const order = pick(model.orders, input.slot);
      const payment = pick(order.payments, input.attempt);
      const cut = input.meanwhile === "postgres" ? world.breakPostgres() : undefined;
      if (input.meanwhile === "redis") await world.redis.stop();
      await post(model, world, { order, payment, ...input });
      await cut;
      await compare(world, order);
      await world.unspooled();
      if (input.meanwhile === "redis") await world.redis.restart();
    },
  });

const webhook = fc
  .record({
    slot: fc.nat(3),
    attempt: fc.nat(3),
    kind: fc.constantFrom<Posted["kind"]>("paid", "paid", "wrong", "bare", "cancelled", "timeout", "reused"),
    nodes: fc.array(nodes, { minLength: 1, maxLength: 5 }),
    meanwhile: fc.constantFrom("", "", "", "", "", "postgres", "redis"),
  })
  .map(webhookAs);

const forgeries = [
  "another secret",
  "another provider's secret",
  "the return's secret",
  "another payment's secret",
  "another reference",
  "no key",
] as const;

interface ForgeryInput {
  slot: number;
  how: (typeof forgeries)[number];
  node: NodeName;
}

const forgedAs = (input: ForgeryInput): Command =>
  command("forged", input, {
    check: ({ orders }) => orders.length > 0,
    async run(model, world) {
      const order = pick(model.orders, input.slot);
      const payment = pick(order.payments, order.payments.length - 1);
      const { provider, path, id } = payment;
      // A payment without a reference takes it from any sender that knows the URL.
      if (!payment.hasReference) return;
      const elsewhere = provider === "daraja" ? "zenopay" : "daraja";
      const sealed = (purpose: "webhook" | "return", owner: string): string =>
        `/webhooks/${provider}/${createUrlSecrets([testSecret], purpose).seal(owner, id)}`;
      const real = webhookOf(payment, { kind: "paid", receipt: "FORGED0001" });
      const unmatched = webhookOf(
        { ...payment, id: randomUUID(), reference: "ws_CO_of_another" },
        { kind: "paid", receipt: "FORGED0001" },
      );
      const other = pick(model.orders, input.slot + 1).payments[0];
      const otherPath = other?.provider === provider && other.id !== id && other.hasReference ? other.path : undefined;
      const tries: Record<
        (typeof forgeries)[number],
        [string, { headers: Record<string, string>; body: string }, number] | undefined
      > = {
        "another secret": [path.replace(/.$/, (digit) => (digit === "0" ? "1" : "0")), real, 401],
        "another provider's secret": [sealed("webhook", elsewhere), real, 401],
        "the return's secret": [sealed("return", provider), real, 401],
        "another payment's secret": otherPath === undefined ? undefined : [otherPath, real, 200],
        "another reference": [path, unmatched, 200],
        "no key":
          provider === "daraja"
            ? undefined
            : [path, webhookOf(payment, { kind: "paid", receipt: "FORGED0001", isSigned: false }), 200],
      };
      const chosen = tries[input.how];
      if (!chosen) return;
      const [to, message, status] = chosen;
      assert.equal((await world.deliver(input.node, to, message)).status, status);
      await compare(world, order, input.node);
    },
  });

const forged = fc.record({ slot: fc.nat(3), how: fc.constantFrom(...forgeries), node: nodes }).map(forgedAs);

interface HintInput {
  slot: number;
  attempt: number;
  answer: "paid" | "wrong" | "nothing" | "down" | "open";
  node: NodeName;
}

/** An unproven webhook, which only causes a query. */
const hintAs = (input: HintInput): Command =>
  command("confirm", input, {
    check: ({ orders }) => orders.length > 0,
    async run(model, world) {
      const order = pick(model.orders, input.slot);
      const payment = pick(order.payments, input.attempt);
      if (!payment.hasReference || !isChecked(payment)) return;
      const { answer, evidence } = confirmationOf(payment, input.answer);
      const before = world.queryCount(payment.id);
      world.setAnswer(payment.id, answer, evidence ? undefined : true);
      const hint =
        payment.provider === "daraja"
          ? webhookOf({ ...payment, reference: "ws_CO_of_another" }, { kind: "paid", receipt: "X" })
          : webhookOf(payment, { kind: "paid", receipt: "X", isSigned: false });
      assert.equal((await world.deliver(input.node, payment.path, hint)).status, 200);
      await vi.waitUntil(() => world.queryCount(payment.id) > before, { interval: 10 });
      if (evidence) apply(model, order, payment, evidence);
      await compare(world, order, input.node);
    },
  });

/** The provider's answer to the query, and its evidence if it is a success. Daraja's query has no amount. */
function confirmationOf(
  payment: ModelPayment,
  answer: HintInput["answer"],
): { answer: QueryAnswer; evidence?: Evidence } {
  if (answer === "nothing" || answer === "down" || answer === "open") return { answer };
  const receipt = receiptOf(payment);
  const { amountMinor } = providersOf[payment.provider];
  const isWrong = answer === "wrong";
  if (payment.provider === "daraja") {
    if (isWrong) return { answer: "nothing" };
    return { answer: { paidMinor: amountMinor, receipt }, evidence: { status: "succeeded", states: "bare" } };
  }
  // Only ZenoPay's query states an amount.
  if (isWrong && payment.provider !== "zenopay") return { answer: "nothing" };
  return {
    answer: { paidMinor: isWrong ? amountMinor + 100 : amountMinor, receipt },
    evidence: {
      status: "succeeded",
      states: isWrong ? "wrong" : "full",
      ...(payment.provider === "zenopay" && { receipt }),
    },
  };
}

const confirm = fc
  .record({
    slot: fc.nat(3),
    attempt: fc.nat(3),
    answer: fc.constantFrom<HintInput["answer"]>("paid", "wrong", "nothing", "down", "open"),
    node: nodes,
  })
  .map(hintAs);

type AnswerKind = "open" | "failed" | "failed otherwise" | "paid";

interface QueryInput {
  slot: number;
  attempt: number;
  /** The provider's answers, each to a query `afterS` seconds after the one before. */
  answers: TimedAnswer[];
}

interface TimedAnswer {
  kind: AnswerKind;
  afterS: number;
}

/** The evidence of an answer, and the provider's words for it. */
function answerOf(payment: ModelPayment, kind: AnswerKind): { evidence: Evidence; answer: QueryAnswer } {
  const { provider } = payment;
  if (kind === "open") return { evidence: { status: "processing" }, answer: kind };
  if (kind === "paid") {
    const receipt = receiptOf(payment);
    const answer = { paidMinor: providersOf[provider].amountMinor, receipt };
    const states = provider === "daraja" ? "bare" : "full";
    return { evidence: { status: "succeeded", states, ...(states === "full" && { receipt }) }, answer };
  }
  // Daraja's other failure is an unanswered prompt.
  const isExpiry = provider === "daraja" && kind === "failed otherwise";
  return { evidence: { status: isExpiry ? "expired" : "failed" }, answer: kind };
}

/** 31 s, because a failure must be confirmed 15 s later and then needs a prompt of at least 60 s. */
const promptAgeS = 31;

const queryAs = (input: QueryInput): Command =>
  command(
    "query",
    { ...input, answers: input.answers.map(({ kind, afterS }) => `${afterS} s ${kind}`) },
    {
      check: ({ orders }) => orders.length > 0,
      async run(model, world) {
        const order = pick(model.orders, input.slot);
        const payment = pick(order.payments, input.attempt);
        const state: QueryState = { ageS: promptAgeS };
        // The last answer removes any suspicion, because its next query would run at a time that no test controls.
        for (const timed of [...input.answers, { kind: "open", afterS: 0 } as const]) {
          if (!payment.hasReference || !isOpen(payment)) return;
          await runQuery(model, world, { order, payment, state, timed });
          await compare(world, order);
        }
      },
    },
  );

interface Query {
  order: ModelOrder;
  payment: ModelPayment;
  state: QueryState;
  timed: TimedAnswer;
}

async function runQuery(model: Model, world: World, { order, payment, state, timed }: Query): Promise<void> {
  const { kind, afterS } = timed;
  const { evidence, answer } = answerOf(payment, kind);
  state.ageS += afterS;
  if (state.suspicion) state.suspicion.sinceS += afterS;
  const isFailure = evidence.status === "failed" || evidence.status === "expired";
  const isSuspected = isFailure && isAbove(evidence.status, payment) && !isConfirmed(state, kind);
  world.setAnswer(payment.id, answer);
  await world.checkNow(payment.id, state);
  if (!isSuspected) {
    apply(model, order, payment, evidence);
    delete state.suspicion;
  } else if (state.suspicion?.kind !== kind) state.suspicion = { kind, sinceS: 0 };
  await vi
    .waitUntil(async () => (await world.isSuspected(payment.id)) === isSuspected, { interval: 10 })
    .catch(() => assert.fail(`"${kind}" after ${afterS} s ${isSuspected ? "needs" : "needs no"} confirmation`));
}

const query = fc
  .record({
    slot: fc.nat(3),
    attempt: fc.nat(3),
    answers: fc.array(
      fc.record({
        kind: fc.constantFrom<AnswerKind>("failed", "failed", "failed", "failed otherwise", "open", "paid"),
        afterS: fc.constantFrom(0, 15, 30),
      }),
      { minLength: 2, maxLength: 4 },
    ),
  })
  .map(queryAs);

interface DecisionInput {
  slot: number;
  attempt: number;
  /** Whether to choose a payment in review, if there is one. */
  isDue: boolean;
  /** The concurrent decisions, alternately at the two nodes. */
  as: Decision[];
}

const isInReview = ({ status }: ModelPayment): boolean => status === "review";

function chooseForDecision({ orders }: Model, { isDue, slot, attempt }: DecisionInput) {
  const due = isDue ? orders.filter(({ payments }) => payments.some(isInReview)) : [];
  const order = pick(due.length > 0 ? due : orders, slot);
  const reviewed = isDue ? order.payments.filter(isInReview) : [];
  return { order, payment: pick(reviewed.length > 0 ? reviewed : order.payments, attempt) };
}

const decideAs = (input: DecisionInput): Command =>
  command("decide", input, {
    check: ({ orders }) => orders.length > 0,
    async run(model, world) {
      const { order, payment } = chooseForDecision(model, input);
      // The provider's earlier answer must not lead to another change.
      if (isInReview(payment)) world.setAnswer(payment.id, "open");
      const send = (paymentId: string, as: Decision, index: number) =>
        world.merchant(index % 2 ? "b" : "a", `/v1/orders/${order.orderId}/resolve`, { paymentId, as, note: as });
      const unknown = await send(order.id, "succeeded", 0);
      assert.deepEqual([unknown.status, unknown.body.code], [404, "payment_unknown"]);
      const answers = await Promise.all(input.as.map((as, index) => send(payment.id, as, index)));
      const taken = input.as.filter((_, index) => answers[index]?.status === 200);
      for (const { status, body } of answers) {
        if (status !== 200) assert.deepEqual([status, body.code], [409, "not_in_review"]);
      }
      if (isInReview(payment)) await applyDecision(world, { order, payment, taken });
      else assert.deepEqual(taken, [], `no decision on a payment that is ${payment.status}`);
      await compare(world, order);
    },
  });

async function applyDecision(
  world: World,
  { order, payment, taken }: { order: ModelOrder; payment: ModelPayment; taken: Decision[] },
): Promise<void> {
  const [first = assert.fail("no decision was taken")] = taken;
  assert.equal(taken.length, 1, `one decision is taken: ${taken}`);
  const { version } = order;
  decide(order, payment, first);
  if (order.version === version) return;
  const { events } = (await world.merchant("a", `/v1/orders/${order.orderId}`)).body;
  const { source, note } = events[version] ?? {};
  assert.deepEqual({ source, note }, { source: "person", note: first });
}

const decideOn = fc
  .record({
    slot: fc.nat(3),
    attempt: fc.nat(3),
    isDue: fc.constantFrom(true, true, true, false),
    as: fc.array(fc.constantFrom(...decisions), { minLength: 1, maxLength: 3 }),
  })
  .map(decideAs);

const deadline = fc.record({ slot: fc.nat(3), node: nodes }).map((input) =>
  command("deadline", input, {
    check: ({ orders }) => orders.length > 0,
    async run(model, world) {
      const order = pick(model.orders, input.slot);
      const payment = pick(order.payments, order.payments.length - 1);
      if (payment.status !== "pending" && payment.status !== "processing") return;
      // Only this payment's deadline is moved.
      await world.query(
        "update payment set expires_at = clock_timestamp(), check_at = clock_timestamp() where id = $1",
        [payment.id],
      );
      apply(model, order, payment, { status: "expired" });
      await compare(world, order, input.node);
    },
  }),
);

interface WatchInput {
  slot: number;
  transport: TransportName;
  node: NodeName;
}

const watchAs = (input: WatchInput): Command =>
  command("watch", input, {
    check: ({ orders, watchers }) => orders.length > 0 && watchers.length < 12,
    async run(model, world) {
      const index = input.slot % model.orders.length;
      const order = pick(model.orders, index);
      const watcher: WorldWatcher = { order, transport: input.transport, at: input.node, seen: [] };
      world.watchers.push(watcher);
      model.watchers.push({ order: index, isConnected: true });
      world.connect(watcher, input.node);
      // From its first state on, the watcher may not miss the newest one.
      await vi.waitUntil(() => watcher.seen.length > 0, { interval: 5 });
    },
  });

export const watchIt = fc
  .record({ slot: fc.nat(3), transport: fc.constantFrom<TransportName>(...transportNames), node: nodes })
  .map(watchAs);

export const disconnect = fc.record({ which: fc.nat(11) }).map((input) =>
  command("disconnect", input, {
    check: ({ watchers }) => watchers.length > 0,
    async run(_model, world) {
      world.disconnect(pick(world.watchers, input.which));
    },
  }),
);

export const reconnect = fc.record({ which: fc.nat(11), node: nodes }).map((input) =>
  command("reconnect", input, {
    check: ({ watchers }) => watchers.length > 0,
    async run(_model, world) {
      const watcher = pick(world.watchers, input.which);
      if (!watcher.live) world.connect(watcher, input.node);
    },
  }),
);

export const kill = fc.constant(command("kill", {}, { run: (_model, world) => world.kill() }));
export const restart = fc.constant(command("restart", {}, { run: (_model, world) => world.restart() }));
export const restartRedis = fc.constant(command("redis", {}, { run: (_model, world) => world.redis.restart() }));
export const breakPostgres = fc.constant(command("postgres", {}, { run: (_model, world) => world.breakPostgres() }));

const often = [
  pay,
  pay,
  pay,
  webhook,
  webhook,
  webhook,
  webhook,
  forged,
  confirm,
  confirm,
  query,
  decideOn,
  deadline,
  watchIt,
  watchIt,
  disconnect,
  reconnect,
];

/** The commands of random histories. In a short run the slow ones are rare, because each takes seconds. */
export const commands = (isLong: boolean): fc.Arbitrary<Command>[] => [
  ...often,
  ...(isLong ? [] : [...often, ...often, ...often, ...often]),
  kill,
  restart,
  restartRedis,
  breakPostgres,
];

const paid = (slot: number, provider: ModelProvider): Command =>
  payAs({ slot, provider, reply: "accept", node: slot % 2 ? "b" : "a" });

const decided = (slot: number, ...as: Decision[]): Command => decideAs({ slot, attempt: 0, isDue: false, as });

const answered = (slot: number, ...answers: `${number} ${AnswerKind}`[]): Command =>
  queryAs({
    slot,
    attempt: 0,
    answers: answers.map((answer) => {
      const [, afterS, kind] = /^(\d+) (.*)$/.exec(answer) ?? [];
      return { kind: kind as AnswerKind, afterS: Number(afterS) };
    }),
  });

const posted = (slot: number, kind: Posted["kind"], meanwhile = ""): Command =>
  webhookAs({ slot, attempt: 0, kind, meanwhile, nodes: ["a", "b", "a"] });

/**
 * The fixed first history: every kind of evidence for both providers in a difficult order, and every kind of fault once,
 * during payments with watchers.
 */
export const everyFault = (): fc.Arbitrary<Iterable<Command>> =>
  fc
    .tuple(watchIt, watchIt, kill, breakPostgres, restartRedis, restart, confirm, reconnect, forged)
    .map(([one, other, killing, cutting, emptying, restarting, asking, returning, forging]) => [
      paid(0, "daraja"),
      one,
      other,
      posted(0, "wrong"),
      killing,
      posted(0, "bare"),
      posted(0, "paid", "postgres"),
      posted(0, "wrong"),
      paid(1, "zenopay"),
      ...forgeries.map((how) => forgedAs({ slot: 1, how, node: "a" })),
      one,
      forging,
      posted(1, "wrong", "redis"),
      cutting,
      paid(2, "daraja"),
      other,
      posted(2, "cancelled"),
      emptying,
      paid(2, "daraja"),
      posted(2, "reused"),
      restarting,
      posted(2, "paid"),
      paid(3, "zenopay"),
      asking,
      returning,
      posted(3, "paid"),
      posted(3, "cancelled"),
      // The second attempt fails after a late success of the first.
      webhookAs({ slot: 2, attempt: 1, kind: "cancelled", meanwhile: "", nodes: ["b"] }),
      // Without Redis, watchers on both nodes still get the state.
      paid(4, "daraja"),
      ...transportNames.map((transport, index) => watchAs({ slot: 4, transport, node: index % 2 ? "b" : "a" })),
      ...forgeries.map((how) => forgedAs({ slot: 4, how, node: "b" })),
      posted(4, "paid", "redis"),
      // One decision is taken, and only full evidence lifts a rejected payment.
      paid(5, "daraja"),
      decided(5, "succeeded"),
      posted(5, "wrong"),
      decided(5, "failed", "failed"),
      posted(5, "bare"),
      posted(5, "wrong"),
      posted(5, "cancelled"),
      paid(5, "daraja"),
      posted(5, "paid"),
      decided(5, "failed"),
      paid(6, "zenopay"),
      posted(6, "wrong"),
      decided(6, "succeeded", "failed", "succeeded"),
      posted(6, "wrong"),
      posted(6, "paid"),
      // A query's failure: repeated too early, of too young a prompt, with another reason; then confirmed.
      paid(7, "daraja"),
      answered(7, "30 failed", "0 failed", "15 failed otherwise", "15 failed otherwise"),
      paid(8, "zenopay"),
      answered(8, "0 failed", "15 failed", "15 failed", "0 paid"),
      paid(9, "daraja"),
      answered(9, "30 failed", "15 open", "0 failed", "15 paid"),
      // An accepted payment keeps its reason, so the same evidence changes nothing.
      paid(10, "daraja"),
      posted(10, "wrong"),
      decided(10, "succeeded"),
      posted(10, "wrong"),
      posted(10, "cancelled"),
    ]);

/** Checks the invariants of every order and every watcher at the end of a history. */
export async function check(model: Model, world: World): Promise<void> {
  for (const watcher of world.watchers) if (!watcher.live) world.connect(watcher, "a");
  for (const order of model.orders) {
    await compare(world, order);
    const { events, payments } = (await world.merchant("b", `/v1/orders/${order.orderId}`)).body;
    checkEvents(events);
    checkPayments(order, payments);
    for (const watcher of world.watchers.filter((one) => one.order === order)) {
      await checkWatcher(order, events, watcher);
      world.disconnect(watcher);
    }
  }
  world.watchers.length = 0;
}

type History = Answer["body"]["events"];

function checkEvents(events: History): void {
  assert.deepEqual(
    events.map(({ version }) => version),
    events.map((_, index) => index + 1),
    "versions grow by one (G3)",
  );
  const firstPaid = events.findIndex(({ status }) => status === "succeeded");
  assert(
    firstPaid < 0 || events.slice(firstPaid).every(({ status }) => status === "succeeded"),
    "a success stays (G2)",
  );
  assert(
    events.every(({ occurredAt }, index) => occurredAt >= (events[index - 1]?.occurredAt ?? "")),
    "times rise",
  );
}

function checkPayments({ orderId, payments: expected }: ModelOrder, payments: Answer["body"]["payments"]): void {
  assert.deepEqual(
    payments.map(({ status, reason, receipt }) => ({ status, isRejected: reason === "rejected", receipt })),
    expected.map(({ status, isRejected, receipt }) => ({ status, isRejected, receipt })),
    orderId,
  );
}

async function checkWatcher(order: ModelOrder, events: History, watcher: WorldWatcher): Promise<void> {
  const { transport } = watcher;
  const versions = (): number[] => watcher.seen.map(({ version }) => version);
  await vi
    .waitUntil(() => watcher.seen.at(-1)?.version === order.version, { interval: 10 })
    .catch(() => assert.fail(`${transport} at ${watcher.at} saw ${versions()} of ${order.version}`));
  const seen = [...watcher.seen];
  for (const [index, event] of seen.entries()) {
    assert.equal(event.id, order.id, "no state of another order (G11)");
    assert(event.version >= (seen[index - 1]?.version ?? 0), `${transport}: no lower version after a higher (G5)`);
    // A watcher's state leaves out note and source, which only the merchant may see.
    const { note: _, source: __, ...stored } = { source: undefined, ...events[event.version - 1] };
    assert.deepEqual(event, stored, "a watcher sees the stored event");
  }
}
