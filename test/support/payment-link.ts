/** Payment links for tests. */
import { expect } from "vitest";
import type { PaymentLink } from "../../server/payment-link/row.ts";
import { type Answer, asMerchant, type TestNode } from "./node.ts";
import { nextOrderId } from "./store.ts";

export const linkBody = (fields: Record<string, unknown> = {}): Record<string, unknown> => ({
  orderId: nextOrderId(),
  amountMinor: 15_000,
  currency: "KES",
  ...fields,
});

export const linkOf = ({ body }: Answer): PaymentLink => (body as unknown as { paymentLink: PaymentLink }).paymentLink;

/** Creates a payment link and returns it with its URL. */
export async function createLink(
  node: TestNode,
  fields: Record<string, unknown> = {},
): Promise<PaymentLink & { url: string }> {
  const answer = await asMerchant(node, "/v1/payment-links", linkBody(fields));
  expect(answer).toMatchObject({ status: 201 });
  const link = linkOf(answer);
  if (link.url === undefined) throw new Error("the link has no URL");
  return { ...link, url: link.url };
}

export const readLink = async (node: TestNode, id: string): Promise<PaymentLink> =>
  linkOf(await asMerchant(node, `/v1/payment-links/${id}`));

export const cancelLink = (node: TestNode, id: string): Promise<Answer> =>
  asMerchant(node, `/v1/payment-links/${id}/cancel`, {});
