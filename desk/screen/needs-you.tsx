/** What waits for a person: orders first, because a payer waits with them. */
import type { ReactNode } from "react";
import { useAttention } from "../api/attention.ts";
import { Empty, Failure, Loading } from "../part/state.tsx";
import { EndpointTasks, NotificationTasks, OrderTasks, ProviderTasks } from "./needs-you/tasks.tsx";
import { Unmatched } from "./needs-you/unmatched.tsx";
import "./needs-you/needs-you.css";

export default function NeedsYou(): ReactNode {
  const { reviews, mismatches, paidTwice, endpoints, notifications, providers, count, state } = useAttention();
  return (
    <>
      <header className="page-head">
        <h1>Needs you</h1>
      </header>
      {state.error && <Failure error={state.error} onRetry={state.retry} />}
      {state.isPending && <Loading lines={6} />}
      {count === 0 && !state.isPending && !state.error && (
        <Empty title="Nothing needs you">No order, message or provider waits for a decision.</Empty>
      )}
      <div className="stack">
        <OrderTasks title="In review" orders={reviews}>
          Money may have moved. Compare with the provider's statement, then accept or reject.
        </OrderTasks>
        <OrderTasks title="Paid twice" orders={paidTwice}>
          More than one attempt of the order was paid. The payer is owed the money of one of them.
        </OrderTasks>
        <OrderTasks title="Paid, but not as asked" orders={mismatches}>
          The money has moved, and the amount, the currency or the receipt differs from what was asked.
        </OrderTasks>
        <ProviderTasks providers={providers} />
        <EndpointTasks endpoints={endpoints} />
        <NotificationTasks notifications={notifications} />
        <Unmatched />
      </div>
    </>
  );
}
