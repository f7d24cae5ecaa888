/**
 * Receipts of whole payments: a mail server that is dead, nodes that are killed, two nodes, also with different configurations, repeated
 * webhooks and a late success.
 */
import { describe, expect, it, vi } from "vitest";
import { type DeliveryDeployment, openDeliveryDeployment } from "../support/delivery.ts";
import { deliver, failure, success } from "../support/deployment.ts";
import { type Mail, type Mailbox, startMailbox } from "../support/mailbox.ts";
import { asMerchant, nodeAt, pay, type TestNode } from "../support/node.ts";
import { type NodeProcess, startTestProcess } from "../support/process.ts";

vi.setConfig({ testTimeout: 120_000 });

interface Ground extends DeliveryDeployment {
  mailbox: Mailbox;
}

async function prepare(): Promise<Ground> {
  const deployment = await openDeliveryDeployment();
  const mailbox = await startMailbox();
  const env = { ...deployment.env, SMTP_URL: mailbox.url, MAIL_FROM: "shop@example.com" };
  return { ...deployment, env, mailbox };
}

async function startNode({ env }: Ground): Promise<NodeProcess> {
  const node = await startTestProcess(env);
  const isActive = async (): Promise<boolean> =>
    JSON.stringify((await asMerchant(node, "/v1/notifications")).body).includes('"receipt"');
  await vi.waitUntil(isActive, { timeout: 20_000 });
  return node;
}

const customer = { email: "asha@example.com" };

/** Opens an order with an address, whose payment the provider accepts. */
async function open({ pushLog }: Ground, node: Pick<TestNode, "url">, fields: Record<string, unknown> = {}) {
  const { order } = await pay(nodeAt(node.url), { customer, ...fields });
  const push = await pushLog.push(order.payment.id);
  push.accept();
  await vi.waitUntil(
    async () => (await asMerchant(node, `/v1/orders/${order.orderId}`)).body.order.status === "processing",
  );
  return { order, push };
}

const mailsOf = ({ mailbox }: Ground, uuid: string): Mail[] =>
  mailbox.mails.filter(({ messageId }) => messageId.startsWith(`<${uuid}.`));

const mailed = (ground: Ground, uuid: string) =>
  vi.waitUntil(() => mailsOf(ground, uuid).length > 0, { timeout: 60_000 });

/** Makes attempts due whose lease the killed node held, and those that wait for their time. */
const endLeases = ({ database }: Ground) =>
  database.query(
    "update delivery set claimed_until = now(), attempt_at = now() where due_version is not null and attempt_at < 'infinity'",
  );

/** Waits until nothing is due. */
const quiet = ({ database }: Ground) =>
  vi.waitUntil(
    async () => {
      const { rows } = await database.query("select from delivery where due_version is not null or claim is not null");
      return rows.length === 0;
    },
    { timeout: 60_000 },
  );

