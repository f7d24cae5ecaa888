/**
 * The contract that every provider must fulfil: the adapter against scripted answers, webhooks at a real node, and each test
 * number from the request to the watcher against the built-in sandbox.
 *
 * Not covered, because it differs: the exact fields of a request, tokens beyond their replacement, and the provider's pages,
 * which each provider's own tests cover; and the meaning of each message, which its fixture states.
 */
import { beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { openDatabase } from "../../server/database/pool.ts";
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

/** One payment, as the provider states it. */
export interface StatedPayment {
  paymentId: string;
  reference: string;
  amountMinor: number;
  receipt: string;
}

/** The settled states of a test number, in their order. */
export type Ending = readonly { status: StatusEvent["status"]; reason?: Reason }[];

/** The differences between providers. */
export interface Driver {
  name: ProviderName;
  currency: string;
  amountMinor: number;
  /** A phone of the provider's country in E.164 that ends in these two digits. */
  phone(ending: string): string;
  /** Classifies a call. Only `initiate` requests money. */
  kindOf(call: ScriptedCall): "token" | "initiate" | "confirm" | "other";
  /** The answer to a token call; absent without access tokens. */
  token?: ScriptedAnswer;
  /** The name of the fixture that refuses an access token. */
  tokenRefused?: string;
  /** The answer that accepts a request. `reference` is the reference, unless we choose it. */
  accepted(reference: string, call: ScriptedCall): ScriptedAnswer;
  /** The reference of a payment, if we choose it. */
  referenceOf?(payment: Payment, given: string): string;
  /** The answers to `confirm`. */
  confirmed: {
    succeeded(stated: StatedPayment): ScriptedAnswer;
    open(stated: StatedPayment): ScriptedAnswer;
  };
  /** The webhook of a success. */
  succeeded(stated: StatedPayment): { headers: Record<string, string>; body: string };
  /** The headers that sign a body; absent if the provider does not sign the bytes. */
  sign?(body: string): Record<string, string>;
  /** The same webhook without a valid proof. Leave it out if the URL's secret is the only proof, or if there is none. */
  forged?(stated: StatedPayment): { headers: Record<string, string>; body: string };
  /** The provider sends the webhooks of all payments to one URL. */
  isAccountWide?: boolean;
  /** The endings that differ from the table of test numbers. Null: the provider cannot express the test number. */
  endings?: Readonly<Record<string, Ending | null>>;
}

const late = [
  { status: "expired", reason: "deadline" },
  { status: "succeeded", reason: "late" },
] as const;
const failed = (reason: Reason): Ending => [{ status: "failed", reason }];

/** The table of test numbers (docs/sandbox.md). */
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

  /** The adapter of a provider that returns these answers, and usual answers to the other calls. */
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

  describe(`${name}: initiate`, () => {
    it("returns a reference, and sends one request (G10)", async () => {
      const { provider, asked } = await open({});
      expect(await initiated(provider)).toBe(`accepted ${known().reference}`);
      expect(asked()).toHaveLength(1);
    });

    it.each(garbage)("reads %s as unknown, and sends one request (G10)", async (_, answer) => {
      const { provider, asked } = await open({ initiate: () => answer });
      expect(await initiated(provider)).toBe("unknown");
      expect(asked()).toHaveLength(1);
    });

    it.runIf(driver.tokenRefused)("replaces a refused token once", async () => {
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

  describe(`${name}: confirm`, () => {
    it("returns a success or processing, and requests no money", async () => {
      const { provider, asked } = await open({ confirm: () => confirmed.succeeded(statedOf(known())) });
      expect(await provider.confirm(known(), never)).toMatchObject({ status: "succeeded", source: "query" });
      const other = await open({});
      expect(await other.provider.confirm(known(), never)).toMatchObject({ status: "processing", source: "query" });
      expect([...asked(), ...other.asked()]).toEqual([]);
    });

    it("makes no call without a reference if and only if it declares needsReference", async () => {
      const { provider, script } = await open({});
      await provider.confirm(paymentOf(), never);
      const confirms = script.calls.filter((call) => kindOf(call) === "confirm");
      expect(confirms.length === 0).toBe(provider.needsReference === true);
    });

    it("states the receipt of a success if it declares statesReceipt", async () => {
      const { provider } = await open({ confirm: () => confirmed.succeeded(statedOf(known())) });
      const outcome = await provider.confirm(known(), never);
      expect(outcome?.receipt !== undefined).toBe(provider.statesReceipt);
    });

    it("states the amount of a success if it declares statesAmount", async () => {
      const { provider } = await open({ confirm: () => confirmed.succeeded(statedOf(known())) });
      const outcome = await provider.confirm(known(), never);
      expect(outcome?.amountMinor).toBe(provider.statesAmount ? BigInt(amountMinor) : undefined);
      expect(outcome?.currency).toBe(provider.statesAmount ? currency : undefined);
    });

    it.runIf(driver.referenceOf)(
      "finds a payment without a stored reference if we choose it, and returns it",
      async () => {
        const { provider } = await open({ confirm: () => confirmed.succeeded(statedOf(known())) });
        const { reference: own } = known();
        expect(await provider.confirm(paymentOf(), never)).toMatchObject({ status: "succeeded", reference: own });
      },
    );

    // The deadline ends a payment without evidence, but not while its queries fail.
    it.each(garbage.filter(([, answer]) => answer === "drop" || answer.text !== undefined))(
      "throws for %s",
      async (_, answer) => {
        const { provider } = await open({ confirm: () => answer });
        await expect(provider.confirm(known(), never)).rejects.toThrow();
      },
    );

    it.each(garbage)("returns no evidence for %s (G7)", async (_, answer) => {
      const { provider } = await open({ confirm: () => answer });
      // An error means that the query failed, which is no evidence either.
      expect(await provider.confirm(known(), never).catch(() => undefined)).toBeUndefined();
    });
  });

  describe(`${name}: webhook at a node`, () => {
    let databaseUrl: string;
    beforeAll(async () => {
      const { url, drop } = await createDatabase();
      databaseUrl = url;
      return drop;
    });

    interface StartedPayment {
      node: TestNode;
      script: ScriptedProvider;
      order: StatusEvent;
      stated: StatedPayment;
      /** Makes the provider answer queries with this paid amount. */
      paid(amountMinor?: number): void;
      /** Releases the provider's reply to `initiate`. */
      accept(): void;
      webhookUrl: string;
      post(webhook: { headers: Record<string, string>; body: string }, secret?: string): Promise<number>;
      now(): Promise<StatusEvent>;
      until(status: StatusEvent["status"]): Promise<StatusEvent>;
    }

    let payments = 0;

    /** Starts a payment whose request has arrived at the provider. The reply is held until `accept`. */
    const start = async (): Promise<StartedPayment> => {
      payments += 1;
      const given = `REF-${process.pid}-${payments}`;
      const replying = Promise.withResolvers<void>();
      const asked = Promise.withResolvers<ScriptedCall>();
      let amountPaid: number | undefined;
      let stated: StatedPayment | undefined;
      const answerQuery = (): ScriptedAnswer => {
        if (!stated) return { body: {} };
        if (amountPaid === undefined) return confirmed.open(stated);
        return confirmed.succeeded({ ...stated, amountMinor: amountPaid });
      };
      const script = await startScriptedProvider(async (call) => {
        const kind = kindOf(call);
        if (kind === "token") return token;
        if (kind !== "initiate") return answerQuery();
        asked.resolve(call);
        await replying.promise;
        return driver.accepted(given, call);
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
        webhookUrl,
        post: async ({ headers, body }, url = webhookUrl) =>
          (await call(url, { method: "POST", headers: { "content-type": "application/json", ...headers }, body }))
            .status,
        now,
        until: (status) => vi.waitUntil(async () => (await now()).status === status && now(), { interval: 50 }),
      };
    };

    /** The webhook URL that the call has in its body or in a header. */
    const webhookUrlIn = ({ text, headers }: ScriptedCall): string | undefined =>
      driver.isAccountWide
        ? undefined
        : [text.replaceAll("\\/", "/"), ...Object.values(headers).map(String)]
            .map((given) => /https?:[^"\s]+?\/webhooks\/[a-z]+\/[0-9a-f]{64}/.exec(given)?.[0])
            .find((url) => url !== undefined);

    it("makes one change of three copies of a success (G6)", async () => {
      const started = await start();
      started.accept();
      await started.until("processing");
      started.paid();
      const webhook = driver.succeeded(started.stated);
      expect(await Promise.all([1, 2, 3].map(() => started.post(webhook)))).toEqual([200, 200, 200]);
      const settled = await started.until("succeeded");
      expect(await started.post(webhook)).toBe(200);
      const { body } = await asMerchant(started.node, `/v1/orders/${started.order.orderId}`);
      expect(body.events.filter(({ status }) => status === "succeeded")).toHaveLength(
        // If a query found the success, the webhook may add the receipt.
        1 + (body.order.version - settled.version),
      );
      expect(body.order.version).toBeLessThanOrEqual(4);
      expect(body.order.payment.amountPaidMinor).toBe(amountMinor);
    });

    it("applies a webhook to its URL with a slash at the end, and with a byte order mark", async () => {
      const started = await start();
      started.accept();
      await started.until("processing");
      started.paid();
      const { headers, body } = driver.succeeded(started.stated);
      const marked = `\ufeff${body}`;
      const webhook = { headers: { ...headers, ...driver.sign?.(marked) }, body: marked };
      expect(await started.post(webhook, `${started.webhookUrl}/`)).toBe(200);
      await started.until("succeeded");
      const database = openDatabase(databaseUrl, () => undefined);
      onTestFinished(database.close);
      const sent = Buffer.from(marked);
      const { rows } = await database.pool.query("select from webhook where body = $1", [sent]);
      expect(rows).toHaveLength(1);
    });

    it("applies a webhook before the reply to our request, and keeps the reference", async () => {
      const started = await start();
      started.paid();
      expect(await started.post(driver.succeeded(started.stated))).toBe(200);
      started.accept();
      await started.until("succeeded");
      const { body } = await asMerchant(started.node, `/v1/orders/${started.order.orderId}`);
      await vi.waitUntil(
        async () =>
          (await asMerchant(started.node, `/v1/orders/${started.order.orderId}`)).body.payments[0]?.reference ===
          started.stated.reference,
      );
      expect(body.payments).toHaveLength(1);
    });

    it("changes nothing for a forged webhook (G7)", async () => {
      const started = await start();
      started.accept();
      const { version } = await started.until("processing");
      const forged = driver.forged?.(started.stated) ?? driver.succeeded(started.stated);
      const url = driver.isAccountWide
        ? undefined
        : `${started.node.url}/webhooks/${name}/${"0".repeat(32)}${"f".repeat(32)}`;
      expect(await started.post(forged, url)).toBe(driver.isAccountWide && !driver.forged ? 200 : 401);
      expect(await started.now()).toMatchObject({ status: "processing", version });
    });

    it("refuses an unreadable webhook, and changes nothing", async () => {
      const started = await start();
      started.accept();
      const { version } = await started.until("processing");
      const { headers } = driver.succeeded(started.stated);
      for (const body of ["", "{", "<html>", "[]", "{}", "null"]) {
        // The signature of a signed webhook does not match these bytes.
        expect([400, 401]).toContain(await started.post({ headers, body }));
      }
      expect(await started.now()).toMatchObject({ status: "processing", version });
    });

    it("changes nothing for a webhook that names another payment (G7)", async () => {
      const started = await start();
      started.accept();
      const { version } = await started.until("processing");
      const other = {
        ...started.stated,
        reference: "REF-OF-NOBODY",
        paymentId: "0199f2c4-0000-7000-8000-00000000dead",
      };
      expect(await started.post(driver.succeeded(other))).toBe(200);
      expect(await started.now()).toMatchObject({ status: "processing", version });
    });

    it("puts a success with another amount into review (G8)", async () => {
      const started = await start();
      started.accept();
      await started.until("processing");
      const wrong = { ...started.stated, amountMinor: amountMinor + 100 };
      started.paid(wrong.amountMinor);
      expect(await started.post(driver.succeeded(wrong))).toBe(200);
      expect(await started.until("review")).toMatchObject({ reason: "amount_mismatch" });
    });
  });

  describe(`${name}: test numbers at the sandbox`, () => {
    const rows = Object.entries({ ...endings, ...driver.endings });
    const played = rows.flatMap(([ending, as]) => (as ? [[ending, as] as const] : []));

    it(`show watchers the endings of the table: ${played.map(([ending]) => ending).join(" ")}`, async () => {
      const { url: databaseUrl, drop } = await createDatabase();
      try {
        // Twice the sandbox's deadline, because a slow machine may answer later.
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
            // A receipt that arrives later makes one more event with the same status.
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
