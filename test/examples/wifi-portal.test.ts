/**
 * `examples/wifi-portal` with a real node and a real FreeRADIUS: what a voucher permits, and that a paid order receives everything
 * once, however often its event arrives and wherever the portal is killed.
 */
import { accessSync, constants, existsSync } from "node:fs";
import pg from "pg";
import type { Browser } from "playwright-core";
import { beforeAll, describe, expect, inject, it, onTestFinished, vi } from "vitest";
import { launchBrowser, openPage } from "../support/browser.ts";
import { administer, createDatabase, urlOf } from "../support/database.ts";
import { installPackages } from "../support/debian.ts";
import {
  canRun,
  type InstalledExample,
  installExample,
  installMs,
  type RunningExample,
  startExample,
} from "../support/example.ts";
import { expectMalformedRefused } from "../support/malformed-request.ts";
import { pay, startNode, type TestNode } from "../support/node.ts";
import { answerPrompt } from "../support/payer.ts";
import { startRadius } from "../support/radius.ts";
import { freePort } from "../support/redis.ts";
import { type Relay, startRelay } from "../support/relay.ts";
import { startScriptedDaraja, success } from "../support/scripted-daraja.ts";
import { packMerchantSdk } from "../support/sdk-package.ts";
import { nextPhone, orderAndPay, postOrder, untilDelivered, untilStatus } from "../support/shop-order.ts";
import { faultyEvents, orderInEvents, postEvent, readOrder } from "../support/signed-event.ts";

let browser: Browser;
let installed: InstalledExample;
/** The portal's and FreeRADIUS's, empty and with all tables. */
let radiusUrl: string;

const radiusFolder = "/etc/freeradius";

/** Debian lets only root and FreeRADIUS's own group read its files, which the portal's set-up reads. */
const isForbidden = existsSync(radiusFolder) && !canReadFolder(radiusFolder);

function canReadFolder(folder: string): boolean {
  try {
    accessSync(folder, constants.R_OK);
    return true;
  } catch {
    return false;
  }
}

let database: pg.Pool;

beforeAll(async () => {
  if (isForbidden) return;
  browser = await launchBrowser();
  if (!(await canRun("freeradius -v && radclient -v && ls /usr/share/doc/freeradius-postgresql"))) {
    await installPackages(["freeradius", "freeradius-postgresql", "freeradius-utils"]);
  }
  const { serverUrl } = inject("database");
  const name = `radius_${process.pid}`;
  await administer(serverUrl, `create database ${name}`);
  radiusUrl = urlOf(serverUrl, name);
  const sdk = await packMerchantSdk();
  const packages = { "merchant-sdk": sdk.tarball };
  installed = await installExample("wifi-portal", { env: { DATABASE_URL: radiusUrl }, packages });
  await sdk.remove();
  database = new pg.Pool({ connectionString: radiusUrl });
  return async () => {
    await database.end();
    await installed.remove();
    await administer(serverUrl, `drop database ${name} with (force)`);
    await browser.close();
  };
}, installMs);

interface Portal extends RunningExample {
  node: TestNode;
  /** Between the portal and Tukio's API. */
  api: Relay;
  /** Between Tukio and the handler of events. */
  hooks: Relay;
}

/** `isDirect`: without a relay to Tukio, because a page's sockets do not pass it. */
async function openPortal({
  env = {},
  isDirect = false,
}: {
  env?: Record<string, string>;
  isDirect?: boolean;
} = {}): Promise<Portal> {
  const { url: databaseUrl, drop } = await createDatabase();
  onTestFinished(drop);
  const node = await startNode({ databaseUrl, env });
  const port = await freePort();
  const [api, hooks] = [await startRelay(node.url), await startRelay(`http://127.0.0.1:${port}`)];
  const portal = await startExample(installed, {
    ...{ tukio: isDirect ? node.url : api.url, hooks: hooks.url, port },
    env: { DATABASE_URL: radiusUrl },
  });
  return { ...portal, node, api, hooks };
}

