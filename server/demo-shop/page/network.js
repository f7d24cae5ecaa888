/**
 * The page's network with switches, put under everything before the SDK is loaded: sockets and requests are the
 * browser's own until somebody cuts them. So what the SDK goes through is what it would go through on a train, and it
 * is not told that this is a game.
 */

/** @typedef {ReturnType<typeof switchNetwork>} Network */

/** Replaces `WebSocket` and `fetch` of this page. */
export function switchNetwork() {
  const PlainSocket = window.WebSocket;
  const plainFetch = window.fetch.bind(window);
  /** @type {Set<WebSocket>} */
  const sockets = new Set();
  /** @type {Set<AbortController>} */
  const requests = new Set();
  let isOffline = false;
  let isBlocked = false;

  window.WebSocket = class extends PlainSocket {
    /** @param {string | URL} url @param {string | string[]} [protocols] */
    constructor(url, protocols) {
      super(url, protocols);
      sockets.add(this);
      this.addEventListener("close", () => sockets.delete(this));
      // Fails as one fails that cannot get through.
      if (isOffline || isBlocked) this.close();
    }
  };

  window.fetch = async (input, init) => {
    if (isOffline) throw new TypeError("Failed to fetch");
    const cutter = new AbortController();
    const given = init?.signal;
    const stop = () => cutter.abort(given?.reason);
    if (given?.aborted) stop();
    given?.addEventListener("abort", stop, { once: true });
    requests.add(cutter);
    try {
      return await plainFetch(input, { ...init, signal: cutter.signal });
    } finally {
      requests.delete(cutter);
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
    /** Ends every connection; nothing keeps new ones from being made. */
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

    /** As some proxies do: sockets do not pass, requests do. @param {boolean} blocked */
    setBlocked(blocked) {
      isBlocked = blocked;
      if (blocked) closeSockets();
    },
  };
}
