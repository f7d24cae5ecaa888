/**
 * What every provider must pass: the adapter against a server that answers as stated, webhooks at a real node, and every
 * test number from the request to the watcher against the built-in sandbox.
 *
 * Not covered, because it differs: the exact fields that are sent, tokens beyond their replacement, and pages that a
 * payer is sent to, which are in each provider's own tests; and what each message means, which its fixture says.
 */
import { beforeAll, describe, expect, it, vi } from "vitest";
import type { Payment, Reason, StatusEvent } from "../../server/order/order.ts";
import { Declined, type Provider } from "../../server/provider/provider.ts";
import type { ProviderName } from "../../server/provider/registry.ts";
import { createDatabase } from "../support/database.ts";
import { asMerchant, call, pay, startNode, type TestNode } from "../support/node.ts";
import { fixture } from "../support/sandbox.ts";
import {
  openProvider,
  providerEnv,
  type ScriptedAnswer,
  type ScriptedCall,
  type ScriptedProvider,
  startScriptedProvider,
} from "../support/scripted-provider.ts";
import { transportNames, watch } from "../support/watch.ts";

/** What a provider says of one payment. */
export interface StatedPayment {
  paymentId: string;
  reference: string;
  amountMinor: number;
  receipt: string;
}

/** How a test number ends: in the order of time when it ends more than once. */
export type Ending = readonly { status: StatusEvent["status"]; reason?: Reason }[];

/** What differs between providers, for the suite. */
export interface Driver {
  name: ProviderName;
  currency: string;
  amountMinor: number;
  /** E.164, of the provider's country, ending in these two digits. */
  phone(ending: string): string;
  /** Which kind of call this is; only `initiate` asks for money. */
  kindOf(call: ScriptedCall): "token" | "initiate" | "confirm" | "other";
  /** The answer to a token call, where there are any. */
  token?: ScriptedAnswer;
  /** What says that the token is not good any more: the name of a fixture. */
  tokenRefused?: string;
  /** The provider accepted: a payment that it knows by this reference (or by our own id). */
  accepted(reference: string, call: ScriptedCall): ScriptedAnswer;
  /** Where the reference is ours: what the payment is known by, whether its request was answered or not. */
  referenceOf?(payment: Payment, given: string): string;
  /** The answers to `confirm`. */
  confirmed: {
    succeeded(stated: StatedPayment): ScriptedAnswer;
    open(stated: StatedPayment): ScriptedAnswer;
  };
  /** A webhook of success as it is posted: `path` is below `/webhooks/<name>`, with the URL's secret unless it is account-wide. */
  succeeded(stated: StatedPayment): { headers: Record<string, string>; body: string };
  /** The same, as a stranger would send it. Where nothing proves a webhook, leave out. */
  forged?(stated: StatedPayment): { headers: Record<string, string>; body: string };
  /** Webhooks go to one address for all payments. */
  isAccountWide?: boolean;
  /** Endings of test numbers that differ from the table of the contract; null: makes no sense here. */
  endings?: Readonly<Record<string, Ending | null>>;
}

const late = [
  { status: "expired", reason: "deadline" },
  { status: "succeeded", reason: "late" },
] as const;
const failed = (reason: Reason): Ending => [{ status: "failed", reason }];

/** The table of test numbers. */
const endings: Readonly<Record<string, Ending>> = {
  "00": [{ status: "expired", reason: "deadline" }],
  "01": [{ status: "succeeded" }],
  "02": failed("cancelled"),
  "03": failed("insufficient_funds"),
  "04": failed("wrong_pin"),
  "05": [{ status: "expired", reason: "no_response" }],
  "06": [{ status: "succeeded" }],
  "07": [{ status: "succeeded" }],
  "08": [{ status: "succeeded" }],
  "09": late,
  "10": [{ status: "review", reason: "amount_mismatch" }],
  "11": [{ status: "succeeded" }],
  "12": [{ status: "expired", reason: "deadline" }],
};

const never = new AbortController().signal;
const urls = { webhook: new URL("https://pay.example/webhooks/x/1"), return: new URL("https://pay.example/return/2") };
const html: ScriptedAnswer = { text: "<html><body>Bad gateway</body></html>" };
const garbage: readonly (readonly [string, ScriptedAnswer | "drop"])[] = [
  ["an HTML page", html],
  ["an HTML page with 502", { ...html, status: 502 }],
  ["an empty body", { text: "" }],
  ["503 without a body", { status: 503, text: "" }],
  ["JSON that is no object", { body: [] }],
  ["a reply without any field", { body: {} }],
  ["a connection that drops", "drop"],
];

