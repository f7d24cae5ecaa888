/** `tukio trigger`: starts a payment in the sandbox that ends as chosen, and prints its states. */
import { randomBytes } from "node:crypto";
import { backoffMs, pause } from "../call.ts";
import { TukioError } from "../error.ts";
import type { Provider, StatusEvent } from "../model.ts";
import { type Arguments, checkOrderId, columns, UsageError } from "./arguments.ts";
import type { Command, Context } from "./command.ts";
import { suggestion } from "./nearest.ts";
import { money, type Output, plain, statusText } from "./output.ts";
import { hasEnded, payerOf, type Scenario, scenarios } from "./scenario.ts";

/** 90 s, because a payment of the sandbox has 60 s, and a failure may need a second query. */
const waitMsMax = 90_000;

/** 5 s, because a developer waits for a node that restarts. */
const waitRetryMsMax = 5_000;

export const trigger: Command = {
  name: "trigger",
  summary: "Starts a sandbox payment that ends as you choose",
  words: ["OUTCOME"],
  options: {
    provider: { value: "NAME", help: "the provider; default: the first sandbox with the outcome" },
    order: { value: "ORDER", help: "your id for the order; default: a new one" },
    "amount-minor": { value: "NUMBER", help: "the amount in the currency's minor unit" },
  },
  details: `Prints the order's id, and then its states until it reaches the outcome. A state that is replaced at
once may be absent. The command fails if the order ends with another outcome. No money moves, because
only a provider of the sandbox is accepted.

The default provider of amount-mismatch is lipana. daraja and payhero do not offer it: a query there
states no amount, and may find the payment before the webhook with the wrong amount arrives.

Outcomes:
${columns(scenarios.map(({ name, help }) => [name, help]))}
Examples:
  tukio trigger succeeded
  tukio trigger late --provider mtn --order ORD-1001`,

  prepare(args) {
    const outcome = args.word(0);
    const scenario = scenarios.find(({ name }) => name === outcome);
    if (outcome && !scenario) args.refuse(unknownOutcome(outcome));
    const choice: Choice = {
      orderId: args.value("order") ?? `TRIGGER-${randomBytes(5).toString("hex")}`,
      provider: args.value("provider"),
      amountMinor: readAmount(args),
    };
    checkOrderId(args, "--order", choice.orderId);
    const { provider } = choice;
    if (provider !== undefined && scenario?.providers && !scenario.providers.includes(provider))
      args.refuse(`${outcome} is not an outcome of ${provider}, but of ${scenario.providers.join(", ")}`);
    // Undefined only with a fault, and then nothing runs.
    return (context) => play(context, scenario as Scenario, choice);
  },
};

/** The choices that the options make. */
interface Choice {
  orderId: string;
  provider: string | undefined;
  amountMinor: number | undefined;
}

async function play(context: Context, scenario: Scenario, choice: Choice): Promise<number> {
  const { output, tukio, signal } = context;
  const provider = await findProvider(context, scenario, choice.provider);
  const { orderId, amountMinor } = choice;
  const paymentOf = (ending: string) => ({
    orderId,
    provider: provider.name,
    ...payerAt(provider, ending),
    ...(amountMinor !== undefined && { amountMinor }),
  });
  const first = paymentOf(scenario.ending);
  // Before the first call, so that the order can be found if its answer is lost.
  output.line(`Order ${orderId}`);
  output.json({ event: "starting", orderId, provider: provider.name });
  const seen = createWatch(context, orderId);
  seen.print((await tukio.payments.start(first, { signal })).order);
  if (scenario.secondEnding !== undefined) {
    await seen.until(({ settled }) => settled);
    seen.print((await tukio.payments.start(paymentOf(scenario.secondEnding), { signal })).order);
  }
  const last = await seen.until((order) => hasEnded(scenario, order) || isOver(scenario, order));
  if (hasEnded(scenario, last)) return 0;
  const { status, reason } = scenario;
  const wanted = { status, ...(reason && { reason }) };
  output.fail({
    code: "outcome_missed",
    detail: `The order ended as ${statusText(output, last)}, not as ${statusText(output, wanted)}`,
  });
  return 1;
}

