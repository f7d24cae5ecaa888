/**
 * Runs the effects outside this database: the results at Tukio, and the mails.
 *
 * The transaction that creates the tickets adds them, and they are marked as done after they succeeded. So each happens at least
 * once, also if the shop is killed at any moment. It may happen twice, if the shop is killed after it and before the mark:
 * therefore a result has a stable id, and a mail a stable Message-ID.
 *
 * Run this in one process only. The other pages may run in several.
 */
import { db, findOrder, listTickets } from "./store.js";

const nextDue = db.prepare(
  "select order_id, attempts from effect where name = ? and done_at is null and due_at <= ? order by due_at limit 1",
);
const markDone = db.prepare("update effect set done_at = ? where order_id = ? and name = ?");
const postpone = db.prepare("update effect set attempts = attempts + 1, due_at = ? where order_id = ? and name = ?");

/** `actions` has a function for each name of an effect. Returns a function that runs what is due. */
export function startEffects(actions) {
  // A loop for each name, because a mail server that is down must not delay results.
  const loops = Object.entries(actions).map(([name, action]) => createLoop(() => runDue(name, action)));
  const wake = () => {
    for (const loop of loops) loop();
  };
  setInterval(wake, 1_000);
  wake();
  return wake;
}

function createLoop(run) {
  let isRunning = false;
  return async () => {
    if (isRunning) return;
    isRunning = true;
    try {
      await run();
    } catch (error) {
      console.error(`The database failed: ${error.message}`);
    } finally {
      isRunning = false;
    }
  };
}

async function runDue(name, action) {
  for (let due = nextDue.get(name, Date.now()); due; due = nextDue.get(name, Date.now())) {
    const { order_id: orderId, attempts } = due;
    try {
      await action(findOrder(orderId), listTickets(orderId));
      markDone.run(Date.now(), orderId, name);
    } catch (error) {
      console.error(`${name} of ${orderId} failed, and will be repeated: ${error.message}`);
      // After 1 s, 2 s, 4 s …, and at most an hour.
      postpone.run(Date.now() + Math.min(1_000 * 2 ** attempts, 3_600_000), orderId, name);
    }
  }
}
