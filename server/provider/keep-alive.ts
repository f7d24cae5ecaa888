/**
 * Replaces access tokens before they run out, so that no payment waits for one: at Safaricom and bKash in the 55th minute
 * of 60. Any number of nodes may do so; the credential lets one of them fetch.
 */
import { type Loop, startLoop } from "../loop.ts";
import type { StoredCredential } from "./credential.ts";

export interface KeepAliveOptions {
  credentials: ReadonlyMap<string, Pick<StoredCredential, "keepAlive">>;
  log: { warn(details: object, message: string): void };
  /** How often to look, in milliseconds: every 30 s by default. */
  intervalMs?: number;
}

export function startKeepAlive({ credentials, log, intervalMs = 30_000 }: KeepAliveOptions): Pick<Loop, "close"> {
  const keep = ([provider, credential]: [string, Pick<StoredCredential, "keepAlive">]): Promise<void> =>
    credential.keepAlive().catch((error: unknown) => log.warn({ provider, err: error }, "token not replaced yet"));

  const { close } = startLoop({
    task: async () => void (await Promise.all([...credentials].map(keep))),
    delayMs: () => intervalMs,
    onError: (error) => log.warn({ err: error }, "tokens not looked at"),
  });
  return { close };
}
