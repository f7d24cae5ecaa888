/** A file of its own, so that a page without plain WebSockets does not fetch it. */

/** WebSocket close codes. Below 4400: come back. 4401 and 4404: stay away. 4408 and 4410: come back (4410: with a fresh token). */
export const closeCode = {
  restarting: 1012,
  tryAgainLater: 1013,
  tokenRefused: 4401,
  orderUnknown: 4404,
  tooSlow: 4408,
  tokenExpired: 4410,
} as const;