describe("a receipt", () => {
  it("is mailed again with the same id if the node is killed between the mail and its record", async () => {
    const ground = await prepare();
    const node = await startNode(ground);
    const { order, push } = await open(ground, node);
    // The server has the mail, and the node never reads its answer.
    const kept = Promise.withResolvers<void>();
    ground.mailbox.afterAccept = () => {
      kept.resolve();
      return new Promise(() => undefined);
    };
    await deliver(node, push, success());
    await kept.promise;
    await node.end("SIGKILL");
    ground.mailbox.afterAccept = () => undefined;
    const next = await startNode(ground);
    await endLeases(ground);
    await vi.waitUntil(() => mailsOf(ground, order.id).length === 2, { timeout: 60_000 });
    await quiet(ground);
    expect(new Set(mailsOf(ground, order.id).map(({ messageId }) => messageId))).toEqual(
      new Set([`<${order.id}.receipt@example.com>`]),
    );
    expect((await asMerchant(next, `/v1/orders/${order.orderId}`)).body.order.status).toBe("succeeded");
  });

  it("is mailed by the next node if the one that stored the payment is killed before the mail", async () => {
    const ground = await prepare();
    const node = await startNode(ground);
    const { order, push } = await open(ground, node);
    const asked = Promise.withResolvers<void>();
    ground.mailbox.beforeAccept = () => {
      asked.resolve();
      return new Promise(() => undefined);
    };
    await deliver(node, push, success());
    await asked.promise;
    await node.end("SIGKILL");
    ground.mailbox.beforeAccept = () => undefined;
    await startNode(ground);
    await endLeases(ground);
    await mailed(ground, order.id);
    await quiet(ground);
    expect(mailsOf(ground, order.id)).toHaveLength(1);
  });

  it("is mailed once by two nodes, whatever number of webhooks both receive", async () => {
    const ground = await prepare();
    const nodes = [await startNode(ground), await startNode(ground)];
    const [first] = nodes;
    if (!first) throw new Error("there are two");
    const opened = [];
    for (let n = 0; n < 5; n += 1) opened.push(await open(ground, first));
    await Promise.all(
      opened.flatMap(({ push }) => {
        const callback = success();
        return [...nodes, ...nodes].map((node) => deliver(node, push, callback));
      }),
    );
    for (const { order } of opened) await mailed(ground, order.id);
    await quiet(ground);
    for (const { push } of opened) await deliver(first, push, success());
    await quiet(ground);
    expect(opened.map(({ order }) => mailsOf(ground, order.id).length)).toEqual([1, 1, 1, 1, 1]);
  });

  it("is mailed although a node without a mail server starts and stops beside the other one", async () => {
    const ground = await prepare();
    const node = await startNode(ground);
    const { SMTP_URL: _url, MAIL_FROM: _from, ...without } = ground.env;
    const rowsOf = async () =>
      (await ground.database.query("select id from endpoint where notification = 'receipt' and not is_deleted")).rows;
    const rows = await rowsOf();
    const other = await startNode({ ...ground, env: without });
    for (let count = 0; count < 2; count++) {
      const { order, push } = await open(ground, other);
      await deliver(other, push, success());
      await mailed(ground, order.id);
    }
    await other.end("SIGTERM");
    const { order, push } = await open(ground, node);
    await deliver(node, push, success());
    await mailed(ground, order.id);
    await quiet(ground);
    expect(await rowsOf()).toEqual(rows);
    expect(ground.mailbox.mails).toHaveLength(3);
  });

  it("is mailed for a success that arrives after the failure", async () => {
    const ground = await prepare();
    const node = await startNode(ground);
    const { order, push } = await open(ground, node);
    await deliver(node, push, failure);
    await vi.waitUntil(
      async () => (await asMerchant(node, `/v1/orders/${order.orderId}`)).body.order.status === "failed",
    );
    expect(mailsOf(ground, order.id)).toEqual([]);
    await deliver(node, push, success());
    await mailed(ground, order.id);
    await quiet(ground);
    expect(mailsOf(ground, order.id)).toHaveLength(1);
  });

  it("waits for a mail server that is dead, without a delay of the payment", async () => {
    const ground = await prepare();
    const live = ground.env;
    const node = await startNode({ ...ground, env: { ...live, SMTP_URL: "smtp://127.0.0.1:1" } });
    const { order, push } = await open(ground, node);
    await deliver(node, push, success());
    await vi.waitUntil(
      async () => (await asMerchant(node, `/v1/orders/${order.orderId}`)).body.order.status === "succeeded",
    );
    const failed = async () =>
      (await ground.database.query("select from delivery where attempts > 0 and claim is null")).rows.length > 0;
    await vi.waitUntil(failed, { timeout: 30_000 });
    await node.end("SIGTERM");
    await startNode(ground);
    await endLeases(ground);
    await mailed(ground, order.id);
    await quiet(ground);
    expect(mailsOf(ground, order.id)).toHaveLength(1);
  });
});
