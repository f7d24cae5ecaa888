/**
 * Stores the phone number and the email address of the last order, so that the phone beside the shop and the links to the
 * messages are the same after a reload and in a second tab. If the storage fails, the visitor types them again.
 */

/** @typedef {{ orderId: string, provider: string, phone: string, email?: string }} LastOrder */

const key = "tukio-shop:last-order";

/** @param {LastOrder} order */
export function remember(order) {
  try {
    localStorage.setItem(key, JSON.stringify(order));
  } catch {
    // The storage is full or forbidden, and nothing depends on it.
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
