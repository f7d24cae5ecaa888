/** `tukio trigger`: starts a payment in the sandbox that ends as chosen, and prints its states. */
import { randomBytes } from "node:crypto";
import type { Tukio } from "../client.ts";
import { TukioError } from "../error.ts";
import type { Provider, StatusEvent } from "../model.ts";
import { columns, UsageError } from "./arguments.ts";
import type { Command, Context } from "./command.ts";
import { money, type Output, plain, statusText } from "./output.ts";
import { hasEnded, payerOf, type Scenario, scenarios } from "./scenario.ts";

/** 90 s, because a payment of the sandbox has 60 s, and a failure may need a second query. */
const waitMsMax = 90_000;

export const trigger: Command = {
  name: "trigger",
  summary: "Starts a sandbox payment that ends as you choose",
  words: ["OUTCOME"],
  options: {
    provider: { value: "NAME", help: "the provider; default: the first one that is the sandbox and can end so" },
    order: { value: "ORDER", help: "your id for the order; default: a new one" },
    "amount-minor": { value: "NUMBER", help: "the amount in the currency's minor unit" },
  },
  details: `Prints each state until the order has ended so. It fails if the order ends in another way. No money
moves: a provider that is not the sandbox is refused.

Outcomes:
${columns(scenarios.map(({ name, help }) => [name, help]))}
Examples:
  tukio trigger succeeded
  tukio trigger late --provider mtn --order ORD-1001`,

  async run(context: Context): Promise<number> {
    const { args, output, tukio, signal } = context;
    const scenario = findScenario(args.word(0));
    const provider = await findProvider(context, scenario);
    const payment = {
      orderId: args.value("order") ?? `TRIGGER-${randomBytes(5).toString("hex")}`,
      provider: provider.name,
      ...readPayer(context, provider, scenario),
    };
    const seen = createWatch(context, payment.orderId);
    seen.print((await tukio.payments.start(payment, { signal })).order);
    if (scenario.secondEnding !== undefined) {
      await seen.until(({ settled }) => settled);
      const second = { ...payment, ...readPayer(context, provider, { ...scenario, ending: scenario.secondEnding }) };
      seen.print((await tukio.payments.start(second, { signal })).order);
    }
    const last = await seen.until((order) => hasEnded(scenario, order) || isOver(scenario, order));
    if (hasEnded(scenario, last)) return 0;
    const { status, reason } = scenario;
    output.warn(
      `The order ended as ${statusText(output, last)}, not as ${statusText(output, { status, ...(reason && { reason }) })}`,
    );
    return 1;
  },
};

/** Whether the order has ended in another way. After the number 09, an expired order succeeds, and a paid one is paid twice. */
const isOver = ({ ending }: Scenario, { settled, status }: StatusEvent): boolean =>
  settled && !(ending === "09" && /^(expired|succeeded)$/.test(status));

function findScenario(name: string): Scenario {
  const found = scenarios.find((one) => one.name === name);
  if (!found)
    throw new UsageError(`there is no outcome ${name}. Outcomes: ${scenarios.map((one) => one.name).join(", ")}`);
  return found;
}

const failure = (detail: string): TukioError =>
  new TukioError({ code: "provider_unknown", title: "No sandbox can end so", detail });

/** Chooses the provider. Refuses one that is not the sandbox, because its prompt would reach a stranger's phone. */
async function findProvider({ args, tukio, url, signal }: Context, { name, providers }: Scenario): Promise<Provider> {
  const enabled = await tukio.providers.list({ signal });
  const sandboxes = enabled.filter(({ sandbox }) => sandbox);
  const names = (list: readonly Provider[]): string => list.map((one) => one.name).join(", ") || "none";
  if (sandboxes.length === 0)
    throw failure(`no provider of ${url} is the sandbox (enabled: ${names(enabled)}). Tukio triggers no real payment`);
  const wanted = args.value("provider");
  if (wanted !== undefined && !sandboxes.some((one) => one.name === wanted))
    throw failure(`${wanted} is not a sandbox of ${url}. Sandboxes: ${names(sandboxes)}`);
  const able = sandboxes.filter((one) => providers?.includes(one.name) ?? true);
  const found = able.find((one) => wanted === undefined || one.name === wanted);
  if (!found)
    throw failure(`the sandbox of ${wanted ?? names(sandboxes)} cannot end as ${name}. These can: ${names(able)}`);
  return found;
}

function readPayer({ args }: Context, { name, currencies }: Provider, { ending }: Pick<Scenario, "ending">) {
  const payer = payerOf(currencies, ending);
  if (!payer)
    throw failure(
      `tukio trigger has no phone for ${name}, which takes ${currencies.join(", ")}. Choose another --provider`,
    );
  const amount = args.value("amount-minor");
  if (amount === undefined) return payer;
  if (!/^[1-9]\d{0,14}$/.test(amount)) throw new UsageError("--amount-minor must be a whole number");
  return { ...payer, amountMinor: Number(amount) };
}

interface Watch {
  print(order: StatusEvent): void;
  /** Prints the states until one matches, and returns it; the last one if the time is up. */
  until(matches: (order: StatusEvent) => boolean): Promise<StatusEvent>;
}

function createWatch({ tukio, output, signal }: Context, orderId: string): Watch {
  const endMs = performance.now() + waitMsMax;
  let last: StatusEvent | undefined;
  const print = (order: StatusEvent): void => {
    if (order.version === last?.version && order.epoch === last.epoch) return;
    last = order;
    output.json(order);
    output.line(stateText(order, output));
  };
  return {
    print,
    async until(matches) {
      for (;;) {
        if (last && (matches(last) || performance.now() > endMs)) return last;
        print(await next(tukio, orderId, { last, signal }));
      }
    },
  };
}

const next = (
  tukio: Tukio,
  orderId: string,
  { last, signal }: { last: StatusEvent | undefined; signal: AbortSignal },
): Promise<StatusEvent> =>
  tukio.orders.wait(orderId, { after: last ? `${last.epoch ?? 0}.${last.version}` : 0, timeoutS: 20, signal });

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
