/** The routes of a link's page: what they accept, answer and limit. */
import { beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createDatabase } from "../support/database.ts";
import { asMerchant, call, startNode, type TestNode } from "../support/node.ts";
import { createPayBrowser, orderWith, payOnPage, settledOrder } from "../support/pay-page.ts";
import { cancelLink, createLink, readLink } from "../support/payment-link.ts";

let databaseUrl: string;
beforeAll(async () => {
  const database = await createDatabase();
  databaseUrl = database.url;
  return database.drop;
});

let node: TestNode;
/** High, because only tests of limits want to reach one. */
const noLimits = { LIMIT_PAGE_PHONE: "1000", LIMIT_PAGE_IP: "1000", LIMIT_PAGE_PROVIDER: "1000" };
const start = (env: Record<string, string> = {}) =>
  startNode({ databaseUrl, env: { ...noLimits, SHOP_NAME: "Asha’s Books", ...env } });
beforeEach(async () => {
  node = await start();
});

let phones = 0;
/** A phone that no other test uses, with an ending of the sandbox. */
const phoneEnding = (ending: string): string => {
  phones += 1;
  return `+25471${String(phones).padStart(5, "0")}${ending}`;
};

const ask = { provider: "daraja" };

/** Opens the page of a new link. */
async function openLink(fields: Record<string, unknown> = {}) {
  const link = await createLink(node, { providers: ["daraja", "payhero"], ...fields });
  const browser = createPayBrowser(node, link.url);
  return { link, browser, page: await browser.open() };
}

describe("GET /pay/:token", () => {
  it("shows what is to be paid, and keeps it private", async () => {
    const { page } = await openLink({ description: "2 tickets", customer: { name: "Amina", phone: "0712345678" } });
    expect(page.status).toBe(200);
    expect(page.html).toContain("2 tickets");
    expect(page.html).toContain("Asha’s Books");
    expect(page.html).not.toMatch(/Amina|712345678|2547/);
    expect(Object.fromEntries(page.headers)).toMatchObject({
      "cache-control": "no-store",
      "referrer-policy": "no-referrer",
      "x-robots-tag": "noindex",
      "content-security-policy": expect.stringMatching(/^default-src 'none'; script-src 'self';.*form-action 'self'/),
    });
  });

  it("changes nothing", async () => {
    const { link, browser } = await openLink();
    await browser.open("?lang=sw");
    await browser.open("?again");
    expect(await readLink(node, link.id)).toMatchObject({ version: 1, status: "open" });
    expect((await asMerchant(node, `/v1/orders/${link.orderId}`)).status).toBe(404);
  });

  it("speaks the language of the address, else of the link, else of the browser", async () => {
    const { browser, page } = await openLink({ lang: "sw" });
    expect(page.html).toContain('<html lang="sw">');
    expect((await browser.open("?lang=bn")).html).toContain('<html lang="bn">');
    expect((await browser.open("?lang=xx")).html).toContain('<html lang="sw">');
  });

  it("keeps the wish to pay again in another language", async () => {
    const { link, browser } = await openLink({ reusable: {} });
    expect((await browser.open("?again")).html).toContain('href="?lang=sw&#38;again"');
    expect((await createPayBrowser(node, link.url).open()).html).toContain('href="?lang=sw"');
  });

  it.each(["x", "x".repeat(24), "%00", "../../livez", "a".repeat(200)])(
    "answers 404 for the token %s",
    async (token) => {
      const answer = await call(`${node.url}/pay/${token}`, { headers: { accept: "text/html" } });
      expect([200, 400, 404]).toContain(answer.status);
      expect(answer.headers.has("set-cookie")).toBe(false);
    },
  );

  it("gives the browser a key for this page only", async () => {
    const { link, page } = await openLink();
    const path = new URL(link.url).pathname;
    expect(page.headers.get("set-cookie")).toMatch(
      new RegExp(`^tukio_payer=[\\w-]{22}; Path=${path}; Max-Age=\\d+; HttpOnly; SameSite=Lax$`),
    );
  });

  it("serves a page to print", async () => {
    const { link } = await openLink({ description: "Table 7" });
    const answer = await call(`${new URL(link.url).pathname.replace(/^/, node.url)}/print`);
    expect([answer.status, String(answer.body)]).toEqual([200, expect.stringMatching(/Table 7[\s\S]*<svg/)]);
    expect(String(answer.body)).toContain("<li>Enter your mobile number</li>");
    const open = await createLink(node, { amountMinor: undefined, reusable: {} });
    const other = await call(`${new URL(open.url).pathname.replace(/^/, node.url)}/print`);
    expect(String(other.body)).toContain("<li>Enter the amount and your mobile number</li>");
  });

  it("keeps the token out of the log", async () => {
    const { link, browser } = await openLink();
    await payOnPage(browser, { ...ask, phone: phoneEnding("00") });
    expect(node.log.some((line) => line.includes("/pay/***"))).toBe(true);
    expect(node.log.filter((line) => line.includes(link.url.slice(-24)))).toEqual([]);
  });
});

