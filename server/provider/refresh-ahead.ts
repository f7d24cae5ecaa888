/**
 * Refreshes access tokens ahead, so that no payment waits for one. Safaricom's and bKash's tokens live for 60 min and
 * are refreshed in the 55th. Any number of nodes may run this at once: the access token lets one of them fetch.
 */
import { type Loop, startLoop } from "../loop.ts";
import type { StoredAccessToken } from "./access-token.ts";

export interface RefreshAheadOptions {
  /** By provider. */
  accessTokens: ReadonlyMap<string, Pick<StoredAccessToken, "refreshAhead">>;
  log: { info(details: object, message: string): void; warn(details: object, message: string): void };
  /** Milliseconds between two checks: 30 s by default. */
  intervalMs?: number;
}

export function startRefreshAhead({
  accessTokens,
  log,
  intervalMs = 30_000,
}: RefreshAheadOptions): Pick<Loop, "close"> {
  const loops = [...accessTokens].map(([provider, accessToken]) =>
    startLoop({
      task: () => accessToken.refreshAhead(),
      delayMs: () => intervalMs,
      onError: (error) =>
        log.warn({ event: "provider.token.refresh_failed", provider, err: error }, "access token not refreshed"),
      onRecovered: () =>
        log.info({ event: "provider.token.refresh_recovered", provider }, "access token refreshed again"),
    }),
  );
  return {
    async close() {
      await Promise.all(loops.map(({ close }) => close()));
    },
  };
}
