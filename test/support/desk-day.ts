/**
 * A merchant's day in the sandbox, for the desk: orders with every provider and outcome, two payments of one order, an endpoint that
 * fails, payment links and plans. `npx node test/support/desk-day.ts <url> <API key>` fills a node that runs.
 */
import { setTimeout as wait } from "node:timers/promises";
import { call } from "./node.ts";

interface Shop {
  url: string;
  apiKey: string;
}

/** A number of each sandbox, without the two digits that choose the outcome, and a typical amount. */
const payers = {
  daraja: { currency: "KES", phone: "07121110", amountMinor: 145_000 },
  payhero: { currency: "KES", phone: "07121120", amountMinor: 60_000 },
  lipana: { currency: "KES", phone: "07121130", amountMinor: 275_000 },
  zenopay: { currency: "TZS", phone: "06211110", amountMinor: 1_500_000 },
  bkash: { currency: "BDT", phone: "017701110", amountMinor: 89_000 },
  mtn: { currency: "UGX", phone: "07721110", amountMinor: 35_000 },
} as const;

type PayerName = keyof typeof payers;

/** By the last two digits of the phone: docs/sandbox.md. */
const outcomes: readonly (readonly [PayerName, ending: string, times: number])[] = [
  ["daraja", "01", 14],
  ["daraja", "02", 3],
  ["daraja", "03", 2],
  ["daraja", "04", 1],
  ["daraja", "05", 2],
  ["daraja", "06", 1],
  ["daraja", "07", 1],
  ["payhero", "01", 4],
  ["payhero", "02", 1],
  ["lipana", "01", 5],
  ["lipana", "10", 1],
  ["lipana", "12", 2],
  ["zenopay", "01", 4],
  ["zenopay", "10", 1],
  ["zenopay", "02", 1],
  ["mtn", "01", 4],
  ["mtn", "03", 1],
  ["mtn", "10", 1],
  ["bkash", "01", 1],
];

const people = ["Amina Yusuf", "Brian Otieno", "Chipo Moyo", "Farhana Akter", "Grace Wanjiru", "Joseph Mushi"];
const goods = ["Mombasa–Nairobi, seat 14B", "WiFi for a week", "Two tickets, Saturday", "Clinic visit", "School fees"];

/** Fills a node. Resolves when every payment that can end by itself has ended. */
export async function fillDay(shop: Shop, { share = 1 } = {}): Promise<void> {
  await createEndpoint(shop);
  const wanted = outcomes.flatMap(([name, ending, times]) =>
    Array.from({ length: Math.max(1, Math.round(times * share)) }, () => ({ name, ending })),
  );
  const ids = await Promise.all(wanted.map((wish, index) => startOrder(shop, `SHOP-${1001 + index}`, wish, index)));
  await Promise.all([
    payTwice(shop, "SHOP-2001"),
    createLinks(shop),
    createPlans(shop),
    ...ids.filter((_, index) => wanted[index]?.name !== "bkash").map((id) => untilSettled(shop, id)),
  ]);
  await giveResult(shop, "SHOP-1001");
}

async function send(shop: Shop, path: string, body?: object): Promise<Awaited<ReturnType<typeof call>>> {
  for (let tries = 1; ; tries += 1) {
    const answer = await call(shop.url + path, {
      method: body ? "POST" : "GET",
      headers: { authorization: `Bearer ${shop.apiKey}`, "content-type": "application/json" },
      ...(body && { body: JSON.stringify(body) }),
    });
    if (answer.status < 400) return answer;
    if (![429, 503].includes(answer.status) || tries === 20) {
      throw new Error(`${path}: ${answer.status} ${JSON.stringify(answer.body)}`);
    }
    await wait(Number(answer.headers.get("retry-after") ?? "1") * 1_000);
  }
}

/** Starts a payment. The digits before the ending differ, because one phone takes ten payments in ten minutes. */
async function startOrder(
  shop: Shop,
  orderId: string,
  { name, ending }: { name: PayerName; ending: string },
  index: number,
): Promise<string> {
  const { currency, phone, amountMinor: usual } = payers[name];
  const amountMinor = usual + (index % 5) * (currency === "UGX" ? 500 : 10_000);
  const person = people[index % people.length] ?? "";
  await send(shop, "/v1/payments", {
    orderId,
    amountMinor,
    currency,
    provider: name,
    ...(name !== "bkash" && { phone: phone.slice(0, -1) + (index % 10) + ending }),
    description: goods[index % goods.length],
    customer: { id: `C-${100 + (index % people.length)}`, name: person, email: `${person.split(" ")[0]}@example.com` },
    items: [{ name: goods[index % goods.length], quantity: 1, unitAmountMinor: amountMinor, sku: `SKU-${index % 5}` }],
    metadata: { branch: index % 2 === 0 ? "Moi Avenue" : "Kisumu" },
  });
  return orderId;
}

async function untilSettled(shop: Shop, orderId: string): Promise<void> {
  for (;;) {
    const { body } = await send(shop, `/v1/orders/${orderId}/wait?timeout=20`);
    if (body.settled) return;
  }
}

/** The first attempt expires, the second one is paid, and then the first one too. */
async function payTwice(shop: Shop, orderId: string): Promise<void> {
  await startOrder(shop, orderId, { name: "lipana", ending: "09" }, 0);
  await untilSettled(shop, orderId);
  await startOrder(shop, orderId, { name: "lipana", ending: "01" }, 0);
  for (;;) {
    const { body } = await send(shop, `/v1/orders/${orderId}`);
    if (body.order.reason === "paid_twice") return;
    await wait(250);
  }
}

/** Nothing listens at its address. */
const createEndpoint = async (shop: Shop): Promise<unknown> =>
  send(shop, "/v1/endpoints", { url: "http://localhost:9/hooks/tukio", description: "Till in the shop" });

const createLinks = async (shop: Shop): Promise<unknown> =>
  Promise.all(
    ["Deposit for the hall", "Bicycle repair", "Catering for 40"].map((description, index) =>
      send(shop, "/v1/payment-links", {
        orderId: `LINK-${index + 1}`,
        amountMinor: 250_000 + index * 50_000,
        currency: "KES",
        description,
      }),
    ),
  );

const createPlans = async (shop: Shop): Promise<unknown> =>
  Promise.all(
    ["Laptop", "Solar panel"].map((description, index) =>
      send(shop, "/v1/plans", {
        planId: `PLAN-${index + 1}`,
        kind: "instalments",
        currency: "KES",
        customer: { id: `C-${100 + index}`, phone: "0712111400" },
        description,
        schedule: { amountMinor: 450_000, every: { months: 1 }, count: 6, firstDueAt: new Date().toISOString() },
      }),
    ),
  );

const giveResult = async (shop: Shop, orderId: string): Promise<unknown> =>
  send(shop, `/v1/orders/${orderId}/results`, { id: "seat", kind: "ticket", title: "Seat 14B", code: "TUK-7F3A" });

if (import.meta.main) {
  const [url, apiKey] = process.argv.slice(2);
  if (!url || !apiKey) throw new Error("desk-day.ts <url> <API key>");
  await fillDay({ url, apiKey });
}
