/** The buyer's browser, known by a cookie. A real shop has accounts. */
import { cookies } from "next/headers";

export async function findBuyer(): Promise<string | undefined> {
  return (await cookies()).get("buyer")?.value;
}

/** Only in a route, because a page cannot set cookies. */
export async function ensureBuyer(): Promise<string> {
  const known = await findBuyer();
  if (known) return known;
  const buyer = crypto.randomUUID();
  // Lax, because the browser must send the cookie when the payer returns from bKash's page.
  const options = { httpOnly: true, sameSite: "lax", secure: process.env.SHOP_URL?.startsWith("https:") } as const;
  (await cookies()).set("buyer", buyer, { ...options, maxAge: 31_536_000 });
  return buyer;
}
