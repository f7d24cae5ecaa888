/** The course, for buyers who have paid. */
import { redirect } from "next/navigation";
import { findBuyer } from "../../lib/buyer";
import { markPaid, ordersOf } from "../../lib/store";
import { tukio } from "../../lib/tukio";

export default async function Page() {
  if (!(await hasAccess(await findBuyer()))) redirect("/");
  return (
    <main>
      <h1>Lesson 1: Shorshe ilish</h1>
    </main>
  );
}

async function hasAccess(buyer: string | undefined): Promise<boolean> {
  if (!buyer) return false;
  const orders = ordersOf(buyer);
  if (orders.some(({ paid_at }) => paid_at !== null)) return true;
  // Asks Tukio, because the payer's page may be faster than the event to the shop.
  const newest = orders.at(-1);
  if (!newest) return false;
  const { order } = await tukio().orders.read(newest.id);
  if (order.status !== "succeeded") return false;
  markPaid(newest.id, order.occurredAt);
  return true;
}
