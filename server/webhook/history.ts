/** Lists the inbox for the merchant, newest first. */

import { z } from "zod";
import { readCursor, writeCursor } from "../cursor.ts";
import type { Database } from "../database/pool.ts";
import { run } from "../order/statement.ts";
import type { WebhookResult } from "../order/tables.ts";
import { redactBody, redactHeaders } from "./redact.ts";

export interface WebhookFilter {
  result?: WebhookResult | undefined;
  provider?: string | undefined;
  paymentId?: string | undefined;
  cursor?: string | undefined;
  limit: number;
}

export interface InboxWebhook {
  id: number;
  provider: string;
  receivedAt: string;
  result: WebhookResult;
  proof: "signature" | "secret" | "none";
  paymentId?: string;
  orderId?: string;
  error?: string;
  headers: Record<string, string>;
  /** Null if it is erased, or cannot be redacted. */
  body: string | null;
  /** The size of the stored body. */
  bytes: number;
}

export interface WebhookPage {
  data: InboxWebhook[];
  nextCursor: string | null;
}

/** Rows that one page reads, because few of many may fit the filter. */
const readMax = 1_000;

/**
 * $1: webhooks before this one. $2: rows of the page. $3: the result. $4: the provider. $5: the payment. Bodies are read of the rows of the
 * page only.
 */
const statementOf = (name: string, condition: string, order = "id desc") => ({
  name,
  text: `select w.id, w.provider, w.received_at, w.result, w.proof, w.payment_id, w.error, w.headers, w.body, o.order_id, page.is_match, page.place
    from (
      select read.id, (($3::text is null or read.result = $3) and ($4::text is null or read.provider = $4)
          and ($5::uuid is null or read.payment_id = $5)) is true as is_match,
        row_number() over (order by read.id desc) as place
      from (
        select id, result, provider, payment_id from webhook where id < $1 and ${condition} order by ${order} limit ${readMax}
      ) read
    ) page
      join webhook w on w.id = page.id
      left join payment p on p.id = w.payment_id
      left join "order" o on o.id = p.order_uuid
    where page.is_match or page.place = ${readMax}
    order by page.id desc limit $2`,
});

const statements = {
  all: statementOf("inbox", "true"),
  // The result as a range of one value, so that only the index by result has the order.
  ofResult: statementOf(
    "inbox-of-result",
    "result >= $3 and result <= $3 and result <> 'applied'",
    "result desc, id desc",
  ),
  ofPayment: statementOf("inbox-of-payment", "payment_id = $5"),
};

interface WebhookRow {
  id: number;
  provider: string;
  received_at: Date;
  result: WebhookResult;
  proof: "signature" | "secret" | "none";
  payment_id: string | null;
  order_id: string | null;
  error: string | null;
  headers: Record<string, unknown>;
  body: Buffer;
  is_match: boolean;
  place: number;
}

/** A page may have fewer webhooks than its limit, or none. Throws `body_invalid` for a cursor that no list returned. */
export async function listWebhooks(pool: Database["pool"], filter: WebhookFilter): Promise<WebhookPage> {
  const { result, provider, paymentId, cursor, limit } = filter;
  const before = cursor === undefined ? Number.MAX_SAFE_INTEGER : readCursor(z.int().min(0), cursor);
  // Most webhooks are applied, so the newest ones soon have enough of them.
  const statement = paymentId !== undefined ? statements.ofPayment : statementOfResult(result);
  const rows = await run<WebhookRow>(pool, statement, [before, limit + 1, result, provider, paymentId]);
  const matches = rows.filter(({ is_match }) => is_match);
  const shown = matches.slice(0, limit);
  const lastRead = rows.at(-1)?.place === readMax ? rows.at(-1) : undefined;
  const last = matches.length > limit ? shown.at(-1) : lastRead;
  return { data: shown.map(toView), nextCursor: last ? writeCursor(last.id) : null };
}

const statementOfResult = (result: WebhookResult | undefined) =>
  result === undefined || result === "applied" ? statements.all : statements.ofResult;

const toView = (row: WebhookRow): InboxWebhook => ({
  id: row.id,
  provider: row.provider,
  receivedAt: row.received_at.toISOString(),
  result: row.result,
  proof: row.proof,
  ...(row.payment_id !== null && { paymentId: row.payment_id }),
  ...(row.order_id !== null && { orderId: row.order_id }),
  ...(row.error !== null && { error: row.error }),
  headers: redactHeaders(row.headers),
  body: redactBody(row.body, row.headers["content-type"]),
  bytes: row.body.length,
});
