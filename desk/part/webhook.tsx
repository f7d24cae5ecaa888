/** A webhook of a provider, with its bytes as they were stored, masked. */
import type { ReactNode } from "react";
import type { InboxWebhook } from "../../merchant-sdk/model.ts";
import { providerName } from "../word/provider.ts";
import type { Tone } from "../word/status.ts";
import { Badge } from "./status.tsx";
import { Time } from "./time.tsx";

const results: Readonly<Record<InboxWebhook["result"], { text: string; tone: Tone }>> = {
  applied: { text: "Changed the payment", tone: "good" },
  repeat: { text: "Nothing new", tone: "quiet" },
  hint: { text: "Unproven: the provider was asked", tone: "busy" },
  unmatched: { text: "Matches no payment", tone: "caution" },
  nothing: { text: "No outcome", tone: "quiet" },
  error: { text: "Not applied yet", tone: "caution" },
  unreadable: { text: "Cannot be read", tone: "bad" },
  refused: { text: "Refused", tone: "bad" },
};

const proofs = { signature: "signed", secret: "with the payment's secret", none: "without proof" } as const;

export function OneWebhook({ webhook }: { webhook: InboxWebhook }): ReactNode {
  const { text, tone } = results[webhook.result] ?? { text: webhook.result, tone: "quiet" };
  return (
    <div className="webhook">
      <p className="status">
        <Badge tone={tone}>{text}</Badge> {providerName(webhook.provider)}
      </p>
      <p className="hint">
        <Time at={webhook.receivedAt} form="exact" /> · {proofs[webhook.proof] ?? webhook.proof}
        {webhook.error && ` · ${webhook.error}`}
      </p>
      <details>
        <summary>{webhook.bytes.toLocaleString()} bytes</summary>
        {webhook.body === null ? (
          <p className="hint">The content is erased, or has a form that cannot be masked.</p>
        ) : (
          // biome-ignore lint/a11y/noNoninteractiveTabindex: a scrolling region must be reachable by keyboard
          <pre className="bytes" tabIndex={0}>
            {Object.entries(webhook.headers)
              .map(([name, value]) => `${name}: ${value}\n`)
              .join("")}
            {"\n"}
            {webhook.body}
          </pre>
        )}
      </details>
    </div>
  );
}
