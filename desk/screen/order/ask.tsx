/** Asks the provider about a payment now. It moves no money, and may be repeated. */
import { type ReactNode, useState } from "react";
import type { Asked, Payment } from "../../../merchant-sdk/model.ts";
import { api, read } from "../../api/call.ts";
import { ActionButton } from "../../part/confirm.tsx";
import { providerName } from "../../word/provider.ts";
import { reasonText, statusLooks } from "../../word/status.ts";

export function Ask({ payment: { id, provider } }: { payment: Payment }): ReactNode {
  const [asked, setAsked] = useState<Asked>();
  const ask = async (): Promise<void> =>
    setAsked(await read(api.POST("/v1/payments/{id}/ask", { params: { path: { id } } })));
  return (
    <ActionButton done={asked ? answerText(asked, providerName(provider)) : ""} onAct={ask}>
      Ask {providerName(provider)} now
    </ActionButton>
  );
}

function answerText({ answer, changed }: Asked, provider: string): string {
  if (!answer) return `${provider} knows no outcome yet.`;
  const reason = answer.reason ? ` (${reasonText(answer.reason).toLowerCase()})` : "";
  const said = `${provider} says: ${statusLooks[answer.status].text.toLowerCase()}${reason}.`;
  return changed ? `${said} The payment has changed.` : `${said} Nothing changed.`;
}
