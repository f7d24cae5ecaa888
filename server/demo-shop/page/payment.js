/** Calls the shop's own routes, which stand for a merchant's backend. They need no API key, so the page has none. */

/** @import { StatusEvent } from "../../../client-sdk/protocol.ts" */
/** @import { Choice, Item } from "../catalogue.ts" */

/** @typedef {{ order: StatusEvent, item: string, watchToken: string }} Watched */
/** @typedef {{ id: string, body: string }} Message The `webhook-id` and the body, as they are posted. */
/** @typedef {{ status: number, code: string, detail: string, order?: StatusEvent, retryAfterS: number | undefined }} Problem */

const root = new URL("..", import.meta.url);

/** The shop refused a call. `problem` has the reason. */
export class Refused extends Error {
  /** @param {Problem} problem */
  constructor(problem) {
    super(problem.detail);
    this.name = "Refused";
    /** @type {Problem} */
    this.problem = problem;
  }
}

/**
 * Calls the shop. A body, even an empty one, makes the call a POST. Throws `Refused`, or an error of `fetch`.
 * @param {string} path
 * @param {object} [body]
 * @returns {Promise<any>}
 */
async function call(path, body) {
  const response = await fetch(
    new URL(`shop/${path}`, root),
    body && { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) },
  );
  if (response.ok) return response.json();
  const problem = await response.json().catch(() => ({ code: "internal", detail: "The shop gave no valid answer" }));
  throw new Refused({ ...problem, retryAfterS: Number(response.headers.get("retry-after")) || undefined });
}

/** `hasClock`: whether the time of plans can be moved. @returns {Promise<{ items: Item[], choices: Choice[], hasClock: boolean }>} */
export const readCatalogue = () => call("catalogue");

/** Reads the clock that sets the events' timestamps. @returns {Promise<{ at: string }>} */
export const readClock = () => call("clock");

/** Refreshes the provider's access token ahead of the payment. @param {string} provider */
export const prepare = (provider) => call(`providers/${encodeURIComponent(provider)}/token`, {});

/**
 * @param {{ item?: string, orderId?: string, provider: string, phone?: string, email?: string }} payment
 * @returns {Promise<Watched>}
 */
export const pay = (payment) => call("payments", payment);

/**
 * Creates a payment link for an item, in the currency of a provider. `qr`: its QR code as SVG.
 * @param {{ item: string, provider: string }} goods
 * @returns {Promise<{ url: string, qr: string }>}
 */
export const createLink = (goods) => call("links", goods);

/**
 * Creates a plan of three instalments for an item.
 * @param {{ item: string, provider: string, phone?: string }} goods
 * @returns {Promise<{ url: string }>}
 */
export const createPlan = (goods) => call("plans", goods);

/** Moves the time of all plans by a month. @returns {Promise<{ now: string }>} */
export const moveClock = () => call("plan-clock", {});

/** Gets a fresh watch token for an order of this shop. @param {string} orderId @returns {Promise<Watched>} */
export const watchAgain = (orderId) => call(`orders/${encodeURIComponent(orderId)}/watch-tokens`, {});

/**
 * Reads the source of each version of the order. A version that started a payment has none.
 * @param {string} orderId
 * @returns {Promise<{ sources: Record<string, string> }>}
 */
export const readSources = (orderId) => call(`orders/${encodeURIComponent(orderId)}/sources`);

/**
 * Reads the messages that a merchant's backend receives about the order, after a version, oldest first.
 * @param {string} orderId
 * @param {number} after
 * @returns {Promise<{ messages: Message[] }>}
 */
export const readMessages = (orderId, after) => call(`orders/${encodeURIComponent(orderId)}/messages?after=${after}`);
