/** The shop's own routes, called by its page and by others. The sandbox stands in for the providers. */
import pg from "pg";
import { beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import type { StatusEvent } from "../../client-sdk/protocol.ts";
import { addEndpoint, startBackend } from "../support/backend.ts";
import { createDatabase } from "../support/database.ts";
import { type Answer, apiKey, asMerchant, call, pay, startNode, type TestNode } from "../support/node.ts";
import { createPayBrowser, payOnPage, settledOrder } from "../support/pay-page.ts";

let databaseUrl: string;
beforeAll(async () => {
  const database = await createDatabase();
  databaseUrl = database.url;
  return database.drop;
});

const start = (env: Record<string, string> = {}): Promise<TestNode> => startNode({ databaseUrl, env });

/** Calls a route like the shop's own page. */
const post = (node: TestNode, path: string, body: object = {}, headers: Record<string, string> = {}): Promise<Answer> =>
  call(`${node.url}/shop/${path}`, {
    method: "POST",
    headers: { "content-type": "application/json", "sec-fetch-site": "same-origin", ...headers },
    body: JSON.stringify(body),
  });

/** A provider that moves real money. */
const liveDaraja = {
  DARAJA_BASE_URL: "http://127.0.0.1:9",
  DARAJA_CONSUMER_KEY: "key",
  DARAJA_CONSUMER_SECRET: "secret",
  DARAJA_SHORTCODE: "174379",
  DARAJA_PASSKEY: "passkey",
};

const tea = { item: "tea", provider: "daraja", phone: "0712345600" };

const buy = async (node: TestNode, fields: object = {}): Promise<{ order: StatusEvent; watchToken: string }> => {
  const { status, body } = await post(node, "payments", { ...tea, ...fields });
  if (status !== 202) throw new Error(`refused: ${status} ${JSON.stringify(body)}`);
  return body;
};

const untilSettled = async (node: TestNode, { orderId }: StatusEvent): Promise<Answer["body"]> =>
  (await asMerchant(node, `/v1/orders/${orderId}/wait?timeout=20`)).body;

describe("purchase", () => {
  it("opens an order at the shop's price in the provider's currency, and returns its watch token", async () => {
    const node = await start();
    const { body } = await call(`${node.url}/shop/catalogue`);
    const { items, choices } = body as unknown as {
      items: { id: string; prices: Record<string, number> }[];
      choices: { provider: string; currency: string; phoneExample: string }[];
    };
    expect(choices.length).toBeGreaterThan(0);
    for (const [index, { provider, currency, phoneExample }] of choices.entries()) {
      const item = items[index % items.length];
      const { order, watchToken } = await buy(node, { item: item?.id, provider, phone: phoneExample });
      expect(order).toMatchObject({ amountMinor: item?.prices[currency], currency, live: false, version: 1 });
      expect(order.orderId).toMatch(/^SH-[2-9A-Z]{4}-[2-9A-Z]{4}$/);
      const watched = await call(`${node.url}/v1/orders/${order.orderId}?token=${watchToken}`);
      expect(watched.body).toMatchObject({ id: order.id });
    }
  });

  it.each([
    ["amountMinor", 1],
    ["currency", "TZS"],
    ["returnUrl", "https://elsewhere.example"],
    ["orderId", "SH-AAAA-CCCC"],
    ["metadata", {}],
  ])("refuses %s from the page", async (field, value) => {
    const node = await start();
    const { status, body } = await post(node, "payments", { ...tea, [field]: value });
    // An order id means another attempt, whose item comes from the order.
    const path = field === "orderId" ? "item" : field;
    expect({ status, errors: body.errors }).toMatchObject({ status: 400, errors: [{ path }] });
  });

  it("refuses an invalid phone number and an unknown item", async () => {
    const node = await start();
    const wrong = await post(node, "payments", { ...tea, phone: "12" });
    expect(wrong).toMatchObject({ status: 400, body: { code: "phone_invalid", errors: [{ path: "phone" }] } });
    expect(wrong.body.detail).toContain("M-Pesa");
    const unsold = await post(node, "payments", { ...tea, item: "yacht" });
    expect(unsold).toMatchObject({ status: 400, body: { code: "body_invalid", errors: [{ path: "item" }] } });
  });

  it("passes the email address on as the customer's, and refuses another text", async () => {
    const node = await start();
    const { order } = await buy(node, { ...tea, email: "amina@example.com" });
    const { body } = await asMerchant(node, `/v1/orders/${order.orderId}`);
    expect(body.customer).toEqual({ email: "amina@example.com" });
    const wrong = await post(node, "payments", { ...tea, email: "amina" });
    expect(wrong).toMatchObject({ status: 400, body: { code: "body_invalid", errors: [{ path: "email" }] } });
  });

  it("returns the payer to the page's origin, with the order id", async () => {
    const node = await start({ PUBLIC_URL: "https://shop.example/tukio" });
    const origins = { "https://shop.example": "https://shop.example/tukio/", [node.url]: `${node.url}/` };
    const pool = new pg.Pool({ connectionString: databaseUrl });
    onTestFinished(() => pool.end());
    for (const [origin, home] of Object.entries(origins)) {
      const { body } = await post(node, "payments", tea, { origin });
      const { rows } = await pool.query("select return_url from payment where id = $1", [body.order.payment.id]);
      expect(rows).toEqual([{ return_url: `${home}?orderId=${body.order.orderId}` }]);
    }
  });
});

describe("pay by link", () => {
  it("creates a link over the shop's price, at the page's own address", async () => {
    const node = await start({ PUBLIC_URL: "https://shop.example/tukio" });
    const origins = { "https://shop.example": "https://shop.example/tukio", [node.url]: node.url };
    for (const [origin, home] of Object.entries(origins)) {
      const { status, body } = await post(node, "links", { item: "tea", provider: "mtn" }, { origin });
      const { url, qr } = body as unknown as { url: string; qr: string };
      expect({ status, qr }).toEqual({ status: 201, qr: expect.stringMatching(/^<svg/) });
      expect(url.slice(0, -24)).toBe(`${home}/pay/`);
    }
  });

  it("gives the payer what was bought", async () => {
    const node = await start();
    const { body } = await post(node, "links", { item: "tea", provider: "daraja" });
    const { url } = body as unknown as { url: string };
    const browser = createPayBrowser(node, url);
    expect((await browser.open()).html).toContain("Spiced tea");
    await payOnPage(browser, { provider: "payhero", phone: "0712345601" });
    const { body: found } = await asMerchant(node, "/v1/payment-links?limit=1");
    const order = await settledOrder(node, found.data[0]?.orderId ?? "");
    expect(order).toMatchObject({ status: "succeeded", amountMinor: 15_000, currency: "KES" });
    await vi.waitUntil(async () => (await browser.open()).html.includes("TEA-"));
  });

  it("refuses an unknown item and provider", async () => {
    const node = await start();
    expect((await post(node, "links", { item: "yacht", provider: "daraja" })).body.code).toBe("body_invalid");
    expect((await post(node, "links", { item: "tea", provider: "paypal" })).body.code).toBe("provider_unknown");
  });
});

describe("pay in three instalments", () => {
  const { phone: _phone, ...goods } = tea;

  it("creates a plan over the shop's price whose first instalment is due now, at the page's own address", async () => {
    const node = await start({ PUBLIC_URL: "https://shop.example/tukio" });
    const origins = { "https://shop.example": "https://shop.example/tukio", [node.url]: node.url };
    for (const [origin, home] of Object.entries(origins)) {
      const { status, body } = await post(node, "plans", { ...tea, phone: "0712345601" }, { origin });
      const { url } = body as unknown as { url: string };
      expect(status).toBe(201);
      expect(url.slice(0, -24)).toBe(`${home}/plan/`);
      const answer = await fetch(`${node.url}/plan/${url.slice(-24)}`);
      const page = await answer.text();
      expect(page).toContain("Instalment 1 of 3<br>Due today");
      expect(page).toContain("KES 0.00 of KES 150.00 paid");
    }
  });

  it("has instalments in every currency of the shop", async () => {
    const node = await start();
    const { body } = await call(`${node.url}/shop/catalogue`);
    const { items, choices } = body as unknown as { items: { id: string }[]; choices: { provider: string }[] };
    for (const { id: item } of items) {
      for (const { provider } of choices) {
        expect([provider, (await post(node, "plans", { item, provider })).status]).toEqual([provider, 201]);
      }
    }
  });

  it("redirects the form of a browser without scripts to the plan's page", async () => {
    const node = await start();
    const send = (form: Record<string, string>, site = "same-origin") =>
      fetch(`${node.url}/shop/plans`, {
        method: "POST",
        body: new URLSearchParams(form),
        headers: { "sec-fetch-site": site },
        redirect: "manual",
      });
    const { status, headers } = await send({ item: "basket" });
    expect([status, headers.get("location")]).toEqual([303, expect.stringMatching(/^\.\.\/plan\/[\w-]{24}$/)]);
    const page = await fetch(new URL(headers.get("location") ?? "", `${node.url}/shop/plans`));
    expect(await page.text()).toContain("Woven basket");
    expect((await send({ item: "yacht" })).status).toBe(400);
    expect((await send({ item: "basket" }, "cross-site")).status).toBe(403);
  });

  it("gives the payer what was bought when the first instalment is paid", async () => {
    const node = await start();
    const { body } = await post(node, "plans", goods);
    const page = await (await fetch((body as unknown as { url: string }).url)).text();
    const path = /href="\.\.(\/pay\/[\w-]{24})"/.exec(page)?.[1] ?? "";
    const browser = createPayBrowser(node, node.url + path);
    await payOnPage(browser, { provider: "daraja", phone: "0712345601" });
    await vi.waitUntil(async () => (await browser.open()).html.includes("TEA-"));
  });

  it("moves the time of plans by a month, and not on a node with a live provider", async () => {
    const node = await start();
    const moved = await post(node, "plan-clock");
    const { now } = moved.body as unknown as { now: string };
    expect(moved.status).toBe(200);
    expect(Date.parse(now)).toBeGreaterThan(Date.now() + 27 * 86_400_000);
    // Due at the new time.
    expect((await post(node, "plans", goods)).status).toBe(201);
    expect((await post(node, "plan-clock", {}, { "sec-fetch-site": "cross-site" })).status).toBe(403);
    await node.close();
    const live = await start({ ...liveDaraja, SANDBOX: "payhero" });
    expect((await call(`${live.url}/shop/catalogue`)).body).toMatchObject({ hasClock: false });
    expect((await post(live, "plan-clock")).status).toBe(405);
  });

  it("refuses an unknown item, an unknown provider and an invalid phone", async () => {
    const node = await start();
    expect((await post(node, "plans", { ...goods, item: "yacht" })).body.code).toBe("body_invalid");
    expect((await post(node, "plans", { ...goods, provider: "paypal" })).body.code).toBe("provider_unknown");
    expect((await post(node, "plans", { ...goods, phone: "12" })).body.code).toBe("phone_invalid");
  });
});

describe("another attempt", () => {
  it("pays the same order at its price", async () => {
    const node = await start();
    const { order } = await buy(node, { phone: "0712345602" });
    await untilSettled(node, order);
    const again = await post(node, "payments", { orderId: order.orderId, provider: "daraja", phone: "0712345601" });
    expect(again).toMatchObject({
      status: 202,
      body: { item: "tea", order: { id: order.id, amountMinor: order.amountMinor, payment: { attempt: 2 } } },
    });
    expect(await untilSettled(node, order)).toMatchObject({ status: "succeeded" });
    const paid = await post(node, "payments", { orderId: order.orderId, provider: "daraja", phone: "0712345601" });
    expect(paid).toMatchObject({ status: 409, body: { code: "order_paid", order: { id: order.id } } });
  });

  it("is refused for orders that the shop did not open", async () => {
    const node = await start();
    await pay(node, { orderId: "SH-AAAA-CCCC" });
    for (const orderId of ["SH-AAAA-CCCC", "SH-AAAA-DDDD"]) {
      const again = await post(node, "payments", { orderId, provider: "daraja", phone: "0712345601" });
      expect(again).toMatchObject({ status: 404, body: { code: "order_unknown" } });
    }
  });
});

describe("paid order", () => {
  const untilGiven = async (node: TestNode, { orderId }: StatusEvent): Promise<Answer["body"]> =>
    vi.waitUntil(async () => {
      const { body } = await asMerchant(node, `/v1/orders/${orderId}`);
      return body.order.results ? body : undefined;
    }, 20_000);

  it.each([
    ["tea", "ticket", "Pick-up ticket: Spiced tea, 100\u00a0g", /^TEA(-\w{4}){3}$/],
    ["coffee", "voucher", "Voucher: Coffee beans, 250\u00a0g", /^COFFEE(-\w{4}){3}$/],
  ])("gets what was bought as a result: %s", async (item, kind, title, code) => {
    const node = await start();
    const { order } = await buy(node, { item, phone: "0712345601" });
    const { order: given, events } = await untilGiven(node, order);
    expect(given.results).toEqual([
      {
        id: "purchase",
        kind,
        title,
        code: expect.stringMatching(code),
        expiresAt: new Date(Date.parse(order.openedAt) + 30 * 86_400_000).toISOString(),
      },
    ]);
    // The order id grants access to the order, and a ticket is shown to others.
    expect(given.results?.[0]?.code).not.toContain(order.orderId.slice(5));
    expect(events.at(-1)).toMatchObject({ status: "succeeded", source: "merchant" });
  });

  it("gets it from two nodes and a returning page once, and not again after its removal", async () => {
    const [one, two] = [await start(), await start()];
    const { order } = await buy(one, { phone: "0712345601" });
    await untilSettled(one, order);
    for (const node of [one, two, one]) await post(node, `orders/${order.orderId}/watch-tokens`);
    const { order: given } = await untilGiven(one, order);
    await call(`${two.url}/v1/orders/${order.orderId}/results/purchase`, {
      method: "DELETE",
      headers: { authorization: `Bearer ${apiKey}` },
    });
    for (const node of [one, two]) await post(node, `orders/${order.orderId}/watch-tokens`);
    // Closing waits for what the shop still gives.
    await Promise.all([one.close(), two.close()]);
    const other = await start();
    const { body } = await asMerchant(other, `/v1/orders/${order.orderId}`);
    expect(body.order).toMatchObject({ status: "succeeded", version: given.version + 1 });
    expect(body.order.results).toBeUndefined();
  });

  it("gets it when a page asks again, if the node died after the payment", async () => {
    const node = await start();
    const { order } = await buy(node, { phone: "0712345601" });
    await untilGiven(node, order);
    const pool = new pg.Pool({ connectionString: databaseUrl });
    onTestFinished(() => pool.end());
    // The database as it is after the payment's commit.
    await pool.query(
      `with gone as (delete from event where order_uuid = $1 and source = 'merchant')
       update "order" set results = null, version = version - 1 where id = $1`,
      [order.id],
    );
    await post(node, `orders/${order.orderId}/watch-tokens`);
    expect((await untilGiven(node, order)).order.results).toHaveLength(1);
  });

  it("gets nothing if the shop did not open it", async () => {
    const node = await start();
    const { order } = await pay(node, {
      orderId: "SH-AAAA-GGGG",
      metadata: { item: "tea" },
      phone: "+254712345601",
    });
    await untilSettled(node, order);
    await post(node, `orders/${order.orderId}/watch-tokens`);
    await node.close();
    const { body } = await asMerchant(await start(), `/v1/orders/${order.orderId}`);
    expect(body.order).toMatchObject({ status: "succeeded" });
    expect(body.order.results).toBeUndefined();
  });
});

describe("return to an order", () => {
  it("gets a fresh token, but not for an order that the shop did not open (G11)", async () => {
    const node = await start();
    const { order } = await buy(node);
    const { body } = await post(node, `orders/${order.orderId}/watch-tokens`);
    expect(body).toMatchObject({ item: "tea", order: { id: order.id } });
    expect((await call(`${node.url}/v1/orders/${order.orderId}?token=${body.watchToken}`)).status).toBe(200);
    const other = await pay(node);
    for (const orderId of [other.order.orderId, "SH-AAAA-EEEE", "%00"]) {
      const refused = await post(node, `orders/${orderId}/watch-tokens`);
      expect(refused).toMatchObject({ status: 404, body: { code: "order_unknown" } });
    }
  });

  it("reads the source of each version", async () => {
    const node = await start();
    const sourceOf = async (phone: string): Promise<unknown> => {
      const { order } = await buy(node, { phone });
      const { version } = await untilSettled(node, order);
      const { body } = await call(`${node.url}/shop/orders/${order.orderId}/sources`);
      return (body as unknown as { sources: Record<number, string> }).sources[version];
    };
    expect(await Promise.all(["0712345601", "0712345606"].map(sourceOf))).toEqual(["webhook", "query"]);
  });
});

interface ShownMessage {
  id: string;
  body: string;
}

describe("messages of an order", () => {
  const messagesOf = async (node: TestNode, orderId: string, query = ""): Promise<ShownMessage[]> => {
    const { status, body } = await call(`${node.url}/shop/orders/${orderId}/messages${query}`);
    if (status !== 200) throw new Error(`refused: ${status} ${JSON.stringify(body)}`);
    return (body as unknown as { messages: ShownMessage[] }).messages;
  };

  it("are what a backend receives, byte for byte, on every node", async () => {
    const [node, other] = [await start(), await start()];
    const backend = await startBackend();
    await addEndpoint(node, backend, { events: ["order.pending", "order.processing", "order.succeeded"] });
    const { order } = await buy(node, { phone: "0712345601" });
    await untilSettled(node, order);
    const received = () => backend.received.filter(({ id }) => id.startsWith(order.id));
    await vi.waitUntil(() => received().some(({ type }) => type === "order.succeeded"));
    const messages = await messagesOf(other, order.orderId);
    expect(messages.slice(0, 3).map(({ id, body }) => [id, JSON.parse(body).type])).toEqual([
      [`${order.id}.0.1`, "order.pending"],
      [`${order.id}.0.2`, "order.processing"],
      [`${order.id}.0.3`, "order.succeeded"],
    ]);
    // An attempt sends the newest state, and its type tells what the endpoint does not know yet.
    for (const { id, type, text } of received()) {
      expect(messages.find((one) => one.id === id)?.body.replace(/order\.\w+/, type)).toBe(text);
    }
    expect((await messagesOf(node, order.orderId, "?after=2"))[0]).toEqual(messages[2]);
    expect(await messagesOf(node, order.orderId, "?after=1000")).toEqual([]);
  });

  it("are those of orders that the shop opened, and of no other (G11)", async () => {
    const node = await start();
    const { order } = await pay(node);
    for (const orderId of [order.orderId, order.id, "SH-AAAA-FFFF", "%00"]) {
      const refused = await call(`${node.url}/shop/orders/${orderId}/messages`);
      expect(refused).toMatchObject({ status: 404, body: { code: "order_unknown" } });
    }
  });

  it.each(["after=-1", "after=x", "after=9999999999", "after=1&after=2", "before=1"])("refuse ?%s", async (query) => {
    const node = await start();
    const { order } = await buy(node);
    const refused = await call(`${node.url}/shop/orders/${order.orderId}/messages?${query}`);
    expect(refused).toMatchObject({ status: 400, body: { code: "body_invalid" } });
  });
});

describe("page of another site", () => {
  it.each([
    { "sec-fetch-site": "cross-site" },
    { "sec-fetch-site": "same-site" },
    { "sec-fetch-site": "none" },
    { "sec-fetch-site": "cross-site", origin: "https://elsewhere.example" },
    { origin: "https://elsewhere.example" },
    { origin: "null" },
    {},
  ])("cannot start anything: %j", async (headers) => {
    const node = await start();
    const known = (await buy(node)).order.orderId;
    const newest = async () => (await asMerchant(node, "/v1/orders?limit=1")).body.data[0]?.orderId;
    expect(await newest()).toBe(known);
    for (const path of ["payments", "providers/daraja/token", `orders/${known}/watch-tokens`]) {
      const { status, body } = await call(`${node.url}/shop/${path}`, {
        method: "POST",
        headers: { "content-type": "application/json", ...headers } as Record<string, string>,
        body: JSON.stringify(tea),
      });
      expect({ path, status, code: body.code }).toEqual({ path, status: 403, code: "origin_refused" });
    }
    expect(await newest()).toBe(known);
  });

  it("is distinguished by its origin if the browser sends nothing else", async () => {
    const node = await start({ PUBLIC_URL: "https://shop.example" });
    for (const origin of [node.url, "https://shop.example"]) {
      const { status } = await call(`${node.url}/shop/payments`, {
        method: "POST",
        headers: { "content-type": "application/json", origin },
        body: JSON.stringify(tea),
      });
      expect({ origin, status }).toEqual({ origin, status: 202 });
    }
  });
});

describe("limit", () => {
  it("counts a phone number together with the API", async () => {
    const node = await start({ LIMIT_PHONE: "2" });
    // No other test in this database uses this number.
    const phone = "0712345688";
    await buy(node, { phone });
    await pay(node, { phone: "+254712345688" });
    const third = await post(node, "payments", { ...tea, phone });
    expect(third).toMatchObject({ status: 429, body: { code: "rate_limited" } });
    expect(third.headers.get("retry-after")).toMatch(/^\d+$/);
  });

  it("applies to further attempts of an order", async () => {
    const node = await start({ LIMIT_ORDER: "1" });
    const { order } = await buy(node, { phone: "0712345602" });
    await untilSettled(node, order);
    const again = await post(node, "payments", { orderId: order.orderId, provider: "daraja", phone: "0712345601" });
    expect(again).toMatchObject({ status: 429, body: { code: "rate_limited" } });
  });

  it("applies to an address that loads the page", async () => {
    const node = await start({ LIMIT_IP: "2" });
    await call(`${node.url}/shop/clock`);
    await call(`${node.url}/`);
    expect(await call(`${node.url}/shop/clock`)).toMatchObject({ status: 429, body: { code: "rate_limited" } });
  });
});

describe("page load", () => {
  it("refreshes the provider's access token ahead, and never returns it", async () => {
    const node = await start();
    const { status, body } = await post(node, "providers/daraja/token");
    expect(status).toBe(200);
    expect(Object.keys(body)).toEqual(["expiresAt"]);
    const { data } = (await asMerchant(node, "/v1/providers")).body;
    expect(data).toContainEqual(expect.objectContaining({ name: "daraja", token: body }));
    expect(await post(node, "providers/nobody/token")).toMatchObject({
      status: 404,
      body: { code: "provider_unknown" },
    });
  });

  it("reads the clock that sets the events' timestamps", async () => {
    const node = await start();
    const { body } = await call(`${node.url}/shop/clock`);
    const { order } = await buy(node);
    const passedMs = Date.parse(order.openedAt) - Date.parse((body as unknown as { at: string }).at);
    expect(passedMs).toBeGreaterThanOrEqual(0);
    expect(passedMs).toBeLessThan(5_000);
  });
});

describe("shop without the sandbox", () => {
  it("does not exist", async () => {
    const node = await start({ SANDBOX: "" });
    for (const path of ["/", "/shop/catalogue", "/shop/shop.js", "/shop/clock", "/sandbox/phone"]) {
      const { status, headers, body } = await call(node.url + path);
      expect({ path, status, code: body.code }).toEqual({ path, status: 404, code: "route_unknown" });
      expect(headers.get("content-type")).toContain("application/problem+json");
    }
    expect((await post(node, "payments", tea)).status).toBe(404);
  });

  it("does not offer a provider without a sandbox, so that no real money moves", async () => {
    const node = await start({ ...liveDaraja, SANDBOX: "payhero" });
    const { choices } = (await call(`${node.url}/shop/catalogue`)).body as unknown as { choices: object[] };
    expect(choices).toEqual([expect.objectContaining({ provider: "payhero" })]);
    expect(await post(node, "payments", tea)).toMatchObject({ status: 404, body: { code: "provider_unknown" } });
  });
});
