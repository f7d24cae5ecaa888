/** What the tests of the examples do with an order of the sandbox's payers. */
import { expect, vi } from "vitest";
import { asMerchant, type Body, type TestNode } from "./node.ts";
import { answerPrompt } from "./payer.ts";

let phones = 0;

/** A new number whose prompts wait for an answer. */
export function nextPhone(): string {
  phones += 1;
  return `0712${String(phones).padStart(4, "0")}00`;
}

/** Posts the order form of an example. Returns the order's id, from the address of the page that waits. */
export async function postOrder(url: string, fields: Record<string, string>): Promise<string> {
  const body = new URLSearchParams(fields);
  const response = await fetch(`${url}/orders`, { method: "POST", body, redirect: "manual" });
  expect([response.status, await response.text()]).toMatchObject([303, expect.anything()]);
  return String(response.headers.get("location")).split("/").at(-1) ?? "";
}

/** Orders with a new phone, and approves the prompt. Returns the order's id. */
export async function orderAndPay(node: TestNode, url: string, fields: Record<string, string>): Promise<string> {
  const phone = nextPhone();
  const orderId = await postOrder(url, { ...fields, phone });
  await answerPrompt(node, phone, "approve");
  return orderId;
}

interface Delivered {
  data: { version: number }[];
}

/** Waits until the node's only endpoint has acknowledged the newest state of the order. */
export const untilDelivered = (node: TestNode, orderId: string): Promise<unknown> =>
  vi.waitUntil(async () => {
    const { body: endpoints } = await asMerchant(node, "/v1/endpoints");
    const [endpoint] = endpoints.data;
    const { order } = (await asMerchant(node, `/v1/orders/${orderId}`)).body;
    const path = `/v1/endpoints/${endpoint?.id}/deliveries?status=delivered&orderId=${orderId}`;
    const { data } = (await asMerchant(node, path)).body as unknown as Delivered;
    return data.some(({ version }) => version === order.version);
  });

/** Waits until the order has this status. */
export const untilStatus = (node: TestNode, orderId: string, status: string): Promise<Body> =>
  vi.waitUntil(async () => {
    const { body } = await asMerchant(node, `/v1/orders/${orderId}`);
    return body.order.status === status && body;
  });
