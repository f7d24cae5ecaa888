/** The examples in PHP and Python, with a real node. */
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { createDatabase } from "../support/database.ts";
import { installPackages } from "../support/debian.ts";
import {
  canRun,
  type InstalledExample,
  installExample,
  installMs,
  type RunningExample,
  startExample,
} from "../support/example.ts";
import { asMerchant, startNode, type TestNode } from "../support/node.ts";
import { answerPrompt } from "../support/payer.ts";
import { nextPhone, untilDelivered, untilStatus } from "../support/shop-order.ts";
import { faultyEvents, orderInEvents, postEvent } from "../support/signed-event.ts";

interface Language {
  name: string;
  packages: string[];
  /** A command that succeeds if the packages are installed. */
  probe: string;
  table: string;
  /** The fields of the order form beside the phone. */
  fields: Record<string, string>;
  /** What the program prints once for each paid order. */
  prints: RegExp;
}

const languages: readonly Language[] = [
  {
    name: "php",
    packages: ["php-cli", "php-sqlite3"],
    probe: "php -r 'exit(extension_loaded(\"pdo_sqlite\") ? 0 : 1);'",
    table: "shop_order",
    fields: {},
    prints: /is paid: weave a basket/g,
  },
  {
    name: "django-laundry",
    packages: ["python3-django"],
    probe: "python3 -c 'import django'",
    table: "laundry_order",
    fields: { kilograms: "4" },
    prints: /is paid: wash it/g,
  },
];

interface Shop extends RunningExample {
  node: TestNode;
  orders(): Record<string, unknown>[];
}

