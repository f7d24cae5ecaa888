/** The shop's own database: its stock and its orders. */
import { DatabaseSync } from "node:sqlite";

const db = new DatabaseSync(process.env.DATABASE ?? "shop.db");
db.exec(`
  pragma journal_mode = wal;
  create table if not exists product (name text primary key, price_minor integer not null, stock integer not null) strict;
  create table if not exists shop_order (
    id text primary key,
    product text not null references product,
    phone text not null,
    status text not null default 'open',
    receipt text,
    epoch integer not null default 0,
    version integer not null default 0
  ) strict;
  -- What the shop has acted on: one row for each order and status.
  create table if not exists acted (order_id text not null, status text not null, primary key (order_id, status)) strict;
  insert into product values ('Spiced tea, 100 g', 15000, 20), ('Woven basket', 240000, 5) on conflict do nothing;
`);

export const listProducts = () => db.prepare("select * from product").all();

export const findProduct = (name) => db.prepare("select * from product where name = ?").get(name);

export const addOrder = (id, product, phone) =>
  db.prepare("insert into shop_order (id, product, phone) values (?, ?, ?)").run(id, product, phone);

export const findOrder = (id) =>
  db.prepare("select shop_order.*, price_minor from shop_order join product on name = product where id = ?").get(id);

/**
 * Stores the state of an event, and acts on it, in one transaction.
 *
 * Keeps the newer state, because events may arrive in another order. Acts once for each order and status, because an event may
 * arrive twice.
 */
export const record = inTransaction(({ orderId, status, epoch, version, payment }) => {
  // An order of another shop at the same Tukio.
  if (!findOrder(orderId)) return;
  db.prepare(`
    update shop_order set status = $status, receipt = $receipt, epoch = $epoch, version = $version
    where id = $orderId and (epoch, version) < ($epoch, $version)
  `).run({ orderId, status, epoch, version, receipt: payment.receipt ?? null });
  const { changes } = db.prepare("insert into acted values (?, ?) on conflict do nothing").run(orderId, status);
  if (changes === 1 && status === "succeeded") deliver(orderId);
});

/** Delivers a paid order. Several payers may pay for the last piece, because nothing reserves it before the payment. */
function deliver(orderId) {
  const { changes } = db
    .prepare(
      "update product set stock = stock - 1 where name = (select product from shop_order where id = ?) and stock > 0",
    )
    .run(orderId);
  console.log(
    changes === 1 ? `Order ${orderId} is paid: pack it.` : `Order ${orderId} is paid and sold out: refund it.`,
  );
}

function inTransaction(work) {
  return (...given) => {
    db.exec("begin immediate");
    try {
      work(...given);
      db.exec("commit");
    } catch (error) {
      db.exec("rollback");
      throw error;
    }
  };
}
