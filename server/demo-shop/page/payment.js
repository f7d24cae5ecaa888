/** The shop's own routes: what a merchant's backend would offer to its page. No key is needed, and none is here. */

/** @import { StatusEvent } from "../../../client-sdk/protocol.ts" */
/** @import { Choice, Item } from "../catalogue.ts" */

/** @typedef {{ order: StatusEvent, item: string, watchToken: string }} Watched */
/** @typedef {{ status: number, code: string, detail: string, order?: StatusEvent, retryAfterS: number | undefined }} Problem */

const root = new URL("..", import.meta.url);

/** The shop refuses, and says why. */
export class Refused extends Error {
  /** @type {Problem} */
  problem;

  /** @param {Problem} problem */
  constructor(problem) {
    super(problem.detail);
    this.name = "Refused";
    this.problem = problem;
  }
}

/**
 * Calls the shop. A body, even an empty one, makes it a POST. Throws `Refused`, or what `fetch` throws.
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
  const problem = await response.json().catch(() => ({ code: "internal", detail: "The shop does not answer" }));
  throw new Refused({ ...problem, retryAfterS: Number(response.headers.get("retry-after")) || undefined });
}

/** @returns {Promise<{ items: Item[], choices: Choice[] }>} */
export const readCatalogue = () => call("catalogue");

/** By the clock that stamps events. @returns {Promise<{ at: string }>} */
export const readClock = () => call("clock");

/** So that the provider's access token is there before it is needed. @param {string} provider */
export const prepare = (provider) => call(`providers/${encodeURIComponent(provider)}/token`, {});

/**
 * @param {{ item?: string, orderId?: string, provider: string, phone?: string }} wish
 * @returns {Promise<Watched>}
 */
export const pay = (wish) => call("payments", wish);

/** Goes on watching an order of this shop, with a fresh token. @param {string} orderId @returns {Promise<Watched>} */
export const watchAgain = (orderId) => call(`orders/${encodeURIComponent(orderId)}/watch-tokens`, {});

/**
 * Where each version of the order was learnt; a version that started a payment was learnt nowhere.
 * @param {string} orderId
 * @returns {Promise<{ sources: Record<string, string> }>}
 */
export const readSources = (orderId) => call(`orders/${encodeURIComponent(orderId)}/sources`);
