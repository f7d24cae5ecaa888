/** Records delivery reports. They may be repeated and come in any order: a delivered text stays delivered. */
import type pg from "pg";
import { run } from "../../order/statement.ts";
import type { DeliveryReport, SmsGatewayName } from "./gateway.ts";

const record = (name: string, condition: string) =>
  ({
    name,
    text: `with found as materialized (select id, status from sms where ${condition} for no key update),
    changed as (
      update sms set status = $3, reported_at = clock_timestamp() from found
      where sms.id = found.id and $3::text is not null and found.status <> 'delivered' and found.status <> $3
    )
    select id from found`,
  }) as const;

/** $1: the gateway. $2: how the report names the text. $3: the final status; null: none yet. */
const byReferenceStatement = record("record-sms-report", "reference = $2 and provider = $1");
const byIdStatement = record("record-sms-report-by-id", "id = $2 and provider = $1");

/** Whether the text is known. Throws `store_unavailable`. */
export async function recordReport(
  pool: pg.Pool,
  provider: SmsGatewayName,
  { of, status }: DeliveryReport,
): Promise<boolean> {
  const [statement, name] = "id" in of ? [byIdStatement, of.id] : [byReferenceStatement, of.reference];
  return (await run(pool, statement, [provider, name, status ?? null])).length > 0;
}