describe.each(languages)("examples/$name", ({ name, packages, probe, table, fields, prints }) => {
  let installed: InstalledExample;
  beforeAll(async () => {
    if (!(await canRun(probe))) await installPackages(packages);
    installed = await installExample(name);
    return installed.remove;
  }, installMs);

  async function openShop(options: { secret?: string } = {}): Promise<Shop> {
    const { url, drop } = await createDatabase();
    onTestFinished(drop);
    const node = await startNode({ databaseUrl: url });
    const database = join(installed.folder, `${crypto.randomUUID()}.db`);
    const shop = await startExample(installed, { tukio: node.url, ...options, env: { DATABASE: database } });
    const orders = (): Record<string, unknown>[] => {
      const db = new DatabaseSync(database, { readOnly: true });
      const rows = db.prepare(`select * from ${table}`).all();
      db.close();
      return rows;
    };
    return { ...shop, node, orders };
  }

  /** Sends the form of the first page, with its hidden fields and cookies. */
  async function submit(shop: Shop, phone: string): Promise<Response> {
    const page = await fetch(shop.url);
    const html = await page.text();
    const hidden = [...html.matchAll(/type="hidden" name="(\w+)" value="(\w+)"/g)].map(([, key, value]) => [
      key,
      value,
    ]);
    const cookie = page.headers
      .getSetCookie()
      .map((one) => one.split(";", 1)[0])
      .join("; ");
    const body = new URLSearchParams({ ...Object.fromEntries(hidden), ...fields, phone });
    return fetch(`${shop.url}/orders`, { method: "POST", body, redirect: "manual", headers: { cookie } });
  }

  const order = async (shop: Shop, phone: string): Promise<string> => {
    const response = await submit(shop, phone);
    await response.text();
    return String(response.headers.get("location")).split("/").at(-1) ?? "";
  };

  const pageOf = async (shop: Shop, orderId: string): Promise<string> =>
    (await fetch(`${shop.url}/orders/${orderId}`)).text();

  it("marks an order paid, once, when the events arrive, and shows it with <order-status>", async () => {
    const shop = await openShop();
    const phone = nextPhone();
    const orderId = await order(shop, phone);
    const waiting = await pageOf(shop, orderId);
    expect(waiting).toContain("Not paid yet.");
    expect(waiting).toContain(`<order-status url="${shop.node.url}" order-id="${orderId}" token="ey`);
    await answerPrompt(shop.node, phone, "approve");
    await untilStatus(shop.node, orderId, "succeeded");
    await untilDelivered(shop.node, orderId);
    expect(shop.orders()).toMatchObject([{ id: orderId, receipt: expect.stringMatching(/^\w{10}$/) }]);
    const { receipt } = shop.orders()[0] ?? {};
    expect(await pageOf(shop, orderId)).toContain(`Paid: ${receipt}.`);

    const state = await orderInEvents(shop.node, orderId);
    const event = { type: "order.succeeded", order: state, secret: shop.env.TUKIO_WEBHOOK_SECRET ?? "" };
    expect(await Promise.all([1, 2, 3, 4].map(() => postEvent(shop.url, event)))).toEqual(Array(4).fill(204));
    expect(shop.output().match(prints)).toHaveLength(1);
  });

  it("accepts messages while the secret is replaced", async () => {
    const shop = await openShop();
    const [endpoint] = (await asMerchant(shop.node, "/v1/endpoints")).body.data;
    await asMerchant(shop.node, `/v1/endpoints/${endpoint?.id}/rotate-secret`, {});
    const ping = await asMerchant(shop.node, `/v1/endpoints/${endpoint?.id}/ping`, {});
    expect(ping.body).toMatchObject({ delivered: true });
  });

  it("marks nothing paid for a cancelled payment, or for a message that Tukio did not sign", async () => {
    const shop = await openShop();
    const phone = nextPhone();
    const orderId = await order(shop, phone);
    await answerPrompt(shop.node, phone, "cancel");
    await untilStatus(shop.node, orderId, "failed");
    await untilDelivered(shop.node, orderId);
    const state = { ...(await orderInEvents(shop.node, orderId)), status: "succeeded" };
    const event = { type: "order.succeeded", order: state, secret: shop.env.TUKIO_WEBHOOK_SECRET ?? "" };
    for (const faulty of faultyEvents(event)) expect(await postEvent(shop.url, faulty)).toBe(401);
    const unsigned = await fetch(`${shop.url}/hooks/tukio`, { method: "POST", body: "{}" });
    expect(unsigned.status).toBe(401);
    expect(shop.orders()).toMatchObject([{ id: orderId, paid_at: null }]);
  });

  it("accepts no message without a secret", async () => {
    for (const secret of ["", "whsec_"]) {
      const started = openShop({ secret });
      if (name === "django-laundry") {
        await expect(started).rejects.toThrow("Set TUKIO_WEBHOOK_SECRET");
        continue;
      }
      const shop = await started;
      const phone = nextPhone();
      const orderId = await order(shop, phone);
      const state = { ...(await orderInEvents(shop.node, orderId)), status: "succeeded" };
      expect(await postEvent(shop.url, { type: "order.succeeded", order: state, secret: "" })).toBe(500);
      expect(shop.orders()).toMatchObject([{ id: orderId, paid_at: null }]);
    }
  });

  it("shows no API key and no trace while Tukio cannot be reached", async () => {
    const shop = await openShop();
    const orderId = await order(shop, nextPhone());
    await shop.node.close();
    const answers = [await submit(shop, nextPhone()), await fetch(`${shop.url}/orders/${orderId}`)];
    for (const answer of answers) {
      const text = await answer.text();
      expect([answer.status, text]).toEqual([502, expect.stringContaining("Please try again in a moment.")]);
      expect(text).not.toMatch(new RegExp(`${shop.env.TUKIO_API_KEY}|Traceback|Warning|Exception`));
    }
  });

  it("answers what Tukio refuses", async () => {
    const shop = await openShop();
    const refused = await submit(shop, "12");
    expect([refused.status, await refused.text()]).toEqual([400, expect.stringContaining("phone")]);
    expect((await fetch(`${shop.url}/orders/000000000000`)).status).toBe(404);
  });
});
