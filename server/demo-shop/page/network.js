/**
 * Replaces the page's `WebSocket`, `fetch` and `navigator.onLine` with versions that can be cut, before the SDK is loaded. Until a switch is
 * used they behave like the browser's own. The SDK sees the same failures as on a bad network and needs no test mode.
 */

/** @typedef {ReturnType<typeof switchNetwork>} Network */

/** Replaces `WebSocket`, `fetch` and `navigator.onLine` of this page. */
export function switchNetwork() {
  const PlainSocket = window.WebSocket;
  const plainFetch = window.fetch.bind(window);
  /** @type {Set<WebSocket>} */
  const sockets = new Set();
  /** @type {Set<AbortController>} */
  const requests = new Set();
  let isOffline = false;
  let isBlocked = false;

  // The SDK asks it whether the browser is offline.
  const plainOnLine = Object.getOwnPropertyDescriptor(Navigator.prototype, "onLine");
  Object.defineProperty(navigator, "onLine", {
    configurable: true,
    get: () => !isOffline && plainOnLine?.get?.call(navigator) !== false,
  });

  window.WebSocket = class extends PlainSocket {
    /** @param {string | URL} url @param {string | string[]} [protocols] */
    constructor(url, protocols) {
      super(url, protocols);
      sockets.add(this);
      this.addEventListener("close", () => sockets.delete(this));
      // Closing it now looks like a connection that failed.
      if (isOffline || isBlocked) this.close();
    }
  };

  window.fetch = async (input, init) => {
    if (isOffline) throw new TypeError("Failed to fetch");
    const controller = new AbortController();
    const given = init?.signal;
    const abort = () => controller.abort(given?.reason);
    if (given?.aborted) abort();
    given?.addEventListener("abort", abort, { once: true });
    requests.add(controller);
    try {
      return await plainFetch(input, { ...init, signal: controller.signal });
    } finally {
      requests.delete(controller);
    }
  };

  const closeSockets = () => {
    for (const socket of sockets) socket.close();
  };

  const cut = () => {
    closeSockets();
    for (const request of requests) request.abort(new TypeError("Failed to fetch"));
  };

  return {
    /** Ends every connection. New connections remain possible. */
    cut,

    get isOffline() {
      return isOffline;
    },

    /** @param {boolean} offline */
    setOffline(offline) {
      isOffline = offline;
      if (offline) cut();
      window.dispatchEvent(new Event(offline ? "offline" : "online"));
    },

    /** Blocks WebSockets but not requests, as some proxies do. @param {boolean} blocked */
    setBlocked(blocked) {
      isBlocked = blocked;
      if (blocked) closeSockets();
    },
  };
}
