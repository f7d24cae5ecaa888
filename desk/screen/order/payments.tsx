/** The attempts to pay an order, newest first, with what a person can do about each. */
import type { ReactNode } from "react";
import type { Order, Payment } from "../../../merchant-sdk/model.ts";
import { useMay } from "../../api/session.ts";
import { FactList } from "../../part/facts.tsx";
import { StatusBadge } from "../../part/status.tsx";
import { Time } from "../../part/time.tsx";
import { money } from "../../word/money.ts";
import { providerName } from "../../word/provider.ts";
import { Ask } from "./ask.tsx";
import { Resolve } from "./resolve.tsx";

export function Payments({ answer }: { answer: Order }): ReactNode {
  const { payments, order } = answer;
  return (
    <section className="card" aria-labelledby="payments">
      <h2 id="payments">{payments.length === 1 ? "Payment" : `${payments.length} attempts to pay`}</h2>
      <ol className="attempts" reversed>
        {payments
          .toSorted((one, other) => other.attempt - one.attempt)
          .map((payment) => (
            <Attempt key={payment.id} payment={payment} order={order} />
          ))}
      </ol>
    </section>
  );
}

function Attempt({ payment, order }: { payment: Payment; order: Order["order"] }): ReactNode {
  const mayManage = useMay("manage");
  const { provider, status, reason, attempt, phone, receipt, reference, amountPaidMinor } = payment;
  return (
    <li>
      <div className="attempt-head">
        <h3>
          {attempt}. {providerName(provider)}
        </h3>
        <StatusBadge status={status} reason={reason} />
      </div>
      <FactList
        facts={[
          ["Paid", amountPaidMinor !== undefined && money(amountPaidMinor, order.currency)],
          ["Receipt", receipt && <code>{receipt}</code>],
          ["Phone", phone],
          ["Started", <Time key="started" at={payment.startedAt} form="exact" />],
          ["Provider's id", reference && <code>{reference}</code>],
        ]}
      />
      <div className="attempt-actions">
        {mayManage && status === "review" && <Resolve payment={payment} order={order} />}
        {mayManage && <Ask payment={payment} />}
      </div>
    </li>
  );
}