export function testProvider(driver: Driver): void {
  const { name, currency, amountMinor, phone, kindOf, confirmed } = driver;
  const token = driver.token ?? { body: {} };
  const reference = "REF-1001";

  const paymentOf = (fields: Partial<Payment> = {}): Payment => ({
    id: "0199f2c4-0000-7000-8000-000000000001",
    orderId: "ORD-1001",
    attempt: 1,
    provider: name,
    amountMinor: BigInt(amountMinor),
    currency,
    phone: phone("00"),
    ...fields,
  });
  const known = (given = reference): Payment =>
    paymentOf({ reference: driver.referenceOf?.(paymentOf(), given) ?? given });
  const statedOf = ({ id, reference: own = reference }: Payment): StatedPayment => ({
    paymentId: id,
    reference: own,
    amountMinor,
    receipt: "RCPT000001",
  });

  /** The adapter, with one kind of call answered so and everything else as it should be. */
  const open = async (
    answers: Partial<Record<"initiate" | "confirm", (call: ScriptedCall) => ScriptedAnswer | "drop">>,
  ): Promise<{ provider: Provider; script: ScriptedProvider; asked: () => ScriptedCall[] }> => {
    const script = await startScriptedProvider((call) => {
      const kind = kindOf(call);
      if (kind === "token") return token;
      if (kind === "initiate") return answers.initiate?.(call) ?? driver.accepted(reference, call);
      return answers.confirm?.(call) ?? confirmed.open(statedOf(known()));
    });
    const asked = () => script.calls.filter((call) => kindOf(call) === "initiate");
    return { provider: openProvider(name, script.url), script, asked };
  };

  const initiated = (provider: Provider): Promise<string> =>
    provider.initiate(paymentOf(), urls, never).then(
      ({ reference: given }) => `accepted ${given}`,
      (error: unknown) => (error instanceof Declined ? `declined ${error.reason}` : "unknown"),
    );

  describe(`${name}: asking for money`, () => {
    it("is accepted with a reference, asking once", async () => {
      const { provider, asked } = await open({});
      expect(await initiated(provider)).toBe(`accepted ${known().reference}`);
      expect(asked()).toHaveLength(1);
    });

    it.each(garbage)("%s leaves it unknown, and nobody asks twice", async (_, answer) => {
      const { provider, asked } = await open({ initiate: () => answer });
      expect(await initiated(provider)).toBe("unknown");
      expect(asked()).toHaveLength(1);
    });

    it.runIf(driver.tokenRefused)("a token that died in the meantime is replaced once", async () => {
      const refusal = fixture(name, driver.tokenRefused ?? "");
      let refusals = 1;
      const { provider, script } = await open({
        initiate: (call) => (refusals-- > 0 ? refusal : driver.accepted(reference, call)),
      });
      expect(await initiated(provider)).toMatch(/^accepted /);
      expect(script.calls.filter((call) => kindOf(call) === "token")).toHaveLength(2);
      refusals = 99;
      expect(await initiated(provider)).toMatch(/^declined|^unknown/);
      expect(script.calls.length).toBeLessThan(9);
    });
  });

  describe(`${name}: asking what happened`, () => {
    it("tells a success, that it is still open, and moves no money", async () => {
      const { provider, asked } = await open({ confirm: () => confirmed.succeeded(statedOf(known())) });
      expect(await provider.confirm(known(), never)).toMatchObject({ status: "succeeded", source: "query" });
      const other = await open({});
      expect(await other.provider.confirm(known(), never)).toMatchObject({ status: "processing", source: "query" });
      expect([...asked(), ...other.asked()]).toEqual([]);
    });

    it("asks nothing about a payment without a reference exactly if it says so", async () => {
      const { provider, script } = await open({});
      await provider.confirm(paymentOf(), never);
      const confirms = script.calls.filter((call) => kindOf(call) === "confirm");
      expect(confirms.length === 0).toBe(provider.needsReference === true);
    });

    it("states the receipt of a success if it says it can", async () => {
      const { provider } = await open({ confirm: () => confirmed.succeeded(statedOf(known())) });
      const outcome = await provider.confirm(known(), never);
      expect(outcome?.receipt !== undefined).toBe(provider.statesReceipt);
    });

    it("states the amount of a success if it says it can", async () => {
      const { provider } = await open({ confirm: () => confirmed.succeeded(statedOf(known())) });
      const outcome = await provider.confirm(known(), never);
      expect(outcome?.amountMinor).toBe(provider.statesAmount ? BigInt(amountMinor) : undefined);
      expect(outcome?.currency).toBe(provider.statesAmount ? currency : undefined);
    });

    it.runIf(driver.referenceOf)(
      "needs no reply to our request where the reference is ours, and tells it",
      async () => {
        const { provider } = await open({ confirm: () => confirmed.succeeded(statedOf(known())) });
        const { reference: own } = known();
        expect(await provider.confirm(paymentOf(), never)).toMatchObject({ status: "succeeded", reference: own });
      },
    );

    // The clock ends a payment of which nothing can be learnt, but not while its provider cannot be asked.
    it.each(garbage.filter(([, answer]) => answer === "drop" || answer.text !== undefined))(
      "%s is no answer",
      async (_, answer) => {
        const { provider } = await open({ confirm: () => answer });
        await expect(provider.confirm(known(), never)).rejects.toThrow();
      },
    );

    it.each(garbage)("%s teaches nothing", async (_, answer) => {
      const { provider } = await open({ confirm: () => answer });
      // Throwing says that the provider could not be asked; either way nothing is known.
      expect(await provider.confirm(known(), never).catch(() => undefined)).toBeUndefined();
    });
  });

  describe(`${name}: webhooks at a node`, () => {
    let databaseUrl: string;
    beforeAll(async () => {
      const { url, drop } = await createDatabase();
      databaseUrl = url;
      return drop;
    });

    interface Ground {
      node: TestNode;
      script: ScriptedProvider;
      order: StatusEvent;
      stated: StatedPayment;
      /** Lets the provider say that this was paid, when it is asked. */
      paid(amountMinor?: number): void;
      /** Lets the provider's reply to `initiate` go. */
      accept(): void;
      post(webhook: { headers: Record<string, string>; body: string }, secret?: string): Promise<number>;
      now(): Promise<StatusEvent>;
      until(status: StatusEvent["status"]): Promise<StatusEvent>;
    }

    let payments = 0;

    /** A payment that the provider was asked for; its reply is held until it is let go. */
    const start = async (): Promise<Ground> => {
      payments += 1;
      const given = `REF-${process.pid}-${payments}`;
      const replying = Promise.withResolvers<void>();
      const asked = Promise.withResolvers<ScriptedCall>();
      let amountPaid: number | undefined;
      let stated: StatedPayment | undefined;
      const script = await startScriptedProvider(async (call) => {
        const kind = kindOf(call);
        if (kind === "token") return token;
        if (kind === "initiate") {
          asked.resolve(call);
          await replying.promise;
          return driver.accepted(given, call);
        }
        if (!stated) return { body: {} };
        return amountPaid === undefined
          ? confirmed.open(stated)
          : confirmed.succeeded({ ...stated, amountMinor: amountPaid });
      });
      const env = providerEnv(name, script.url);
      const node = await startNode({ databaseUrl, env });
      const { order } = await pay(node, { provider: name, amountMinor, currency, phone: phone("00") });
      const { id: paymentId } = order.payment;
      stated = {
        paymentId,
        reference: driver.referenceOf?.({ ...paymentOf(), id: paymentId }, given) ?? given,
        amountMinor,
        receipt: `R${process.pid}${payments}`,
      };
      const webhookUrl = webhookUrlIn(await asked.promise) ?? `${node.url}/webhooks/${name}`;
      const now = async () => (await asMerchant(node, `/v1/orders/${order.orderId}`)).body.order;
      return {
        node,
        script,
        order,
        stated,
        paid(minor = amountMinor) {
          amountPaid = minor;
        },
        accept: replying.resolve,
        post: async ({ headers, body }, url = webhookUrl) =>
          (await call(url, { method: "POST", headers: { "content-type": "application/json", ...headers }, body }))
            .status,
        now,
        until: (status) => vi.waitUntil(async () => (await now()).status === status && now(), { interval: 50 }),
      };
    };

    /** The address with a secret that the call gave to the provider, in its body or in a header. */
    const webhookUrlIn = ({ text, headers }: ScriptedCall): string | undefined =>
      driver.isAccountWide
        ? undefined
        : [text.replaceAll("\\/", "/"), ...Object.values(headers).map(String)]
            .map((given) => /https?:[^"\s]+?\/webhooks\/[a-z]+\/[0-9a-f]{64}/.exec(given)?.[0])
            .find((url) => url !== undefined);

    it("a success, three times over, is one change", async () => {
      const ground = await start();
      ground.accept();
      await ground.until("processing");
      ground.paid();
      const webhook = driver.succeeded(ground.stated);
      expect(await Promise.all([1, 2, 3].map(() => ground.post(webhook)))).toEqual([200, 200, 200]);
      const settled = await ground.until("succeeded");
      expect(await ground.post(webhook)).toBe(200);
      const { body } = await asMerchant(ground.node, `/v1/orders/${ground.order.orderId}`);
      expect(body.events.filter(({ status }) => status === "succeeded")).toHaveLength(
        // Where we had to ask, the webhook may still bring the receipt.
        1 + (body.order.version - settled.version),
      );
      expect(body.order.version).toBeLessThanOrEqual(4);
      expect(body.order.payment.amountPaidMinor).toBe(amountMinor);
    });

    it("one before the reply to our own request loses nothing, and the reference is kept", async () => {
      const ground = await start();
      ground.paid();
      expect(await ground.post(driver.succeeded(ground.stated))).toBe(200);
      ground.accept();
      await ground.until("succeeded");
      const { body } = await asMerchant(ground.node, `/v1/orders/${ground.order.orderId}`);
      await vi.waitUntil(
        async () =>
          (await asMerchant(ground.node, `/v1/orders/${ground.order.orderId}`)).body.payments[0]?.reference ===
          ground.stated.reference,
      );
      expect(body.payments).toHaveLength(1);
    });

    it("a forged one changes nothing", async () => {
      const ground = await start();
      ground.accept();
      const { version } = await ground.until("processing");
      const forged = driver.forged?.(ground.stated) ?? driver.succeeded(ground.stated);
      const url = driver.isAccountWide
        ? undefined
        : `${ground.node.url}/webhooks/${name}/${"0".repeat(32)}${"f".repeat(32)}`;
      expect(await ground.post(forged, url)).toBe(driver.isAccountWide && !driver.forged ? 200 : 401);
      expect(await ground.now()).toMatchObject({ status: "processing", version });
    });

    it("one that cannot be read is refused as such, and changes nothing", async () => {
      const ground = await start();
      ground.accept();
      const { version } = await ground.until("processing");
      const { headers } = driver.succeeded(ground.stated);
      for (const body of ["", "{", "<html>", "[]", "{}", "null"]) {
        // A signature is over the bytes: these have none that fits.
        expect([400, 401]).toContain(await ground.post({ headers, body }));
      }
      expect(await ground.now()).toMatchObject({ status: "processing", version });
    });

    it("one that names another payment is no proof for this one", async () => {
      const ground = await start();
      ground.accept();
      const { version } = await ground.until("processing");
      const other = { ...ground.stated, reference: "REF-OF-NOBODY", paymentId: "0199f2c4-0000-7000-8000-00000000dead" };
      expect(await ground.post(driver.succeeded(other))).toBe(200);
      expect(await ground.now()).toMatchObject({ status: "processing", version });
    });

    it("another amount than agreed waits for a person", async () => {
      const ground = await start();
      ground.accept();
      await ground.until("processing");
      const wrong = { ...ground.stated, amountMinor: amountMinor + 100 };
      ground.paid(wrong.amountMinor);
      expect(await ground.post(driver.succeeded(wrong))).toBe(200);
      expect(await ground.until("review")).toMatchObject({ reason: "amount_mismatch" });
    });
  });

  describe(`${name}: test numbers against the sandbox`, () => {
    const rows = Object.entries({ ...endings, ...driver.endings });
    const played = rows.flatMap(([ending, as]) => (as ? [[ending, as] as const] : []));

    it(`ends as the table says, seen by watchers: ${played.map(([ending]) => ending).join(" ")}`, async () => {
      const { url: databaseUrl, drop } = await createDatabase();
      try {
        // Twice the sandbox's own: a slow machine's answer is not to come after it.
        const env = { SANDBOX: name, [`${name.toUpperCase()}_DEADLINE_S`]: "20" };
        const node = await startNode({ databaseUrl, env });
        await Promise.all(
          played.map(async ([ending, as], index) => {
            const paid = await pay(node, { provider: name, amountMinor, currency, phone: phone(ending) });
            const { orderId } = paid.order;
            const transport = transportNames[index % transportNames.length] ?? "long poll";
            const { seen } = watch(transport, { node, orderId, token: paid.watchToken });
            const last = as.at(-1);
            await vi
              .waitUntil(() => seen.some(({ status, reason }) => status === last?.status && reason === last.reason), {
                timeout: 60_000,
                interval: 20,
              })
              .catch(() => undefined);
            const settled = seen.filter((event) => event.settled).map(({ status, reason }) => ({ status, reason }));
            const wanted = as.map(({ status, reason }) => ({ status, reason }));
            // A receipt learnt later is one more event of the same.
            expect([ending, ...dedupe(settled)]).toEqual([ending, ...wanted]);
            expect(seen.every(({ live }) => !live)).toBe(true);
          }),
        );
        await node.close();
      } finally {
        await drop();
      }
    }, 90_000);
  });
}

const dedupe = <T>(list: readonly T[]): T[] =>
  list.filter((one, index) => JSON.stringify(one) !== JSON.stringify(list[index - 1]));