describe("POST /pay/:token", () => {
  it("starts the payment of the link's order and redirects to the page", async () => {
    const { link, browser } = await openLink({
      description: "2 tickets",
      customer: { id: "C-7" },
      metadata: { table: 7 },
      items: [{ name: "Ticket", quantity: 2, unitAmountMinor: 7_500 }],
    });
    const answer = await browser.send({ ...ask, phone: phoneEnding("01") });
    expect([answer.status, answer.headers.get("location")]).toEqual([303, link.url.slice(-24)]);
    expect(await settledOrder(node, link.orderId)).toMatchObject({ status: "succeeded", amountMinor: 15_000 });
    const { body } = await asMerchant(node, `/v1/orders/${link.orderId}`);
    expect(body).toMatchObject({
      description: "2 tickets",
      customer: { id: "C-7" },
      metadata: { table: 7 },
      items: [{ name: "Ticket" }],
      lang: "en",
    });
  });

  it("shows the state, and the masked number to the browser that entered it only", async () => {
    const { link, browser } = await openLink();
    const other = createPayBrowser(node, link.url);
    await payOnPage(browser, { ...ask, phone: phoneEnding("00") });
    await orderWith(node, link.orderId, "processing");
    const [own, foreign] = [await browser.open(), await other.open()];
    expect(own.html).toContain("<order-status ");
    expect(foreign.html).not.toMatch(/<order-status |eyJ|\*{3}|•/);
    for (const { html } of [own, foreign]) expect(html).not.toContain("<form");
    await browser.send({ ...ask, phone: phoneEnding("01") });
    expect((await asMerchant(node, `/v1/orders/${link.orderId}`)).body.payments).toHaveLength(1);
  });

  it("keeps the reason of a failure, and what arrived, from other browsers", async () => {
    const cases = [
      { ending: "03", status: "failed", own: "Not enough money", other: "Not paid yet", isOpen: true },
      { ending: "10", status: "review", own: "A different amount", other: "Being checked", isOpen: false },
    ];
    for (const { ending, status, own, other, isOpen } of cases) {
      const { link, browser } = await openLink();
      await payOnPage(browser, { ...ask, phone: phoneEnding(ending) });
      await orderWith(node, link.orderId, status);
      expect((await browser.open()).html).toContain(own);
      const { html } = await createPayBrowser(node, link.url).open();
      expect(html).toContain(other);
      expect(html).not.toContain(own);
      expect(html).not.toMatch(/receipt/i);
      expect(html.includes("<form")).toBe(isOpen);
    }
  });

  it("shows the fault above the form if the link's only provider is another one than the payer chose", async () => {
    const { browser } = await openLink({ providers: ["daraja"] });
    const { status, html } = await browser.send({ provider: "payhero", phone: phoneEnding("01") });
    expect(status).toBe(400);
    expect(html).toContain('id="form-error" role="alert">Choose how to pay.');
  });

  it.each([
    [{ provider: "mtn", phone: "0712345601" }, "methods", 400],
    [{ phone: "0712345601" }, "methods", 400],
    [{ ...ask, phone: "12" }, "phone", 400],
    [ask, "phone", 400],
  ])("refuses %j at its field, and keeps what the payer entered", async (form, field, status) => {
    const { link, browser } = await openLink();
    const answer = await browser.send(form as Record<string, string>);
    expect(answer.status).toBe(status);
    expect(answer.html).toMatch(
      field === "phone" ? /id="phone"[^>]*aria-invalid="true"/ : /id="provider-error" role="alert">/,
    );
    if ("phone" in form) expect(answer.html).toContain(`value="${form.phone}"`);
    expect((await asMerchant(node, `/v1/orders/${link.orderId}`)).status).toBe(404);
  });

  it("takes the amount that the payer enters, within the link's limits", async () => {
    const reusable = { minMinor: 5_000, maxMinor: 90_000 };
    const { link, browser } = await openLink({ amountMinor: undefined, reusable });
    for (const amount of ["", "10", "1000", "1.005", "ten", "12,50", "5e2"]) {
      const refused = await browser.send({ ...ask, phone: phoneEnding("01"), amount });
      expect([amount, refused.status]).toEqual([amount, 400]);
      expect(refused.html).toMatch(/id="amount"[^>]*aria-invalid="true"/);
    }
    await payOnPage(browser, { ...ask, phone: phoneEnding("01"), amount: "KES ৭৫০.00" });
    expect(await settledOrder(node, `${link.orderId}-1`)).toMatchObject({ amountMinor: 75_000, status: "succeeded" });
  });

  it("says which amounts the provider takes", async () => {
    const { browser, page } = await openLink({ amountMinor: undefined, reusable: {} });
    const send = (amount: string) => browser.send({ ...ask, phone: phoneEnding("00"), amount });
    const fraction = await send("150.50");
    expect(fraction.html).toContain('id="amount-error" role="alert">Enter a whole amount, without cents.');
    expect((await send("300,000")).html).toContain("From KES 1.00 to KES 250,000.00");
    expect(page.html).not.toContain("From KES");
  });

  it("uses no number of a reusable link for a form with a mistake", async () => {
    const { link, browser } = await openLink({ amountMinor: undefined, reusable: {} });
    const mistakes = [
      { phone: "12", amount: "20" },
      { phone: "", amount: "20" },
      { phone: phoneEnding("00"), amount: "20.50" },
    ];
    for (const mistake of mistakes) expect((await browser.send({ ...ask, ...mistake })).status).toBe(400);
    await payOnPage(browser, { ...ask, phone: phoneEnding("00"), amount: "20" });
    expect((await asMerchant(node, `/v1/orders/${link.orderId}-1`)).status).toBe(200);
  });

  it("keeps the amount that the payer entered for another attempt", async () => {
    const { link, browser } = await openLink({ amountMinor: undefined, reusable: {} });
    await payOnPage(browser, { ...ask, phone: phoneEnding("03"), amount: "Ksh 1,500/=" });
    await orderWith(node, `${link.orderId}-1`, "failed");
    const { html } = await browser.open();
    expect(html).toMatch(/<h1[^>]*>Pay Asha’s Books<\/h1>/);
    expect(html).toMatch(/id="amount"[^>]* value="1500"/);
  });

  it("starts nothing on a link that is cancelled or has expired", async () => {
    const { link, browser } = await openLink();
    await cancelLink(node, link.id);
    await payOnPage(browser, { ...ask, phone: phoneEnding("01") });
    expect((await asMerchant(node, `/v1/orders/${link.orderId}`)).status).toBe(404);
    expect((await browser.open()).html).not.toContain("<form");
  });

  it.each([
    ["of another site", { "sec-fetch-site": "cross-site", origin: "https://evil.example" }, 403],
    ["of another site, in an old browser", { "sec-fetch-site": "", origin: "https://evil.example" }, 403],
    ["of the page itself, in an old browser", { "sec-fetch-site": "", origin: "null" }, 303],
  ])("treats a form %s as it should", async (_whose, headers, status) => {
    const { link } = await openLink();
    const browser = createPayBrowser(node, link.url);
    if (status === 303) await browser.open();
    const sent = Object.fromEntries(Object.entries(headers).filter(([, value]) => value !== ""));
    const url = node.url + new URL(link.url).pathname;
    const cookie = browser.cookie();
    const answer = await fetch(url, {
      method: "POST",
      redirect: "manual",
      body: new URLSearchParams({ ...ask, phone: phoneEnding("00") }),
      headers: { ...sent, ...(cookie && { cookie }) },
    });
    expect(answer.status).toBe(status);
  });

  it("refuses a form of unknown origin without the page's cookie", async () => {
    const { link } = await openLink();
    const init = { method: "POST", body: new URLSearchParams(ask), headers: { origin: "null" } };
    expect((await fetch(node.url + new URL(link.url).pathname, init)).status).toBe(403);
  });

  it("refuses a form of more than 4 KiB", async () => {
    const { browser } = await openLink();
    expect((await browser.send({ ...ask, phone: "1".repeat(5_000) })).status).toBe(413);
  });
});

