/**
 * With which phone the last order is being paid, so that the phone beside the shop is the same after a reload and in a
 * second tab. A convenience: where nothing can be kept, the visitor types the number.
 */

/** @typedef {{ orderId: string, provider: string, phone: string }} LastOrder */

const key = "tukio-shop:last-order";

/** @param {LastOrder} order */
export function remember(order) {
  try {
    localStorage.setItem(key, JSON.stringify(order));
  } catch {
    // Full or forbidden: nothing depends on it.
  }
}

/** @param {string} orderId @returns {LastOrder | undefined} */
export function recall(orderId) {
  try {
    const last = JSON.parse(localStorage.getItem(key) ?? "null");
    return last?.orderId === orderId ? last : undefined;
  } catch {
    return undefined;
  }
}
