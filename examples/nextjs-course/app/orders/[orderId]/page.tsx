/** The page that waits, for the buyer of the order only. */
import { notFound } from "next/navigation";
import { findBuyer } from "../../../lib/buyer";
import { ordersOf } from "../../../lib/store";
import { tukio, tukioUrl } from "../../../lib/tukio";
import { Waiting } from "./waiting";

export default async function Page({ params }: { params: Promise<{ orderId: string }> }) {
  const { orderId } = await params;
  const buyer = await findBuyer();
  if (!buyer || !ordersOf(buyer).some(({ id }) => id === orderId)) notFound();
  const { watchToken } = await tukio().orders.issueWatchToken(orderId);
  return <Waiting url={tukioUrl} orderId={orderId} token={watchToken} />;
}
