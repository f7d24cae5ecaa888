/** Endpoints of the merchant's backend: a node, its database and a backend over HTTP. */
import { beforeAll, describe, expect, it, vi } from "vitest";
import { addEndpoint, startBackend } from "../support/backend.ts";
import { createDatabase } from "../support/database.ts";
import { asMerchant, paymentBody, startNode, type TestNode } from "../support/node.ts";

let databaseUrl: string;

beforeAll(async () => {
  const { url, drop } = await createDatabase();
  databaseUrl = url;
  return drop;
});

const start = (): Promise<TestNode> => startNode({ databaseUrl });

/** Starts a payment of a test number. */
const pay = async (node: TestNode, ending: string, fields: Record<string, unknown> = {}) =>
  (await asMerchant(node, "/v1/payments", paymentBody({ phone: `+2547123456${ending}`, ...fields }))).body.order;

describe("endpoint", () => {
  it("receives a signed event when an order is paid", async () => {
    const node = await start();
    const backend = await startBackend();
    await addEndpoint(node, backend);
    const order = await pay(node, "01", { description: "2 tickets", metadata: { seat: "A1" } });
    await vi.waitUntil(() => backend.received.some(({ type }) => type === "order.succeeded"));
    const [received] = backend.received;
    expect(received).toMatchObject({
      type: "order.succeeded",
      isVerified: true,
      id: `${order.id}.0.3`,
      body: {
        type: "order.succeeded",
        data: {
          order: {
            orderId: order.orderId,
            status: "succeeded",
            version: 3,
            description: "2 tickets",
            metadata: { seat: "A1" },
          },
        },
      },
    });
    expect(received?.body.timestamp).toBe(received?.body.data.order.occurredAt);
    expect(backend.received).toHaveLength(1);
  });
});
