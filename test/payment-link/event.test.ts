/** Messages about payment links to the merchant's backend. */
import { beforeEach, describe, expect, it, vi } from "vitest";
import { addEndpoint, type Backend, startBackend } from "../support/backend.ts";
import { useDatabase } from "../support/database.ts";
import { startNode, type TestNode } from "../support/node.ts";
import { createPayBrowser, payOnPage, settledOrder } from "../support/pay-page.ts";
import { cancelLink, createLink, readLink } from "../support/payment-link.ts";

const file = useDatabase();

let node: TestNode;
let backend: Backend;
beforeEach(async () => {
  node = await startNode({ databaseUrl: file.url });
  backend = await startBackend();
});

/** The messages about one link so far. */
const aboutLink = (id: string) => backend.received.filter((one) => one.id.startsWith(`${id}.`));

const typesAbout = (id: string) => aboutLink(id).map(({ type }) => type);

describe("messages about a payment link", () => {
  it("say that it was created and paid, with the whole link", async () => {
    await addEndpoint(node, backend);
    const link = await createLink(node, { description: "2 tickets", customer: { phone: "0712345678" } });
    await vi.waitUntil(() => typesAbout(link.id).includes("paymentLink.open"));
    await payOnPage(createPayBrowser(node, link.url), { provider: "daraja", phone: "0712340101" });
    await settledOrder(node, link.orderId);
    await vi.waitUntil(() => typesAbout(link.id).includes("paymentLink.paid"));
    const [opened, paid] = aboutLink(link.id);
    expect(opened).toMatchObject({
      id: `${link.id}.0.1`,
      type: "paymentLink.open",
      isVerified: true,
      body: { timestamp: link.createdAt, data: { paymentLink: link } },
    });
    expect(paid).toMatchObject({
      id: `${link.id}.0.2`,
      body: { data: { paymentLink: await readLink(node, link.id) } },
    });
    expect(paid?.text).not.toContain("712345678");
    expect(typesAbout(link.id)).toEqual(["paymentLink.open", "paymentLink.paid"]);
    // The order has messages of its own.
    expect(backend.received.map(({ type }) => type)).toContain("order.succeeded");
  });

  it("say that it was cancelled, and that it has expired", async () => {
    await addEndpoint(node, backend, { events: ["paymentLink.cancelled", "paymentLink.expired"] });
    const [cancelled, expired] = [await createLink(node), await createLink(node)];
    await cancelLink(node, cancelled.id);
    await cancelLink(node, cancelled.id);
    await file.database.pool.query("update payment_link set expires_at = clock_timestamp() where id = $1", [
      expired.id,
    ]);
    await vi.waitUntil(() => typesAbout(expired.id).length > 0 && typesAbout(cancelled.id).length > 0);
    expect(typesAbout(cancelled.id)).toEqual(["paymentLink.cancelled"]);
    expect(typesAbout(expired.id)).toEqual(["paymentLink.expired"]);
  });

  it("send the newest state to a backend that was away", async () => {
    backend.answer = (response) => response.writeHead(503).end();
    await addEndpoint(node, backend, { events: ["paymentLink.open", "paymentLink.cancelled"] });
    const link = await createLink(node);
    await vi.waitUntil(() => typesAbout(link.id).length === 1);
    backend.answer = (response) => response.end();
    await cancelLink(node, link.id);
    await vi.waitUntil(() => typesAbout(link.id).length === 2);
    expect(typesAbout(link.id)).toEqual(["paymentLink.open", "paymentLink.cancelled"]);
  });

  it("survive the node that has changed the link", async () => {
    await addEndpoint(node, backend, { events: ["paymentLink.open"] });
    backend.answer = () => undefined;
    const link = await createLink(node);
    await vi.waitUntil(() => typesAbout(link.id).length === 1);
    await node.close();
    backend.answer = (response) => response.end();
    node = await startNode({ databaseUrl: file.url });
    // The lease of the first node ends.
    await file.database.pool.query(
      "update delivery set attempt_at = now(), claimed_until = now() where attempt_at is not null",
    );
    await vi.waitUntil(() => typesAbout(link.id).length === 2);
    expect(new Set(aboutLink(link.id).map(({ id }) => id))).toEqual(new Set([`${link.id}.0.1`]));
  });
});
