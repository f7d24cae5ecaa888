/** One order: what happened, in sentences, and what can be done about it. */
import { queryOptions, useQuery } from "@tanstack/react-query";
import { Link, useParams } from "@tanstack/react-router";
import type { ReactNode } from "react";
import type { Order as OrderAnswer, StatusEvent } from "../../merchant-sdk/model.ts";
import { key } from "../api/cache.ts";
import { api, read } from "../api/call.ts";
import { Icon } from "../part/icon.tsx";
import { Show } from "../part/state.tsx";
import { StatusBadge, TestMark } from "../part/status.tsx";
import { Time } from "../part/time.tsx";
import { money } from "../word/money.ts";
import { verdictOf } from "../word/story.ts";
import { Deliveries } from "./order/deliveries.tsx";
import { Facts } from "./order/facts.tsx";
import { Payments } from "./order/payments.tsx";
import { Results } from "./order/results.tsx";
import { Story } from "./order/story.tsx";
import { Webhooks } from "./order/webhooks.tsx";
import "./order/order.css";

const orderQuery = (orderId: string) =>
  queryOptions({
    queryKey: [key.order, orderId],
    queryFn: async (): Promise<OrderAnswer> => {
      const answer = await read(api.GET("/v1/orders/{orderId}", { params: { path: { orderId } } }));
      // A watch token would read the state alone.
      if (!("payments" in answer)) throw new Error("the answer is not the merchant's");
      return answer;
    },
  });

export default function OrderScreen(): ReactNode {
  const { orderId } = useParams({ from: "/orders/$orderId" });
  const query = useQuery(orderQuery(orderId));
  return (
    <>
      <Link to="/orders" className="back">
        <Icon name="back" /> All orders
      </Link>
      <div className="order-title">
        <h1>{orderId}</h1>
        {query.data && <State order={query.data.order} />}
      </div>
      <Show query={query} lines={8}>
        {(answer) => <Whole answer={answer} />}
      </Show>
    </>
  );
}

const Whole = ({ answer }: { answer: OrderAnswer }): ReactNode => (
  <>
    <Head answer={answer} />
    <div className="order-columns">
      <div className="stack">
        <Story answer={answer} />
        <Payments answer={answer} />
        <Deliveries order={answer.order} />
        <Webhooks payments={answer.payments} />
      </div>
      <div className="stack">
        <Results answer={answer} />
        <Facts answer={answer} />
      </div>
    </div>
  </>
);

const State = ({ order: { status, reason, live } }: { order: StatusEvent }): ReactNode => (
  <>
    <StatusBadge status={status} reason={reason} />
    <TestMark live={live} />
  </>
);

function Head({ answer: { order, customer } }: { answer: OrderAnswer }): ReactNode {
  const name = typeof customer?.name === "string" ? customer.name : undefined;
  return (
    <header className="order-head">
      <p className="order-amount">{money(order.amountMinor, order.currency)}</p>
      <p>{verdictOf(order.status, order.reason)}</p>
      <p className="muted">
        {name && `${name} · `}opened <Time at={order.openedAt} /> · changed <Time at={order.occurredAt} />
      </p>
    </header>
  );
}
