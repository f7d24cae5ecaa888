/** What can happen, to the model and to the real thing at once. After each command both are compared. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import fc from "fast-check";
import { vi } from "vitest";
import type { StatusEvent } from "../../client-sdk/protocol.ts";
import { createUrlSecrets } from "../../server/auth/keys.ts";
import { testSecret } from "../support/node.ts";
import { type TransportName, transportNames } from "../support/watch.ts";
import {
  apply,
  type Decision,
  type Doubt,
  decide,
  decisions,
  type Evidence,
  isAbove,
  isAsked,
  isBelieved,
  isOpen,
  isRetryable,
  type Model,
  type ModelOrder,
  type ModelPayment,
  type ProviderDefinition,
  providersOf,
  receiptOf,
} from "./model.ts";
import { bodyFor, type NodeName, type Reply, type Saying, type World, type WorldWatcher, webhookOf } from "./world.ts";

export type Command = fc.AsyncCommand<Model, World>;

/** How often each command ran: a run in which nothing happened proves nothing. */
export const ran = new Map<string, number>();

/** A command with its name and its particulars, so that a failing run can be read. */
export function command(
  name: string,
  told: object,
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
    toString: () => `${name}(${Object.values(told).join(" ")})`,
  };
}

export const pick = <T>(list: readonly T[], index: number): T => {
  const found = list[index % Math.max(1, list.length)];
  assert(found !== undefined, "checked before");
  return found;
};

/** Waits until the real order is what the model says, and no further. */
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

interface Paying {
  slot: number;
  provider: ProviderDefinition;
  reply: Reply;
  node: NodeName;
}

export const payAs = (told: Paying): Command =>
  command("pay", told, {
    async run(model, world) {
      const known = model.orders[told.slot];
      const provider = known?.provider ?? told.provider;
      const orderId = known?.orderId ?? `MODEL-${randomUUID()}`;
      world.nextReply = told.reply;
      const answer = await world.merchant(told.node, "/v1/payments", bodyFor(provider, orderId), {
        "idempotency-key": randomUUID(),
      });
      if (known && !isRetryable(known)) {
        const code =
          known.status === "succeeded"
            ? "order_paid"
            : known.status === "review"
              ? "order_in_review"
              : "payment_in_progress";
        assert.deepEqual([answer.status, answer.body.code], [409, code]);
        return;
      }
      assert.equal(answer.status, 202, JSON.stringify(answer.body));
      const { order: event, watchToken } = answer.body;
      const { path, reference, release } = await world.asked(event.payment.id);
      const payment: ModelPayment = {
        id: event.payment.id,
        provider,
        path,
        status: "pending",
        reference,
        hasReference: false,
        isAmountKnown: false,
        isScarred: false,
        isRejected: false,
      };
      const order = known ?? {
        id: event.id,
        orderId,
        token: watchToken,
        provider,
        status: "pending",
        version: 0,
        payments: [],
        shown: "",
        alsoPaid: [],
      };
      if (!known) model.orders.push(order);
      order.payments.push(payment);
      Object.assign(order, { version: order.version + 1, status: "pending", shown: payment.id });
      if (told.reply === "hold") {
        // The webhook overtakes the reply.
        await post(model, world, { order, payment, kind: "paid", nodes: [told.node] });
        await compare(world, order, told.node);
        await world.unspooled();
        release();
      }
      if (told.reply === "accept" || told.reply === "hold") {
        apply(model, order, payment, { status: "processing" });
        payment.hasReference = true;
      }
      if (told.reply === "refuse") apply(model, order, payment, { status: "failed" });
      await compare(world, order, told.node);
      // Held back or not: what is stored of the reply is stored by now, or will never be.
      if (told.reply === "hold") await untilReferenced(world, order, payment);
    },
  });

