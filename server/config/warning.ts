/** Warnings about a valid configuration, at start. */
import { modeOf } from "../provider/enabled.ts";
import { type Config, providersWithoutWebhooks } from "./config.ts";
import { reachOf } from "./host.ts";

type Log = Record<"warn", (details: object, message: string) => void>;

export function warnOf({ publicUrl, enabledProviders }: Config, log: Log): void {
  // In production `readConfig` refuses this for live providers. Elsewhere a developer may do without webhooks.
  const unreached = providersWithoutWebhooks({ publicUrl, enabledProviders });
  if (unreached.length > 0) {
    log.warn(
      { event: "config.public_url.loopback", providers: namesOf(unreached), publicUrl },
      "These providers cannot send webhooks to PUBLIC_URL; only queries settle their payments",
    );
  }
  // Not refused, because a provider may reach a private network by a VPN.
  const distant = enabledProviders.filter((one) => modeOf(one) !== "sandbox" && reachOf(one.baseUrl) === "public");
  if (publicUrl !== undefined && reachOf(publicUrl) === "private" && distant.length > 0) {
    log.warn(
      { event: "config.public_url.private", providers: namesOf(distant), publicUrl },
      "PUBLIC_URL is a private address: these providers can only send webhooks to it through a private network",
    );
  }
  const mixed = enabledProviders.filter(({ hasOtherMode }) => hasOtherMode);
  if (mixed.length > 0) {
    log.warn(
      { event: "config.account.mode", providers: namesOf(mixed) },
      "Test credentials at a provider's live address, or live credentials at its test address",
    );
  }
}

const namesOf = (some: readonly { name: string }[]): string[] => some.map(({ name }) => name);
