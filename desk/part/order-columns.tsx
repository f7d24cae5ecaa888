/** The columns of a list of orders. */
import { Link } from "@tanstack/react-router";
import type { StatusEvent } from "../../merchant-sdk/model.ts";
import { money } from "../word/money.ts";
import { providerName } from "../word/provider.ts";
import { StatusBadge, TestMark } from "./status.tsx";
import type { Columns } from "./table.tsx";
import { Time } from "./time.tsx";

export const orderColumns: Columns<StatusEvent> = [
  {
    id: "order",
    title: "Order",
    kind: "main",
    cell: ({ orderId, live }) => (
      <>
        <Link to="/orders/$orderId" params={{ orderId }}>
          {orderId}
        </Link>{" "}
        <TestMark live={live} />
      </>
    ),
  },
  {
    id: "status",
    title: "Status",
    kind: "bare",
    cell: ({ status, reason }) => <StatusBadge status={status} reason={reason} />,
  },
  { id: "amount", title: "Amount", kind: "number", cell: ({ amountMinor, currency }) => money(amountMinor, currency) },
  {
    id: "provider",
    title: "Provider",
    kind: "bare",
    cell: ({ payment }) => (
      <>
        {providerName(payment.provider)}
        {payment.attempt > 1 && <span className="hint"> · attempt {payment.attempt}</span>}
      </>
    ),
  },
  {
    id: "receipt",
    title: "Receipt",
    kind: "bare",
    cell: ({ payment: { receipt } }) => receipt && <code>{receipt}</code>,
  },
  { id: "opened", title: "Opened", kind: "bare", cell: ({ openedAt }) => <Time at={openedAt} /> },
];
