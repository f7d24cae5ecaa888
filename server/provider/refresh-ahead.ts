/**
 * Replaces access tokens before they run out, so that no payment waits for one: at Safaricom and bKash in the 55th minute
 * of 60. Any number of nodes may do so; the credential lets one of them fetch.
 */
import { type Loop, startLoop } from "../loop.ts";
import type { StoredCredential } from "./access-token.ts";

export interface KeepAliveOptions {
  credentials: ReadonlyMap<string, Pick<StoredCredential, "keepAlive">>;
  log: { info(details: object, message: string): void; warn(details: object, message: string): void };
  /** How often to look, in milliseconds: every 30 s by default. */
  intervalMs?: number;
}

export function startKeepAlive({ credentials, log, intervalMs = 30_000 }: KeepAliveOptions): Pick<Loop, "close"> {
  const loops = [...credentials].map(([provider, credential]) =>
    startLoop({
      task: () => credential.keepAlive(),
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
