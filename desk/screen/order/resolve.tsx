/** The decision on a payment in review: accept or reject. Each states what it does, in figures, and asks for the reason. */
import { type ReactNode, useState } from "react";
import { Label, TextArea, TextField } from "react-aria-components";
import type { Order, Payment } from "../../../merchant-sdk/model.ts";
import { api, read } from "../../api/call.ts";
import { Confirm } from "../../part/confirm.tsx";
import { money } from "../../word/money.ts";

interface ResolveProps {
  payment: Payment;
  order: Order["order"];
}

export const Resolve = (props: ResolveProps): ReactNode => (
  <>
    <Accept {...props} />
    <Reject {...props} />
  </>
);

function useDecision({ order, payment }: ResolveProps, as: "succeeded" | "failed") {
  const [note, setNote] = useState("");
  const decide = (): Promise<unknown> =>
    read(
      api.POST("/v1/orders/{orderId}/resolve", {
        params: { path: { orderId: order.orderId } },
        body: { paymentId: payment.id, as, note: note.trim() },
      }),
    );
  return { note, setNote, decide, isReady: note.trim() !== "" };
}

function Accept(props: ResolveProps): ReactNode {
  const { note, setNote, decide, isReady } = useDecision(props, "succeeded");
  const { order, payment } = props;
  return (
    <Confirm
      label="Accept"
      kind="primary"
      title={`Accept the payment of ${paidText(props)}?`}
      action={`Accept ${paidText(props)}`}
      isReady={isReady}
      onConfirm={decide}
    >
      <p>
        The order asks for <strong>{money(order.amountMinor, order.currency)}</strong>
        {differenceText(props)}
        {payment.receipt && ` The receipt is ${payment.receipt}.`}
      </p>
      <p>The order becomes paid, the payer sees it at once, and your backend delivers. This cannot be undone.</p>
      <Note value={note} onChange={setNote} />
    </Confirm>
  );
}

function Reject(props: ResolveProps): ReactNode {
  const { note, setNote, decide, isReady } = useDecision(props, "failed");
  return (
    <Confirm
      label="Reject"
      title={`Reject the payment of ${paidText(props)}?`}
      action="Reject the payment"
      actionKind="danger"
      isReady={isReady}
      onConfirm={decide}
    >
      <p>
        The order is not paid, and the payer may pay again. Rejecting sends no money back: if the provider has{" "}
        <strong>{paidText(props)}</strong> of the payer, you owe it. This cannot be undone.
      </p>
      <Note value={note} onChange={setNote} />
    </Confirm>
  );
}

const paidText = ({ payment, order }: ResolveProps): string =>
  payment.amountPaidMinor === undefined ? "an unknown amount" : money(payment.amountPaidMinor, order.currency);

function differenceText({ payment, order }: ResolveProps): string {
  if (payment.amountPaidMinor === undefined) return ", and the provider's amount cannot be read.";
  const missing = order.amountMinor - payment.amountPaidMinor;
  if (missing === 0) return ".";
  return `: ${money(Math.abs(missing), order.currency)} ${missing > 0 ? "more than" : "less than"} the payer paid.`;
}

const Note = ({ value, onChange }: { value: string; onChange: (value: string) => void }): ReactNode => (
  <TextField value={value} onChange={onChange} isRequired maxLength={1_000}>
    <Label>Reason, kept in the order's history</Label>
    <TextArea rows={3} />
  </TextField>
);