describe("the page's limits", () => {
  /** Fails at once, so that the next payment may start. */
  const failing = async (browser: ReturnType<typeof createPayBrowser>, link: { orderId: string }, phone: string) => {
    await payOnPage(browser, { ...ask, phone });
    await settledOrder(node, link.orderId);
  };

  it("allow three payments of one phone in an hour, over all links and nodes", async () => {
    await node.close();
    node = await start({ LIMIT_PAGE_PHONE: "3" });
    const phone = phoneEnding("02");
    for (let times = 0; times < 3; times += 1) {
      const { link, browser } = await openLink();
      await failing(browser, link, phone);
    }
    const other = await start({ LIMIT_PAGE_PHONE: "3" });
    const { link, browser } = await openLink();
    const refused = await browser.at(other).send({ ...ask, phone });
    expect(refused.status).toBe(429);
    expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(3_000);
    expect(refused.html).toMatch(/id="phone"[^>]*aria-invalid="true"/);
    // The merchant's own calls have another limit.
    const own = { orderId: `${link.orderId}-own`, amountMinor: 100, currency: "KES", provider: "daraja", phone };
    expect((await asMerchant(node, "/v1/payments", own)).status).toBe(202);
    await payOnPage(browser, { ...ask, phone: phoneEnding("02") });
  });

  it("allow concurrent payments of one phone no more", async () => {
    await node.close();
    node = await start({ LIMIT_PAGE_PHONE: "3" });
    const phone = phoneEnding("00");
    const links = await Promise.all([1, 2, 3, 4, 5, 6].map(() => openLink()));
    const answers = await Promise.all(links.map(({ browser }) => browser.send({ ...ask, phone })));
    expect(answers.map(({ status }) => status).toSorted()).toEqual([303, 303, 303, 429, 429, 429]);
  });

  it("allow ten payments of one address in an hour", async () => {
    await node.close();
    node = await start({ LIMIT_PAGE_IP: "2" });
    const statuses: number[] = [];
    for (let times = 0; times < 3; times += 1) {
      const { browser } = await openLink();
      // An invalid form does not count.
      await browser.send({ ...ask, phone: "12" });
      statuses.push((await browser.send({ ...ask, phone: phoneEnding("00") })).status);
    }
    expect(statuses).toEqual([303, 303, 429]);
  });

  it("give each provider a budget of its own", async () => {
    await node.close();
    node = await start({ LIMIT_PAGE_PROVIDER: "1" });
    const send = async (provider: string) => {
      const { browser } = await openLink();
      return (await browser.send({ provider, phone: phoneEnding("00") })).status;
    };
    expect([await send("daraja"), await send("daraja"), await send("payhero")]).toEqual([303, 429, 303]);
  });

  it("answer 429 to an address that asks for too many pages", async () => {
    const { link } = await openLink();
    await node.close();
    node = await start({ LIMIT_IP: "3" });
    const statuses: number[] = [];
    for (let times = 0; times < 5; times += 1) statuses.push((await fetch(`${node.url}/pay/${"x".repeat(24)}`)).status);
    expect(statuses).toEqual([404, 404, 404, 429, 429]);
    expect(link.status).toBe("open");
  });
});

describe("a QR code of a link", () => {
  it.each(["svg", "png"])("is served as %s, with the API key only", async (type) => {
    const { link } = await openLink();
    const path = `/v1/payment-links/${link.id}/qr.${type}`;
    const answer = await asMerchant(node, path);
    expect(answer.status).toBe(200);
    expect(answer.headers.get("content-type")).toContain(type);
    expect((await call(node.url + path)).status).toBe(401);
  });
});
