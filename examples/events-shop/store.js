/** The shop's database, an SQLite file: what is on, the tickets, and the effects that are due. */
import { randomBytes } from "node:crypto";
import { DatabaseSync } from "node:sqlite";

export const db = new DatabaseSync(process.env.DATABASE ?? "events.db", { timeout: 5_000 });
db.exec(`
  pragma journal_mode = wal;
  create table if not exists show (sku text primary key, name text not null, price_minor integer not null) strict;
  create table if not exists shop_order (
    id text primary key,
    email text not null,
    -- The secret address of the tickets.
    page text not null unique,
    paid_at text,
    receipt text
  ) strict;
  create table if not exists ticket (
    order_id text not null references shop_order,
    number integer not null,
    show_name text not null,
    code text not null unique,
    redeemed_at text,
    primary key (order_id, number)
  ) strict;
  create table if not exists customer (email text primary key) strict;
  -- What must happen outside this database, once for each order.
  create table if not exists effect (
    order_id text not null references shop_order,
    name text not null,
    due_at integer not null default 0,
    attempts integer not null default 0,
    done_at integer,
    primary key (order_id, name)
  ) strict;
  create index if not exists effect_due on effect (name, due_at) where done_at is null;
  insert into show values ('SAUTI', 'Sauti Sol, 12 December', 150000), ('DERBY', 'Mashemeji Derby', 50000) on conflict do nothing;
`);

export const listShows = () => db.prepare("select * from show").all();

export const findShow = (sku) => db.prepare("select * from show where sku = ?").get(sku);

export const addOrder = (id, email) =>
  db.prepare("insert into shop_order (id, email, page) values (?, ?, ?)").run(id, email, newSecret());

export const findOrder = (id) => db.prepare("select * from shop_order where id = ?").get(id);

/**
 * Creates what a paid order receives: one ticket for each unit of its items, and the effects. All of it is in one transaction,
 * which only the first event of a paid order gets past its first statement.
 */
export function fulfil({ orderId, items, payment }) {
  inTransaction(() => {
    const { changes } = db
      .prepare("update shop_order set paid_at = ?, receipt = ? where id = ? and paid_at is null")
      .run(new Date().toISOString(), payment.receipt ?? null, orderId);
    if (changes === 0) return;
    const units = items.flatMap(({ name, quantity }) => Array.from({ length: quantity }, () => name));
    const addTicket = db.prepare("insert into ticket (order_id, number, show_name, code) values (?, ?, ?, ?)");
    for (const [index, name] of units.entries()) addTicket.run(orderId, index + 1, name, newSecret());
    const effects = ["result", "ticket-mail", ...(isFirstOrder(orderId) ? ["welcome-mail"] : [])];
    const addEffect = db.prepare("insert into effect (order_id, name) values (?, ?)");
    for (const name of effects) addEffect.run(orderId, name);
  });
}

/** Whether the customer is new. Notes that the customer is known from now on. */
const isFirstOrder = (orderId) =>
  db.prepare("insert into customer select email from shop_order where id = ? on conflict do nothing").run(orderId)
    .changes === 1;

/** 128 random bits, in capitals, because scanners and people read these best. */
const newSecret = () => randomBytes(16).toString("hex").toUpperCase();

export const findPage = (page) => db.prepare("select * from shop_order where page = ?").get(page);

export const listTickets = (orderId) =>
  db.prepare("select * from ticket where order_id = ? order by number").all(orderId);

export const findTicket = (code) => db.prepare("select * from ticket where code = ?").get(code);

/** Returns whether the ticket is valid now. One statement decides, so of two gates that scan a code at once, one lets it in. */
export const redeem = (code) =>
  db
    .prepare("update ticket set redeemed_at = ? where code = ? and redeemed_at is null")
    .run(new Date().toISOString(), code).changes === 1;

function inTransaction(work) {
  db.exec("begin immediate");
  try {
    work();
    db.exec("commit");
  } catch (error) {
    db.exec("rollback");
    throw error;
  }
}
