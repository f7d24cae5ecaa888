/**
 * Webhooks that match no payment, such as one of a payment that was started at the provider's own desk. They are not counted, because
 * most belong to nobody, and there is nothing to decide about those.
 */
import { useQuery } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";
import { Input, Label, TextField } from "react-aria-components";
import type { InboxWebhook } from "../../../merchant-sdk/model.ts";
import { api, Fault, read } from "../../api/call.ts";
import { useMay } from "../../api/session.ts";
import { Confirm } from "../../part/confirm.tsx";
import { Show } from "../../part/state.tsx";
import { OneWebhook } from "../../part/webhook.tsx";
import { providerName } from "../../word/provider.ts";

export function Unmatched(): ReactNode {
  const query = useQuery({
    queryKey: ["unmatched"],
    queryFn: () => read(api.GET("/v1/webhooks", { params: { query: { result: "unmatched", limit: 20 } } })),
  });
  return (
    <Show query={query} lines={1}>
      {({ data }) => data.length > 0 && <List webhooks={data} />}
    </Show>
  );
}

function List({ webhooks }: { webhooks: readonly InboxWebhook[] }): ReactNode {
  const mayManage = useMay("manage");
  return (
    <section className="card" aria-label="Webhooks that match no payment">
      <h2>Webhooks that match no payment</h2>
      <p className="muted task-hint">If you know the order that one belongs to, assign it. The newest 20 are shown.</p>
      <ul className="tasks">
        {webhooks.map((webhook) => (
          <li key={webhook.id} className="unmatched">
            <OneWebhook webhook={webhook} />
            {mayManage && <Assign webhook={webhook} />}
          </li>
        ))}
      </ul>
    </section>
  );
}

function Assign({ webhook: { id, provider } }: { webhook: InboxWebhook }): ReactNode {
  const [orderId, setOrderId] = useState("");
  return (
    <Confirm
      label="Assign"
      title="Assign the webhook to an order?"
      action={`Assign to ${orderId.trim() || "the order"}`}
      isReady={orderId.trim() !== ""}
      onConfirm={() => assign(id, provider, orderId.trim())}
    >
      <p>
        It then counts as if {providerName(provider)} had sent it for the order's last payment with{" "}
        {providerName(provider)}: if it reports a success with the right amount, the order is paid. This cannot be
        undone.
      </p>
      <TextField value={orderId} onChange={setOrderId} isRequired maxLength={64}>
        <Label>Order</Label>
        <Input spellCheck={false} />
      </TextField>
    </Confirm>
  );
}

async function assign(id: number, provider: string, orderId: string): Promise<void> {
  const answer = await read(api.GET("/v1/orders/{orderId}", { params: { path: { orderId } } }));
  const payments = "payments" in answer ? answer.payments : [];
  const payment = payments.filter((one) => one.provider === provider).toSorted((a, b) => b.attempt - a.attempt)[0];
  if (!payment) throw new Fault(0, `The order has no payment with ${providerName(provider)}.`);
  await read(api.POST("/v1/webhooks/{id}/apply", { params: { path: { id } }, body: { paymentId: payment.id } }));
}