const rows = async (query: string, ...values: unknown[]): Promise<Record<string, unknown>[]> =>
  (await database.query(query, values)).rows;

const untilResult = (orderId: string): Promise<unknown> =>
  vi.waitUntil(async () => (await rows("select done_at from effect where order_id = $1", orderId))[0]?.done_at);

/** Pays for an hour. Returns the code, once the payer has it. */
async function buyVoucher(portal: Portal): Promise<{ orderId: string; code: string }> {
  const orderId = await orderAndPay(portal.node, portal.url, { plan: "hour" });
  await untilResult(orderId);
  const [{ code } = {}] = await rows("select code from voucher where order_id = $1", orderId);
  return { orderId, code: String(code) };
}

/** Expects everything that a paid order receives, each once. */
async function expectFulfilledOnce(portal: Portal, orderId: string): Promise<void> {
  const vouchers = await rows("select code, expires_at from voucher where order_id = $1", orderId);
  expect(vouchers).toHaveLength(1);
  const [{ code, expires_at } = {}] = vouchers;
  const { order, events } = (await readOrder(portal.node, orderId)).body;
  expect(order.results).toEqual([
    { id: "voucher", kind: "voucher", title: "WiFi for one hour", code, expiresAt: (expires_at as Date).toISOString() },
  ]);
  expect(events.filter(({ source }) => source === "merchant")).toHaveLength(1);
  expect(await rows("select attribute, op, value from radcheck where username = $1 order by id", code)).toMatchObject([
    { attribute: "Cleartext-Password", op: ":=", value: code },
    { attribute: "Expiration", op: ":=" },
    { attribute: "Simultaneous-Use", op: ":=", value: "1" },
    { attribute: "Max-All-Session", op: ":=", value: "3600" },
  ]);
  expect(await rows("select groupname from radusergroup where username = $1", code)).toEqual([{ groupname: "hour" }]);
  expect(await rows("select amount_minor, receipt from invoice where order_id = $1", orderId)).toEqual([
    { amount_minor: 2_000, receipt: order.payment.receipt },
  ]);
}

const devices = ["02-00-00-00-00-01", "02-00-00-00-00-02"] as const;

describe.skipIf(isForbidden)("a voucher of examples/wifi-portal", () => {
  it("lets one device online for the time that it buys", async () => {
    const portal = await openPortal();
    const radius = await startRadius(installed, radiusUrl);
    const { code } = await buyVoucher(portal);
    const [own, other] = devices;

    const first = await radius.logIn(code, own);
    expect(first).toMatchObject({
      isAccepted: true,
      reply: { "Mikrotik-Rate-Limit": "2M/5M", "Session-Timeout": "3600" },
    });
    await radius.account(code, own, { status: "Start" });
    expect(await radius.logIn(code, other)).toMatchObject({ isAccepted: false });
    await radius.account(code, own, { status: "Stop", seconds: 3_000 });

    // The time that is left, not the hour again.
    expect((await radius.logIn(code, other)).reply).toMatchObject({ "Session-Timeout": "600" });
    await radius.account(code, other, { status: "Start" });
    await radius.account(code, other, { status: "Stop", seconds: 601 });
    expect(await radius.logIn(code, own)).toMatchObject({ isAccepted: false });
    expect(await radius.logIn("GUESSED234", own)).toMatchObject({ isAccepted: false });
  });

  it("is refused when it has expired, by the time in FreeRADIUS's zone", async () => {
    const portal = await openPortal();
    const radius = await startRadius(installed, radiusUrl);
    const { code } = await buyVoucher(portal);
    const moveExpiration = (by: string): Promise<unknown> =>
      rows(
        `update radcheck set value = to_char(to_timestamp(value, 'DD Mon YYYY HH24:MI:SS') + $2::interval, 'DD Mon YYYY HH24:MI:SS')
          where username = $1 and attribute = 'Expiration'`,
        code,
        by,
      );
    // The voucher is valid for a day from the payment on.
    await moveExpiration("-1 day +5 minutes");
    const { isAccepted, reply } = await radius.logIn(code, devices[0]);
    expect(isAccepted).toBe(true);
    expect(Number(reply["Session-Timeout"])).toBeLessThanOrEqual(300);
    await moveExpiration("-10 minutes");
    expect(await radius.logIn(code, devices[0])).toMatchObject({ isAccepted: false });
  });
});

