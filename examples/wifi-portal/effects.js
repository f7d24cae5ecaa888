/**
 * Runs the effects outside the database, here the result at Tukio.
 *
 * The transaction that creates the voucher adds them, and they are marked as done after they succeeded. So each happens at least
 * once, also if the portal is killed at any moment. A result that is posted twice changes nothing, because its id stays the same.
 *
 * An effect is locked while it runs, so that several processes do not run one at the same time. PostgreSQL releases the lock of a
 * process that is killed.
 */
import { findOrder, inTransaction } from "./store.js";

/** `actions` has a function for each name of an effect. Returns a function that runs what is due. */
export function startEffects(actions) {
  const loops = Object.entries(actions).map(([name, action]) => createLoop(() => runNext(name, action)));
  const wake = () => {
    for (const loop of loops) loop();
  };
  setInterval(wake, 1_000);
  wake();
  return wake;
}

function createLoop(runNext) {
  let isRunning = false;
  return async () => {
    if (isRunning) return;
    isRunning = true;
    try {
      while (await runNext());
    } catch (error) {
      console.error(`The database failed: ${error.message}`);
    } finally {
      isRunning = false;
    }
  };
}

/** Returns whether an effect was due. */
const runNext = (name, action) =>
  inTransaction(async (client) => {
    const { rows } = await client.query(
      `select order_id, attempts from effect where name = $1 and done_at is null and due_at <= now()
        order by due_at limit 1 for update skip locked`,
      [name],
    );
    if (rows.length === 0) return false;
    const [{ order_id: orderId, attempts }] = rows;
    try {
      await action(await findOrder(orderId));
      await client.query("update effect set done_at = now() where order_id = $1 and name = $2", [orderId, name]);
    } catch (error) {
      console.error(`${name} of ${orderId} failed, and will be repeated: ${error.message}`);
      // After 1 s, 2 s, 4 s …, and at most an hour.
      await client.query(
        `update effect set attempts = attempts + 1, due_at = now() + $3 * interval '1 second'
          where order_id = $1 and name = $2`,
        [orderId, name, Math.min(2 ** attempts, 3_600)],
      );
    }
    return true;
  });
