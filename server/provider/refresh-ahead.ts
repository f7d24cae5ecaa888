/**
 * Replaces access tokens before they run out, so that no payment waits for one: at Safaricom and bKash in the 55th minute
 * of 60. Any number of nodes may do so; the credential lets one of them fetch.
 */
import { type Loop, startLoop } from "../loop.ts";
import type { StoredAccessToken } from "./access-token.ts";

export interface RefreshAheadOptions {
  accessTokens: ReadonlyMap<string, Pick<StoredAccessToken, "refreshAhead">>;
  log: { info(details: object, message: string): void; warn(details: object, message: string): void };
  /** How often to look, in milliseconds: every 30 s by default. */
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
      onError: (error) => log.warn({ provider, err: error }, "token not replaced yet"),
      onRecovered: () => log.info({ provider }, "token can be replaced again"),
    }),
  );
  return {
    async close() {
      await Promise.all(loops.map(({ close }) => close()));
    },
  };
}
