/** Payment links beside a million orders, and the calls that send every statement about them. */
import { createHash } from "node:crypto";
import { createSealer } from "../../server/auth/keys.ts";
import type { Database } from "../../server/database/pool.ts";
import type { Claimed } from "../../server/delivery/claim.ts";
import { readClaimedLinks } from "../../server/delivery/link-message.ts";
import { cancelLink } from "../../server/payment-link/cancel.ts";
import { createLink } from "../../server/payment-link/create.ts";
import { linkOfPayment, readPageOrder, reserveOrderId } from "../../server/payment-link/page-order.ts";
import { findLink, listLinks, readLink, readLinkStates } from "../../server/payment-link/read.ts";
import { resealTokens } from "../../server/payment-link/reseal.ts";
import { settleDue, settleOne } from "../../server/payment-link/settle.ts";
import { hashOf } from "../../server/payment-link/token.ts";

/** The id of the payment of the `n`th newest order. */
const idOf = (n: number): string => `019f0000-0000-7000-8000-${(1_000_000 - n).toString(16).padStart(12, "0")}`;

/** The id of the link of the `n`th newest order. */
export const linkIdOf = (n: number): string => `019f0000-0000-7000-a000-${n.toString(16).padStart(12, "0")}`;

/** One link for each of the newest 100,000 orders, which belong to them. 2,000 are to be settled: as many are paid as have expired. */
export const paymentLinkRows: readonly string[] = [
  `insert into payment_link (id, order_id, status, version, token_hash, token, amount_minor, currency, description, expires_at, is_reusable,
     created_at, changed_at)
   select ('019f0000-0000-7000-a000-' || lpad(to_hex(n), 12, '0'))::uuid, 'MILLION-' || n,
     case when status = 'succeeded' and n > 4000 then 'paid' else 'open' end, 2, sha256(convert_to('token-' || n, 'UTF8')), '', 15000, 'KES',
     'Two tickets', case when n % 5 = 0 and n <= 5000 then at when n % 5 = 1 then now() + interval '1 day' end, false, at, at
   from made where n <= 100000`,
  `insert into payment_link_key (key, request, payment_link_id, created_at)
   select 'key-' || n, sha256('x'), ('019f0000-0000-7000-a000-' || lpad(to_hex(n), 12, '0'))::uuid, at from made where n <= 26200`,
  `update "order" o set payment_link_id = l.id, pays_link = case when l.status = 'open' then true end
   from payment_link l where o.order_id = l.order_id`,
  `update payment p set payer = sha256(convert_to('payer-' || o.order_id, 'UTF8')) from "order" o
   where o.id = p.order_uuid and o.payment_link_id is not null`,
];

/** Rows that a method's statements may read besides those of the result, because a limit of the statement bounds them. */
export const paymentLinkReads: Record<string, number> = {
  // 500 paid orders and 500 expired links, each read again when it is locked and when it is changed.
  settle: 4 * 1_000,
  // 100 numbers, each looked for among orders and links.
  reserve: 200,
};

/** The hash of the browser that paid the `n`th newest order. */
const payerOf = (n: number): string => createHash("sha256").update(`payer-MILLION-${n}`).digest("hex");

const claimedOf = (numbers: readonly number[]): Claimed[] =>
  numbers.map((n) => ({
    endpointId: "00000000-0000-4000-8000-000000000101",
    kind: "payment_link",
    subjectId: linkIdOf(n),
    dueVersion: 2,
    url: "https://shop.example.com/",
    notification: null,
    attempts: 0,
    isReplay: false,
    replays: 0,
    claim: "00000000-0000-4000-8000-000000000001",
  }));

/** Encrypts the token of one link with another secret. */
async function resealOne(pool: Database["pool"]): Promise<void> {
  const [old, newest] = ["old", "new"].map((name) =>
    createSealer([`the ${name} secret of more than thirty-two characters`]),
  );
  if (!old || !newest) throw new Error("two sealers were created");
  const { row } = await createLink(
    { pool, sealer: old },
    { orderId: "RESEAL-1", amountMinor: 15_000, currency: "KES" },
  );
  await pool.query("update payment_link set created_at = '1970-01-02' where id = $1", [row.id]);
  await resealTokens(pool, { sealer: old, newest });
}

/** Named as the keys of `paymentLinkReads`. */
export function paymentLinkCalls({ pool }: Database): Record<string, (() => Promise<unknown>)[]> {
  const sealer = createSealer(["a secret of more than thirty-two characters"]);
  const create = (orderId: string, key?: string) =>
    createLink({ pool, sealer }, { orderId, amountMinor: 15_000, currency: "KES" }, key);
  return {
    settle: [() => settleDue(pool)],
    reseal: [() => resealTokens(pool, { sealer, newest: sealer }), () => resealOne(pool)],
    settleOne: [() => settleOne(pool, linkIdOf(3_004)), () => settleOne(pool, linkIdOf(90_000))],
    create: [
      () => create("NEW-1", "new"),
      // Each of the others creates nothing: an order, a link, a used key and an expired key.
      () => create("MILLION-500000"),
      () => create("NEW-1"),
      () => create("NEW-2", "key-100"),
      () => create("NEW-3", "key-26200"),
    ],
    readLink: [() => readLink(pool, linkIdOf(90_000)), () => readLink(pool, linkIdOf(3_009))],
    findLink: [() => findLink(pool, hashOf("token-90000")), () => findLink(pool, hashOf("none"))],
    list: (["open", "paid", "cancelled", "expired", undefined] as const).map((status) => async () => {
      const { nextCursor } = await listLinks(pool, { status, limit: 50 });
      if (nextCursor !== null) await listLinks(pool, { status, limit: 50, cursor: nextCursor });
    }),
    payerOrder: [
      async () => readPageOrder(pool, await readLink(pool, linkIdOf(90_000)), "ab".repeat(32)),
      async () =>
        readPageOrder(pool, { ...(await readLink(pool, linkIdOf(90_000))), is_reusable: true }, payerOf(90_000)),
    ],
    reserve: [async () => reserveOrderId(pool, await readLink(pool, linkIdOf(90_000)))],
    linkOfPayment: [() => linkOfPayment(pool, idOf(90_000))],
    messages: [
      () =>
        readClaimedLinks(pool, claimedOf([90_000, 89_999]), async (ids) =>
          (await readLinkStates(pool, ids)).map((row) => ({
            ...row,
            type: "paymentLink.paid",
            occurredAt: row.changed_at,
            paymentLink: {},
          })),
        ),
    ],
    cancel: [() => cancelLink(pool, linkIdOf(2_002)), () => cancelLink(pool, linkIdOf(90_000))],
  };
}
