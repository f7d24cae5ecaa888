/** The orders that the shop opened: their ids, and finding them. */
import { randomInt } from "node:crypto";
import { z } from "zod";
import { HubError } from "../errors.ts";
import type { OrderQuery, OrderView } from "../order/query.ts";
import { type ItemId, itemIds } from "./catalogue.ts";

/** With `-1`: the first instalment of a plan, whose payment buys the item. */
export const orderIdText = z.string().regex(/^SH(-[2-9A-HJ-NP-Z]{4}){2}(-1)?$/, "is not an order of this shop");

/** The name that the payer sees, on the page and on the phone. */
export const shopName = "Tukio Demo Shop";

export type ShopOrder = OrderView & { item: ItemId };

/** Finds an order that the shop opened. Throws `order_unknown`. */
export async function findOrder(query: Pick<OrderQuery, "find">, orderId: string): Promise<ShopOrder> {
  const view = orderIdText.safeParse(orderId).success ? await query.find(orderId) : undefined;
  const item = z.enum(itemIds).safeParse(view?.metadata?.item);
  if (!view || !item.success) throw new HubError("order_unknown");
  return { ...view, item: item.data };
}

/** Letters and digits that look different from each other. */
const alphabet = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ";

/** Groups of four characters, for numbers from 0 to 31. */
export function groupsOf(numbers: readonly number[]): string {
  const text = numbers.map((number) => alphabet[number]).join("");
  return text.replace(/.{4}(?=.)/g, "$&-");
}

/** 12 characters, because M-Pesa shows the payer the last 12 only. */
export const newOrderId = (): string => `SH-${groupsOf(Array.from({ length: 8 }, () => randomInt(alphabet.length)))}`;
