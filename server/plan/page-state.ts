/** Reads a plan for its page, with the state of each instalment's order, and makes the view. */
import { DateTime } from "luxon";
import type pg from "pg";
import type { Sealer } from "../auth/keys.ts";
import type { Language } from "../order/order.ts";
import type { ShopView } from "../page/shop.ts";
import { pathOf } from "../payment-link/page-content.ts";
import { hashOf, isToken, openToken } from "../payment-link/token.ts";
import type { Terms } from "../provider/enabled.ts";
import type { Provider } from "../provider/provider.ts";
import type { PartState, PartView, PlanView } from "./page-view.ts";
import { readSettled } from "./read.ts";
import { instalmentsMax, isEndless, type PlanRow } from "./row.ts";

/** The order of an instalment, by the id of its link. */
interface PartOrder {
  status: string;
  receipt: string | null;
  /** When the link changed last: when it was paid, if it is. */
  changed_at: string;
  /** The link by which the instalment was paid, or is to be: its own, or the one that covered it. */
  link: PartLink;
}

interface PartLink {
  id: string;
  /** Encrypted, in hexadecimal digits. */
  token: string;
}

/** A link that covers several instalments, and whose payment is in progress or in review. */
interface BusyLink extends PartLink {
  covers: number[];
  status: string;
}

export type PageRow = PlanRow & { orders: Record<string, PartOrder> | null; busy: BusyLink[] | null; now: Date };

/** $1: the token's hash. */
const pageStatement = {
  name: "read-plan-page",
  further: [
    `(
      select jsonb_object_agg(l.id, jsonb_build_object('status', o.status, 'receipt', o.payment ->> 'receipt',
        'changed_at', iso(l.changed_at), 'link', jsonb_build_object('id', payer.id, 'token', encode(payer.token, 'hex'))))
      from (
        select id, covered_by, changed_at from payment_link where plan_uuid = p.id and plan_n is not null
        order by plan_n desc limit ${instalmentsMax}
      ) l cross join lateral (
        select id, order_id, token from payment_link where id = coalesce(l.covered_by, l.id) offset 0
      ) payer cross join lateral (
        select status, payment from "order" where order_id = payer.order_id and payment_link_id = payer.id offset 0
      ) o
    ) as orders`,
    `(
      select jsonb_agg(jsonb_build_object('covers', l.covers, 'status', o.status, 'id', l.id, 'token', encode(l.token, 'hex')))
      from payment_link l cross join lateral (
        select status from "order" where order_id = l.order_id and payment_link_id = l.id offset 0
      ) o
      where l.plan_uuid = p.id and l.plan_n is null and l.status = 'open' and o.status in ('pending', 'processing', 'review')
    ) as busy`,
    "plan_now() as now",
  ],
  condition: "p.token_hash = $1",
} as const;

const readByHash = readSettled<PageRow>(pageStatement);

/** The plan of a page. Undefined for a token that no plan has. Throws `store_unavailable`. */
export const readPlanOfPage = async (pool: pg.Pool, token: string): Promise<PageRow | undefined> =>
  isToken(token) ? readByHash(pool, hashOf(token)) : undefined;

export interface ViewOptions {
  sealer: Sealer;
  providers: ReadonlyMap<string, Provider>;
  terms: (provider: string) => Pick<Terms, "live">;
}

export interface ViewRequest {
  shop: ShopView;
  lang: Language;
  token: string;
  /** The payer has chosen an amount that no provider takes. */
  isTooMuch?: boolean;
  /** The language of the page's address, if it has one. */
  chosenLang?: Language | undefined;
  nonce: string;
}

/** Without what is personal: no name, number, id or metadata of the customer. */
export function viewOf(row: PageRow, { chosenLang, token, ...page }: ViewRequest, options: ViewOptions): PlanView {
  const endless = isEndless(row);
  return {
    ...page,
    actionPath: pathOf(token, { lang: chosenLang }),
    status: row.status,
    ...(row.description !== null && { description: row.description }),
    currency: row.currency,
    timeZone: row.time_zone,
    paidMinor: row.paid_minor,
    ...(!endless && { remainingMinor: row.open_minor, count: row.instalments.length }),
    parts: row.instalments.map((instalment) => partOf(instalment, row, { chosenLang, sealer: options.sealer })),
    isTest: isTest(row, options),
  };
}

function partOf(
  { id, token, n, due_at: dueAt, amount_minor: amountMinor, status }: PlanRow["instalments"][number],
  row: PageRow,
  { chosenLang, sealer }: { chosenLang: Language | undefined; sealer: Sealer },
): PartView {
  const order = row.orders?.[id];
  const busy = status === "open" ? row.busy?.find(({ covers }) => covers.includes(n)) : undefined;
  const link = busy ?? order?.link ?? { id, token };
  const opened = openToken(sealer, link.id, Buffer.from(link.token, "hex"));
  return {
    n,
    dueAt,
    amountMinor,
    state: stateOf({ status, orderStatus: busy?.status ?? order?.status, dueAt }, row),
    ...(opened !== undefined && { path: `../pay/${pathOf(opened, { lang: chosenLang })}` }),
    ...(status === "paid" && order && { paidAt: order.changed_at }),
    ...(status === "paid" && order?.receipt && { receipt: order.receipt }),
  };
}

function stateOf(
  { status, orderStatus, dueAt }: { status: string; orderStatus: string | undefined; dueAt: string },
  { now, time_zone: zone }: PageRow,
): PartState {
  if (status === "paid") return "paid";
  if (orderStatus === "pending" || orderStatus === "processing") return "inProgress";
  if (orderStatus === "review") return "review";
  if (status !== "open") return "cancelled";
  const [due, today] = [new Date(dueAt), now].map((time) => DateTime.fromJSDate(time, { zone }).toISODate() ?? "");
  return due === today ? "dueToday" : (due ?? "") < (today ?? "") ? "overdue" : "later";
}

function isTest({ provider, currency }: PlanRow, { providers, terms }: ViewOptions): boolean {
  const names = provider === null ? [...providers.values()].filter((one) => one.currencies.includes(currency)) : [];
  const all = provider === null ? names.map(({ name }) => name) : [provider];
  return all.length > 0 && all.every((name) => providers.has(name) && !terms(name).live);
}
