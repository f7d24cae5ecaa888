/** The portal's database: orders, vouchers, invoices, and the accounts that FreeRADIUS reads. */
import { randomInt } from "node:crypto";
import pg from "pg";

export const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL });
// A connection that breaks while nobody uses it; the pool replaces it.
pool.on("error", (error) => console.error(`The database: ${error.message}`));

/** FreeRADIUS reads `Expiration` in the zone of its own process. */
const radiusTimeZone = process.env.RADIUS_TIME_ZONE ?? "UTC";

export const listPlans = async () => (await pool.query("select * from plan order by price_minor")).rows;

export const findPlan = async (name) => (await pool.query("select * from plan where name = $1", [name])).rows[0];

export const findOrder = async (id) =>
  (
    await pool.query(
      "select o.*, v.code, v.expires_at from portal_order o left join voucher v on v.order_id = o.id where o.id = $1",
      [id],
    )
  ).rows[0];

export const addOrder = ({ id, plan, phone }) =>
  pool.query("insert into portal_order (id, plan, phone) values ($1, $2, $3)", [id, plan, phone]);

/**
 * Creates what a paid order receives: voucher, customer, invoice, RADIUS account, and the effect that shows the voucher. All of it is
 * in one transaction. The voucher's primary key lets it happen once: of several events at once, the others wait for the first
 * one's commit, and then insert nothing.
 */
export const fulfil = ({ orderId, amountMinor, payment, occurredAt }) =>
  inTransaction(async (client) => {
    const { rows } = await client.query(
      `insert into voucher (order_id, code, expires_at)
        select o.id, $2, $3::timestamptz + p.valid_for from portal_order o join plan p on p.name = o.plan where o.id = $1
        on conflict (order_id) do nothing
        returning code`,
      [orderId, newCode(), occurredAt],
    );
    if (rows.length === 0) return;
    await client.query(
      "insert into customer (phone) select phone from portal_order where id = $1 on conflict do nothing",
      [orderId],
    );
    await client.query(
      `with taken as (update invoice_counter set last = last + 1 returning last)
        insert into invoice (order_id, number, customer, amount_minor, receipt)
        select o.id, taken.last, o.phone, $2, $3 from portal_order o, taken where o.id = $1`,
      [orderId, amountMinor, payment.receipt],
    );
    await client.query(radiusAccount, [orderId, radiusTimeZone]);
    await client.query("insert into effect (order_id, name) values ($1, 'result')", [orderId]);
  });

/** User name and password are both the code, because the log-in page of a hotspot sends one field. */
const radiusAccount = `
  with account as (
    select v.code, v.expires_at, p.name, p.online_s
    from voucher v join portal_order o on o.id = v.order_id join plan p on p.name = o.plan where v.order_id = $1
  ),
  "check" as (
    insert into radcheck (username, attribute, op, value)
      select code, attribute, ':=', value from account, lateral (values
        ('Cleartext-Password', code),
        -- Refused after this time.
        ('Expiration', to_char(expires_at at time zone $2, 'DD Mon YYYY HH24:MI:SS')),
        -- One device at a time.
        ('Simultaneous-Use', '1'),
        -- The time online of all sessions. Session-Timeout would start again at each log-in.
        ('Max-All-Session', online_s::text)
      ) as row (attribute, value)
  )
  insert into radusergroup (username, groupname, priority) select code, name, 1 from account`;

/** Without letters and digits that look alike. 50 bits, because RADIUS answers a wrong guess after a second. */
const alphabet = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ";
const newCode = () => Array.from({ length: 10 }, () => alphabet[randomInt(alphabet.length)]).join("");

export async function inTransaction(work) {
  const client = await pool.connect();
  try {
    await client.query("begin");
    const result = await work(client);
    await client.query("commit");
    return result;
  } catch (error) {
    await client.query("rollback").catch(() => undefined);
    throw error;
  } finally {
    client.release();
  }
}