describe.skipIf(isForbidden)("examples/wifi-portal", () => {
  it("shows the code on the page that waits", async () => {
    const portal = await openPortal({ isDirect: true });
    const phone = nextPhone();
    const { page, complaints } = await openPage(browser);
    await page.goto(portal.url);
    await page.getByLabel("One hour").check();
    await page.getByLabel("M-Pesa number").fill(phone);
    await page.getByRole("button", { name: "Pay" }).click();
    await answerPrompt(portal.node, phone, "approve");
    await page.waitForURL(/\/orders\//);
    const orderId = new URL(page.url()).pathname.split("/").at(-1) ?? "";
    await untilResult(orderId);
    const shown = await page.locator("order-status [part=result-code]").textContent();
    expect(await rows("select code from voucher where order_id = $1", orderId)).toEqual([{ code: shown }]);
    await expectFulfilledOnce(portal, orderId);
    expect(complaints.filter((text) => !text.includes("404"))).toEqual([]);
  });

  it("creates nothing for a payment that is cancelled, or for an event that Tukio did not sign", async () => {
    const portal = await openPortal();
    const phone = nextPhone();
    const orderId = await postOrder(portal.url, { plan: "hour", phone });
    await answerPrompt(portal.node, phone, "cancel");
    await untilStatus(portal.node, orderId, "failed");
    await untilDelivered(portal.node, orderId);
    const secret = portal.env.TUKIO_WEBHOOK_SECRET ?? "";
    const order = await orderInEvents(portal.node, orderId);
    for (const faulty of faultyEvents({ type: "order.succeeded", order, secret })) {
      expect(await postEvent(portal.url, faulty)).toBe(401);
    }
    for (const table of ["voucher", "invoice", "effect"]) {
      expect(await rows(`select from ${table} where order_id = $1`, orderId)).toEqual([]);
    }
  });

  it("refuses a malformed request without a trace", async () => {
    await expectMalformedRefused(await openPortal(), { plan: "hour", phone: nextPhone() });
  });

  it("does everything once when the event arrives ten times at once, with invoice numbers without gaps", async () => {
    const portal = await openPortal();
    const first = await orderAndPay(portal.node, portal.url, { plan: "hour" });
    const second = await orderAndPay(portal.node, portal.url, { plan: "hour" });
    const secret = portal.env.TUKIO_WEBHOOK_SECRET ?? "";
    for (const orderId of [first, second]) await untilStatus(portal.node, orderId, "succeeded");
    const orders = await Promise.all([first, second].map((orderId) => orderInEvents(portal.node, orderId)));
    const posts = Array.from({ length: 10 }, () =>
      orders.map((order) => postEvent(portal.url, { type: "order.succeeded", order, secret })),
    ).flat();
    expect(await Promise.all(posts)).toEqual(Array(20).fill(204));
    for (const orderId of [first, second]) {
      await untilResult(orderId);
      await untilDelivered(portal.node, orderId);
      await expectFulfilledOnce(portal, orderId);
    }
    const numbers = (await rows("select number from invoice order by number")).map(({ number }) => number);
    expect(numbers).toEqual(Array.from({ length: numbers.length }, (_, index) => index + 1));
  });

  it("gives a late success its voucher, and no other when the order is paid twice", async () => {
    const daraja = await startScriptedDaraja();
    const portal = await openPortal({ env: daraja.env });
    const orderId = await postOrder(portal.url, { plan: "hour", phone: nextPhone() });
    const first = await daraja.nextPush();
    first.accept();
    await first.webhook({ ResultCode: 1037, ResultDesc: "No response from user." });
    await untilStatus(portal.node, orderId, "expired");
    await untilDelivered(portal.node, orderId);
    expect(await rows("select from voucher where order_id = $1", orderId)).toEqual([]);
    await pay(portal.node, { orderId, amountMinor: 2_000, phone: "+254712345678" });
    const second = await daraja.nextPush();
    second.accept();
    await first.webhook(success(20));
    await untilResult(orderId);
    expect((await readOrder(portal.node, orderId)).body.order.reason).toBe("late");
    await second.webhook(success(20));
    await vi.waitUntil(async () => (await readOrder(portal.node, orderId)).body.order.reason === "paid_twice");
    await untilDelivered(portal.node, orderId);
    await expectFulfilledOnce(portal, orderId);
  });

  it("delays no webhook of the provider while the portal does not answer", async () => {
    const daraja = await startScriptedDaraja();
    const portal = await openPortal({ env: daraja.env });
    const arrived = Promise.withResolvers<void>();
    const released = Promise.withResolvers<void>();
    portal.hooks.onRequest = () => {
      arrived.resolve();
      return released.promise;
    };
    const orderIds: string[] = [];
    for (const _ of [1, 2]) {
      orderIds.push(await postOrder(portal.url, { plan: "hour", phone: nextPhone() }));
      const push = await daraja.nextPush();
      push.accept();
      expect((await push.webhook(success(20))).status).toBe(200);
      await arrived.promise;
    }
    released.resolve();
    for (const orderId of orderIds) {
      await untilResult(orderId);
      await expectFulfilledOnce(portal, orderId);
    }
  });
});

/** A function that kills the portal when it is called first. */
type Kill = () => Promise<void>;

/** Where the portal is killed. */
const steps: Readonly<Record<string, (portal: Portal, kill: Kill) => void>> = {
  "before it has read the event": (portal, kill) => {
    portal.hooks.onRequest = kill;
  },
  "after its commit, before Tukio has its answer": (portal, kill) => {
    portal.hooks.onAnswer = kill;
  },
  "before Tukio has the result": (portal, kill) => {
    portal.api.onRequest = ({ path }) => (path.endsWith("/results") ? kill() : undefined);
  },
  "after Tukio has the result": (portal, kill) => {
    portal.api.onAnswer = ({ path }) => (path.endsWith("/results") ? kill() : undefined);
  },
  "in its transaction": (portal, kill) => {
    portal.hooks.onRequest = () => holdRadcheck(kill);
  },
};

/** Lets the portal's transaction wait for the table of the accounts, after the voucher and the invoice, and kills the portal there. */
async function holdRadcheck(kill: Kill): Promise<void> {
  const client = await database.connect();
  await client.query("begin; lock table radcheck in exclusive mode");
  const isWaiting = "select from pg_locks where not granted and relation = 'radcheck'::regclass";
  void vi
    .waitUntil(async () => (await rows(isWaiting)).length === 1)
    .then(kill)
    .catch(() => undefined)
    .then(() => client.query("rollback"))
    .finally(() => client.release());
}

describe.skipIf(isForbidden).each(Object.keys(steps))("examples/wifi-portal, killed %s", (step) => {
  it("does the rest when it is started again, and nothing twice", async () => {
    const portal = await openPortal();
    const killed = Promise.withResolvers<void>();
    let isKilled = false;
    steps[step]?.(portal, async () => {
      if (isKilled) return;
      isKilled = true;
      await portal.kill();
      portal.hooks.onRequest = () => undefined;
      killed.resolve();
      throw new Error("killed");
    });
    const orderId = await orderAndPay(portal.node, portal.url, { plan: "hour" });
    await killed.promise;
    if (step.includes("transaction"))
      expect(await rows("select from voucher where order_id = $1", orderId)).toEqual([]);
    await portal.start();
    await untilResult(orderId);
    await untilDelivered(portal.node, orderId);
    await expectFulfilledOnce(portal, orderId);
  });
});