/** Whether the order has ended in another way. After the number 09, an expired order succeeds, and a paid one is paid twice. */
const isOver = ({ ending }: Scenario, { settled, status }: StatusEvent): boolean =>
  settled && !(ending === "09" && /^(expired|succeeded)$/.test(status));

function unknownOutcome(name: string): string {
  const names = scenarios.map((one) => one.name);
  return `there is no outcome ${name}${suggestion(name, names) || `. Outcomes: ${names.join(", ")}`}`;
}

function readAmount(args: Arguments): number | undefined {
  const text = args.value("amount-minor");
  if (text === undefined) return undefined;
  if (!/^[1-9]\d{0,14}$/.test(text)) args.refuse("--amount-minor must be a whole number greater than 0, such as 15000");
  return Number(text);
}

const failure = (detail: string): TukioError =>
  new TukioError({ code: "provider_unknown", title: "No sandbox has this outcome", detail });

/** Chooses the provider. Refuses one that is not the sandbox, because its prompt would reach a stranger's phone. */
async function findProvider(
  { tukio, url, signal }: Context,
  { name, providers }: Scenario,
  wanted: string | undefined,
): Promise<Provider> {
  const enabled = await tukio.providers.list({ signal });
  const sandboxes = enabled.filter(({ sandbox }) => sandbox);
  const names = (list: readonly Provider[]): string => list.map((one) => one.name).join(", ") || "none";
  if (sandboxes.length === 0)
    throw failure(
      `no provider of ${url} is the sandbox (enabled: ${names(enabled)}), and tukio trigger starts no real payment`,
    );
  if (wanted !== undefined && !sandboxes.some((one) => one.name === wanted))
    throw new UsageError(`--provider ${wanted} is not a sandbox of ${url}. Sandboxes: ${names(sandboxes)}`);
  const able = sandboxes.filter((one) => providers?.includes(one.name) ?? true);
  const found = able.find((one) => wanted === undefined || one.name === wanted);
  if (!found)
    throw failure(`the sandbox of ${wanted ?? names(sandboxes)} does not offer ${name}. These do: ${names(able)}`);
  return found;
}

function payerAt({ name, currencies }: Provider, ending: string) {
  const payer = payerOf(currencies, ending);
  if (payer) return payer;
  throw failure(
    `tukio trigger has no phone for ${name}, which takes ${currencies.join(", ")}. Choose another --provider`,
  );
}

interface Watch {
  print(order: StatusEvent): void;
  /** Prints the states until one matches, and returns it; the last one if the time is up. */
  until(matches: (order: StatusEvent) => boolean): Promise<StatusEvent>;
}

function createWatch({ tukio, output, signal }: Context, orderId: string): Watch {
  const endMs = performance.now() + waitMsMax;
  let last: StatusEvent | undefined;
  let failures = 0;
  const print = (order: StatusEvent): void => {
    if (order.version === last?.version && order.epoch === last.epoch) return;
    last = order;
    output.json(order);
    output.line(stateText(order, output));
  };
  /** Waits before the next call if the failure may pass in time: a node restarts, or is not ready. */
  const survive = async (error: unknown): Promise<void> => {
    if (!(error instanceof TukioError && error.retryable) || performance.now() > endMs) throw error;
    output.warn(`${plain(error.detail)}; still waiting for ${orderId}`);
    const delayMs = Math.max(error.retryAfterMs ?? 0, backoffMs(failures, waitRetryMsMax));
    await pause(Math.min(delayMs, endMs - performance.now()), signal);
    failures += 1;
  };
  return {
    print,
    async until(matches) {
      for (;;) {
        if (last && (matches(last) || performance.now() > endMs)) return last;
        const after = last ? `${last.epoch ?? 0}.${last.version}` : 0;
        try {
          print(await tukio.orders.wait(orderId, { after, timeoutS: 20, signal }));
          failures = 0;
        } catch (error) {
          await survive(error);
        }
      }
    },
  };
}

function stateText({ orderId, version, ...order }: StatusEvent, output: Output): string {
  const { amountMinor, currency, payment } = order;
  const facts = [
    plain(orderId),
    `v${version}`,
    statusText(output, order),
    version === 1 && `${money(amountMinor, currency)}  ${payment.provider}`,
    payment.receipt && `receipt ${plain(payment.receipt)}`,
  ];
  return facts.filter(Boolean).join("  ");
}
