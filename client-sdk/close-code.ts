/** A separate file, so that a page without plain WebSockets does not load it. */

/**
 * WebSocket close codes. Reconnect after 1012, 1013 and 4408, and with a fresh token after 4410. Do not reconnect after
 * 4401 and 4404.
 */
export const closeCode = {
  restarting: 1012,
  tryAgainLater: 1013,
  tokenRefused: 4401,
  orderUnknown: 4404,
  tooSlow: 4408,
  tokenExpired: 4410,
} as const;