const pay = fc
  .record({
    slot: fc.nat(3),
    provider: fc.constantFrom<ProviderDefinition>("daraja", "zenopay"),
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

/** Posts a webhook to each of these nodes at once, and tells the model what there is to learn of it, once. */
async function post(model: Model, world: World, { order, payment, kind, nodes: at }: Posted): Promise<void> {
  const { amountMinor } = providersOf[payment.provider];
  const others = [...model.receipts.entries()].filter(
    ([key, owner]) => key.startsWith(payment.provider) && owner !== payment.id,
  );
  const receipt = kind === "reused" ? (others[0]?.[0].split(" ")[1] ?? receiptOf(payment)) : receiptOf(payment);
  const states = kind === "wrong" ? "wrong" : kind === "bare" ? "bare" : "full";
  const isSuccess = kind !== "cancelled" && kind !== "timeout";
  const webhook = webhookOf(payment, { kind: kind === "reused" ? "paid" : kind, receipt });
  const send = () => Promise.all(at.map((node) => world.deliver(node, payment.path, webhook)));
  if (payment.provider === "daraja") {
    for (const { status } of await send()) assert.equal(status, 200);
    payment.hasReference = true;
    const evidence: Evidence = isSuccess
      ? { status: "succeeded", states, ...(kind !== "bare" && { receipt }) }
      : { status: kind === "cancelled" ? "failed" : "expired" };
    apply(model, order, payment, evidence);
    return;
  }
  // Its webhook only makes us ask; only its answer states an amount.
  const isTold = isAsked(payment) && isSuccess && kind !== "bare";
  if (isTold) world.say(payment.id, { paidMinor: kind === "wrong" ? amountMinor + 100 : amountMinor, receipt });
  for (const { status } of await send()) assert.equal(status, 200);
  if (isSuccess) payment.hasReference = true;
  if (isTold) apply(model, order, payment, { status: "succeeded", states, receipt });
}

interface Telling {
  slot: number;
  attempt: number;
  kind: Posted["kind"];
  nodes: NodeName[];
  meanwhile: string;
}

const webhookAs = (told: Telling): Command =>
  command("webhook", told, {
    check: ({ orders }) => orders.length > 0,
    async run(model, world) {
      const order = pick(model.orders, told.slot);
      const payment = pick(order.payments, told.attempt);
      const cut = told.meanwhile === "postgres" ? world.breakPostgres() : undefined;
      if (told.meanwhile === "redis") await world.redis.stop();
      await post(model, world, { order, payment, ...told });
      await cut;
      await compare(world, order);
      await world.unspooled();
      if (told.meanwhile === "redis") await world.redis.restart();
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

interface Forging {
  slot: number;
  how: (typeof forgeries)[number];
  node: NodeName;
}

const forgedAs = (told: Forging): Command =>
  command("forged", told, {
    check: ({ orders }) => orders.length > 0,
    async run(model, world) {
      const order = pick(model.orders, told.slot);
      const payment = pick(order.payments, order.payments.length - 1);
      const { provider, path, id } = payment;
      // Not where its reference is still to be learnt: that is believed of who knows the address.
      if (!payment.hasReference) return;
      const elsewhere = provider === "daraja" ? "zenopay" : "daraja";
      const sealed = (purpose: "webhook" | "return", owner: string): string =>
        `/webhooks/${provider}/${createUrlSecrets([testSecret], purpose).seal(owner, id)}`;
      const real = webhookOf(payment, { kind: "paid", receipt: "FORGED0001" });
      const strange = webhookOf(
        { ...payment, id: randomUUID(), reference: "ws_CO_of_another" },
        { kind: "paid", receipt: "FORGED0001" },
      );
      const other = pick(model.orders, told.slot + 1).payments[0];
      const otherPath = other?.provider === provider && other.id !== id && other.hasReference ? other.path : undefined;
      const tries: Record<
        (typeof forgeries)[number],
        [string, { headers: Record<string, string>; body: string }, number] | undefined
      > = {
        "another secret": [path.replace(/.$/, (digit) => (digit === "0" ? "1" : "0")), real, 401],
        "another provider's secret": [sealed("webhook", elsewhere), real, 401],
        "the return's secret": [sealed("return", provider), real, 401],
        "another payment's secret": otherPath === undefined ? undefined : [otherPath, real, 200],
        "another reference": [path, strange, 200],
        "no key":
          provider === "daraja"
            ? undefined
            : [path, webhookOf(payment, { kind: "paid", receipt: "FORGED0001", isSigned: false }), 200],
      };
      const chosen = tries[told.how];
      if (!chosen) return;
      const [to, what, status] = chosen;
      assert.equal((await world.deliver(told.node, to, what)).status, status);
      await compare(world, order, told.node);
    },
  });

const forged = fc.record({ slot: fc.nat(3), how: fc.constantFrom(...forgeries), node: nodes }).map(forgedAs);

const confirm = fc
  .record({
    slot: fc.nat(3),
    attempt: fc.nat(3),
    says: fc.constantFrom("paid", "wrong", "nothing", "down", "open"),
    node: nodes,
  })
  .map((told) =>
    command("confirm", told, {
      check: ({ orders }) => orders.length > 0,
      async run(model, world) {
        const order = pick(model.orders, told.slot);
        const payment = pick(order.payments, told.attempt);
        if (!payment.hasReference || !isAsked(payment)) return;
        const { provider } = payment;
        const { amountMinor } = providersOf[provider];
        const isPaid = told.says === "paid" || (told.says === "wrong" && provider === "zenopay");
        const saying: Saying = isPaid
          ? { paidMinor: told.says === "wrong" ? amountMinor + 100 : amountMinor, receipt: receiptOf(payment) }
          : told.says === "wrong" || told.says === "paid"
            ? "nothing"
            : (told.says as Saying);
        const before = world.questions(payment.id);
        world.say(payment.id, saying, isPaid ? undefined : true);
        // A hint that proves nothing, and makes us ask.
        const hint =
          provider === "daraja"
            ? webhookOf({ ...payment, reference: "ws_CO_of_another" }, { kind: "paid", receipt: "X" })
            : webhookOf(payment, { kind: "paid", receipt: "X", isSigned: false });
        assert.equal((await world.deliver(told.node, payment.path, hint)).status, 200);
        await vi.waitUntil(() => world.questions(payment.id) > before, { interval: 10 });
        if (isPaid) {
          const states = provider === "daraja" ? "bare" : told.says === "wrong" ? "wrong" : "full";
          apply(model, order, payment, {
            status: "succeeded",
            states,
            ...(provider === "zenopay" && { receipt: receiptOf(payment) }),
          });
        }
        await compare(world, order, told.node);
      },
    }),
  );

type Verdict = "open" | "failed" | "failed otherwise" | "paid";

interface Asking {
  slot: number;
  attempt: number;
  /** What the provider says, and how many seconds pass before it is asked. */
  answers: { says: Verdict; afterS: number }[];
}

/** What such an answer is evidence of, and how a provider says it. */
function readingOf(payment: ModelPayment, says: Verdict): { evidence: Evidence; saying: Saying } {
  const { provider } = payment;
  if (says === "open") return { evidence: { status: "processing" }, saying: says };
  if (says === "paid") {
    const receipt = receiptOf(payment);
    const saying = { paidMinor: providersOf[provider].amountMinor, receipt };
    const states = provider === "daraja" ? "bare" : "full";
    return { evidence: { status: "succeeded", states, ...(states === "full" && { receipt }) }, saying };
  }
  // That nobody has answered the prompt.
  const isExpiry = provider === "daraja" && says === "failed otherwise";
  return { evidence: { status: isExpiry ? "expired" : "failed" }, saying: says };
}

/** Younger than a prompt whose failure is believed, by what two answers that agree are apart at the least. */
const promptAgeS = 31;

const askedAs = (told: Asking): Command =>
  command(
    "asked",
    { ...told, answers: told.answers.map(({ says, afterS }) => `${afterS} s ${says}`) },
    {
      check: ({ orders }) => orders.length > 0,
      async run(model, world) {
        const order = pick(model.orders, told.slot);
        const payment = pick(order.payments, told.attempt);
        const doubt: Doubt = { ageS: promptAgeS };
        // In the end nothing is suspected any more: what else asks goes by a clock that no test can hold.
        for (const { says, afterS } of [...told.answers, { says: "open", afterS: 0 } as const]) {
          if (!payment.hasReference || !isOpen(payment)) return;
          const { evidence, saying } = readingOf(payment, says);
          doubt.ageS += afterS;
          if (doubt.suspicion) doubt.suspicion.sinceS += afterS;
          const isFailure = evidence.status === "failed" || evidence.status === "expired";
          const isDoubted = isFailure && isAbove(evidence.status, payment) && !isBelieved(doubt, says);
          world.say(payment.id, saying);
          await world.ask(payment.id, doubt);
          if (!isDoubted) apply(model, order, payment, evidence);
          if (!isDoubted) delete doubt.suspicion;
          else if (doubt.suspicion?.says !== says) doubt.suspicion = { says, sinceS: 0 };
          await vi
            .waitUntil(async () => (await world.isSuspected(payment.id)) === isDoubted, { interval: 10 })
            .catch(() =>
              assert.fail(`"${says}" after ${afterS} s is ${isDoubted ? "" : "not "}to be asked about again`),
            );
          await compare(world, order);
        }
      },
    },
  );

const asked = fc
  .record({
    slot: fc.nat(3),
    attempt: fc.nat(3),
    answers: fc.array(
      fc.record({
        says: fc.constantFrom<Verdict>("failed", "failed", "failed", "failed otherwise", "open", "paid"),
        afterS: fc.constantFrom(0, 15, 30),
      }),
      { minLength: 2, maxLength: 4 },
    ),
  })
  .map(askedAs);

interface Deciding {
  slot: number;
  attempt: number;
  /** Whether a payment is chosen that does wait for a person, if there is one. */
  isDue: boolean;
  /** What persons at the two nodes, in turn, decide at once. */
  as: Decision[];
}

const decideAs = (told: Deciding): Command =>
  command("decide", told, {
    check: ({ orders }) => orders.length > 0,
    async run(model, world) {
      const isReview = ({ status }: ModelPayment): boolean => status === "review";
      const due = model.orders.filter(({ payments }) => payments.some(isReview));
      const order = pick(told.isDue && due.length > 0 ? due : model.orders, told.slot);
      const reviewed = order.payments.filter(isReview);
      const payment = pick(told.isDue && reviewed.length > 0 ? reviewed : order.payments, told.attempt);
      // What the provider said of it is over.
      if (isReview(payment)) world.say(payment.id, "open");
      const send = (paymentId: string, as: Decision, index: number) =>
        world.merchant(index % 2 ? "b" : "a", `/v1/orders/${order.orderId}/resolve`, { paymentId, as, note: as });
      const stranger = await send(order.id, "succeeded", 0);
      assert.deepEqual([stranger.status, stranger.body.code], [404, "payment_unknown"]);
      const answers = await Promise.all(told.as.map((as, index) => send(payment.id, as, index)));
      const taken = told.as.filter((_, index) => answers[index]?.status === 200);
      for (const { status, body } of answers) {
        if (status !== 200) assert.deepEqual([status, body.code], [409, "not_in_review"]);
      }
      if (isReview(payment)) {
        const [prevailing = assert.fail("nobody decided")] = taken;
        assert.equal(taken.length, 1, `whoever comes second is told: ${taken}`);
        const { version } = order;
        decide(order, payment, prevailing);
        if (order.version > version) {
          const { events } = (await world.merchant("a", `/v1/orders/${order.orderId}`)).body;
          const { source, note } = events[version] ?? {};
          assert.deepEqual({ source, note }, { source: "person", note: prevailing });
        }
      } else assert.deepEqual(taken, [], `a decision on what is ${payment.status}`);
      await compare(world, order);
    },
  });

const decideOn = fc
  .record({
    slot: fc.nat(3),
    attempt: fc.nat(3),
    isDue: fc.constantFrom(true, true, true, false),
    as: fc.array(fc.constantFrom(...decisions), { minLength: 1, maxLength: 3 }),
  })
  .map(decideAs);

const deadline = fc.record({ slot: fc.nat(3), node: nodes }).map((told) =>
  command("deadline", told, {
    check: ({ orders }) => orders.length > 0,
    async run(model, world) {
      const order = pick(model.orders, told.slot);
      const payment = pick(order.payments, order.payments.length - 1);
      if (payment.status !== "pending" && payment.status !== "processing") return;
      // Time passes for this payment alone.
      await world.query(
        "update payment set expires_at = clock_timestamp(), check_at = clock_timestamp() where id = $1",
        [payment.id],
      );
      apply(model, order, payment, { status: "expired" });
      await compare(world, order, told.node);
    },
  }),
);

interface Looking {
  slot: number;
  transport: TransportName;
  node: NodeName;
}

const watchAs = (told: Looking): Command =>
  command("watch", told, {
    check: ({ orders, watchers }) => orders.length > 0 && watchers.length < 12,
    async run(model, world) {
      const index = told.slot % model.orders.length;
      const order = pick(model.orders, index);
      const watcher: WorldWatcher = { order, transport: told.transport, at: told.node, seen: [] };
      world.watchers.push(watcher);
      model.watchers.push({ order: index, isConnected: true });
      world.connect(watcher, told.node);
      // From then on nothing may be missed.
      await vi.waitUntil(() => watcher.seen.length > 0, { interval: 5 });
    },
  });

export const watchIt = fc
  .record({ slot: fc.nat(3), transport: fc.constantFrom<TransportName>(...transportNames), node: nodes })
  .map(watchAs);

export const disconnect = fc.record({ which: fc.nat(11) }).map((told) =>
  command("disconnect", told, {
    check: ({ watchers }) => watchers.length > 0,
    async run(_model, world) {
      world.disconnect(pick(world.watchers, told.which));
    },
  }),
);

export const reconnect = fc.record({ which: fc.nat(11), node: nodes }).map((told) =>
  command("reconnect", told, {
    check: ({ watchers }) => watchers.length > 0,
    async run(_model, world) {
      const watcher = pick(world.watchers, told.which);
      if (!watcher.live) world.connect(watcher, told.node);
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
  asked,
  decideOn,
  deadline,
  watchIt,
  watchIt,
  disconnect,
  reconnect,
];

/** Commands to choose from. Those that cost seconds come seldom, where there is not much time. */
export const commands = (isLong: boolean): fc.Arbitrary<Command>[] => [
  ...often,
  ...(isLong ? [] : [...often, ...often, ...often, ...often]),
  kill,
  restart,
  restartRedis,
  breakPostgres,
];

const paid = (slot: number, provider: ProviderDefinition): Command =>
  payAs({ slot, provider, reply: "accept", node: slot % 2 ? "b" : "a" });

const decided = (slot: number, ...as: Decision[]): Command => decideAs({ slot, attempt: 0, isDue: false, as });

const answered = (slot: number, ...answers: `${number} ${Verdict}`[]): Command =>
  askedAs({
    slot,
    attempt: 0,
    answers: answers.map((answer) => {
      const [, afterS, says] = /^(\d+) (.*)$/.exec(answer) ?? [];
      return { says: says as Verdict, afterS: Number(afterS) };
    }),
  });

const told = (slot: number, kind: Posted["kind"], meanwhile = ""): Command =>
  webhookAs({ slot, attempt: 0, kind, meanwhile, nodes: ["a", "b", "a"] });

/**
 * What must not be left to chance: every kind of evidence at both providers, in an order that hurts, and every way to
 * break things once, in the midst of payments with watchers.
 */
export const everyBreakage = (): fc.Arbitrary<Iterable<Command>> =>
  fc
    .tuple(watchIt, watchIt, kill, breakPostgres, restartRedis, restart, confirm, reconnect, forged)
    .map(([one, other, killing, cutting, emptying, restarting, asking, returning, forging]) => [
      paid(0, "daraja"),
      one,
      other,
      told(0, "wrong"),
      killing,
      told(0, "bare"),
      told(0, "paid", "postgres"),
      told(0, "wrong"),
      paid(1, "zenopay"),
      ...forgeries.map((how) => forgedAs({ slot: 1, how, node: "a" })),
      one,
      forging,
      told(1, "wrong", "redis"),
      cutting,
      paid(2, "daraja"),
      other,
      told(2, "cancelled"),
      emptying,
      paid(2, "daraja"),
      told(2, "reused"),
      restarting,
      told(2, "paid"),
      paid(3, "zenopay"),
      asking,
      returning,
      told(3, "paid"),
      told(3, "cancelled"),
      // The second attempt fails after the first was paid late.
      webhookAs({ slot: 2, attempt: 1, kind: "cancelled", meanwhile: "", nodes: ["b"] }),
      // What the bus cannot carry reaches the watchers of both nodes all the same.
      paid(4, "daraja"),
      ...transportNames.map((transport, index) => watchAs({ slot: 4, transport, node: index % 2 ? "b" : "a" })),
      ...forgeries.map((how) => forgedAs({ slot: 4, how, node: "b" })),
      told(4, "paid", "redis"),
      // A person decides, once; and what they have rejected comes back by full evidence alone.
      paid(5, "daraja"),
      decided(5, "succeeded"),
      told(5, "wrong"),
      decided(5, "failed", "failed"),
      told(5, "bare"),
      told(5, "wrong"),
      told(5, "cancelled"),
      paid(5, "daraja"),
      told(5, "paid"),
      decided(5, "failed"),
      paid(6, "zenopay"),
      told(6, "wrong"),
      decided(6, "succeeded", "failed", "succeeded"),
      told(6, "wrong"),
      told(6, "paid"),
      // What only a query says of a failure: too early, of too fresh a prompt, not the same; and then believed.
      paid(7, "daraja"),
      answered(7, "30 failed", "0 failed", "15 failed otherwise", "15 failed otherwise"),
      paid(8, "zenopay"),
      answered(8, "0 failed", "15 failed", "15 failed", "0 paid"),
      paid(9, "daraja"),
      answered(9, "30 failed", "15 open", "0 failed", "15 paid"),
      // What a person accepted keeps its reason, so hearing it again says nothing new.
      paid(10, "daraja"),
      told(10, "wrong"),
      decided(10, "succeeded"),
      told(10, "wrong"),
      told(10, "cancelled"),
    ]);

/** What must be true in the end, of every order and of everybody who watched. */
export async function check(model: Model, world: World): Promise<void> {
  for (const watcher of world.watchers) if (!watcher.live) world.connect(watcher, "a");
  for (const order of model.orders) {
    await compare(world, order);
    const { events, payments } = (await world.merchant("b", `/v1/orders/${order.orderId}`)).body;
    assert.deepEqual(
      events.map(({ version }) => version),
      events.map((_, index) => index + 1),
      "versions grow by one",
    );
    const firstPaid = events.findIndex(({ status }) => status === "succeeded");
    assert(firstPaid < 0 || events.slice(firstPaid).every(({ status }) => status === "succeeded"), "a success stays");
    assert(
      events.every(({ occurredAt }, index) => occurredAt >= (events[index - 1]?.occurredAt ?? "")),
      "time goes forward",
    );
    assert.deepEqual(
      payments.map(({ status }) => status),
      order.payments.map(({ status }) => status),
      order.orderId,
    );
    assert.deepEqual(
      payments.map(({ reason }) => reason === "rejected"),
      order.payments.map(({ isRejected }) => isRejected),
      order.orderId,
    );
    assert.deepEqual(
      payments.map(({ receipt }) => receipt),
      order.payments.map(({ receipt }) => receipt),
      order.orderId,
    );
    for (const watcher of world.watchers.filter((one) => one.order === order)) {
      await vi
        .waitUntil(() => watcher.seen.at(-1)?.version === order.version, { interval: 10 })
        .catch(() =>
          assert.fail(
            `${watcher.transport} at ${watcher.at} saw ${watcher.seen.map(({ version }) => version)} of ${order.version}`,
          ),
        );
      const seen = [...watcher.seen];
      for (const [index, event] of seen.entries()) {
        assert.equal(event.id, order.id, "nothing of another order");
        assert(
          event.version >= (seen[index - 1]?.version ?? 0),
          `${watcher.transport}: no lower version after a higher`,
        );
        // What only the merchant is told of the past.
        const { note: _, source: __, ...stored } = { source: undefined, ...events[event.version - 1] };
        assert.deepEqual(event, stored, "what is seen is what happened");
      }
      world.disconnect(watcher);
    }
  }
  world.watchers.length = 0;
}
