/** The prompts of payments at real nodes, as the phone's page and programs read them. */
import { beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { createPhone } from "../../server/sandbox/phone.ts";
import { type PaymentFacts, viewPrompts } from "../../server/sandbox/prompt-view.ts";
import { createDatabase } from "../support/database.ts";
import { call, pay, startNode, type TestNode } from "../support/node.ts";
import { buyByApi } from "../support/visit.ts";

let databaseUrl: string;
beforeAll(async () => {
  const database = await createDatabase();
  databaseUrl = database.url;
  return database.drop;
});

/** Waits for the prompt on a phone. */
async function promptOn(node: TestNode, phone: string): Promise<object | undefined> {
  const read = async () => (await call(`${node.url}/sandbox/phone/${phone}/prompts`)).body.prompts[0];
  return vi.waitUntil(read);
}

const payers = {
  daraja: { currency: "KES", phone: "+254712345" },
  payhero: { currency: "KES", phone: "+254722345" },
  lipana: { currency: "KES", phone: "+254711345" },
  zenopay: { currency: "TZS", phone: "+255712345", amountMinor: 300_000 },
  bkash: { currency: "BDT", phone: "+8801712345" },
  mtn: { currency: "UGX", phone: "+256771234" },
} as const;

describe.each(Object.entries(payers))("prompt of a payment with %s", (provider, { phone, ...payer }) => {
  it("names the merchant, the order and the description of its payment", async () => {
    const node = await startNode({ databaseUrl });
    const description = "2 tickets, Saturday";
    await pay(node, { provider, ...payer, phone: `${phone}600`, orderId: `A-1-${provider}`, description });
    expect(await promptOn(node, `${phone}600`)).toMatchObject({
      merchant: "Sandbox Merchant",
      account: `A-1-${provider}`,
      description,
    });
    const metadata = { merchant: " Kilimo Shop " };
    const { order } = await pay(node, { provider, ...payer, phone: `${phone}700`, metadata });
    const named = await promptOn(node, `${phone}700`);
    // M-Pesa shows the last twelve characters of the reference.
    expect(named).toMatchObject({ merchant: "Kilimo Shop", account: order.orderId.slice(-12) });
    await buyByApi(node, { provider, phone: `${phone}800` });
    expect(await promptOn(node, `${phone}800`)).toMatchObject({
      merchant: "Tukio Demo Shop",
      description: expect.stringContaining("Spiced tea"),
    });
  });
});

describe("read of a phone's prompts", () => {
  it("reads facts once, and facts that are not there at most every 5 s", async () => {
    vi.useFakeTimers({ toFake: ["Date"] });
    onTestFinished(() => void vi.useRealTimers());
    const phone = createPhone();
    onTestFinished(() => phone.close());
    const clue = { paymentId: "0199f2c4-7c1e-7b1a-9f5e-2d8c6a3b4e52" };
    phone.prompt({ provider: "daraja", phone: "+254712345600", amountMinor: 1, currency: "KES", clue });
    const answers: (PaymentFacts | undefined)[] = [undefined, { orderId: "ORD-1" }];
    let reads = 0;
    const view = () => viewPrompts(phone, "0712345600", async () => answers[reads++]);
    expect((await view())[0]).not.toHaveProperty("account");
    vi.advanceTimersByTime(4_999);
    await view();
    expect(reads).toBe(1);
    vi.advanceTimersByTime(1);
    expect(await view()).toMatchObject([{ account: "ORD-1" }]);
    vi.advanceTimersByTime(3_600_000);
    await view();
    expect(reads).toBe(2);
  });

  it("states whether the number answers automatically", async () => {
    const node = await startNode({ databaseUrl });
    for (const [phone, answersItself] of [
      ["0712 345-600", false],
      ["0712 345-601", true],
    ] as const) {
      const { body } = await call(`${node.url}/sandbox/phone/${encodeURIComponent(phone)}/prompts`);
      expect(body).toEqual({ prompts: [], answersItself, sms: [] });
    }
  });

  it("is logged at the level debug, because pages repeat it every second, and a refused one at info", async () => {
    const node = await startNode({ databaseUrl });
    await call(`${node.url}/sandbox/phone/0712345600/prompts`);
    await call(`${node.url}/sandbox/phone/${"7".repeat(65)}/prompts`);
    const lines = () => node.log.map((line) => JSON.parse(line)).filter(({ event }) => event === "http.request");
    await vi.waitUntil(() => lines().length === 2);
    expect(lines().map(({ level, status }) => [level, status])).toEqual([
      [20, 200],
      [30, 400],
    ]);
  });
});
