/** The orders of the course, in an SQLite file. */
import { DatabaseSync } from "node:sqlite";

let opened: DatabaseSync | undefined;

/** Opened with the first request, because the build loads this module too. */
function database(): DatabaseSync {
  if (!opened) {
    opened = new DatabaseSync(process.env.DATABASE ?? "course.db", { timeout: 5_000 });
    opened.exec(`
      pragma journal_mode = wal;
      create table if not exists course_order (id text primary key, buyer text not null, paid_at text) strict;
      create index if not exists course_order_buyer on course_order (buyer);
    `);
  }
  return opened;
}

export interface CourseOrder {
  id: string;
  buyer: string;
  paid_at: string | null;
}

export function addOrder(id: string, buyer: string): void {
  database().prepare("insert into course_order (id, buyer) values (?, ?)").run(id, buyer);
}

/** Oldest first. */
export const ordersOf = (buyer: string): CourseOrder[] =>
  database()
    .prepare("select * from course_order where buyer = ? order by rowid")
    .all(buyer) as unknown as CourseOrder[];

/** May be called again for the same order. */
export function markPaid(id: string, paidAt: string): void {
  database().prepare("update course_order set paid_at = ? where id = ? and paid_at is null").run(paidAt, id);
}
