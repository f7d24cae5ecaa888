/** Today: the money that came in, what did not succeed, and what needs a person. */
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import { useAttention } from "../api/attention.ts";
import { receivedQuery, type Unpaid, unpaidQuery } from "../api/day.ts";
import { Empty, Show } from "../part/state.tsx";
import { count } from "../word/money.ts";
import { reasonText } from "../word/status.ts";
import { dateOf, dayName } from "../word/time.ts";
import { Money } from "./today/money.tsx";
import "./today/today.css";

export default function Today(): ReactNode {
  const received = useQuery(receivedQuery());
  const unpaid = useQuery(unpaidQuery());
  return (
    <>
      <header className="page-head">
        <h1>Today</h1>
        <span className="muted">{dayName(new Date())}</span>
      </header>
      <Attention />
      <div className="stack">
        <Show query={received} lines={6}>
          {(totals) =>
            totals.length === 0 ? (
              <Empty title="No money came in during the last two weeks">Payments appear here as they arrive.</Empty>
            ) : (
              totals.map((one) => <Money key={`${one.currency} ${one.live}`} received={one} />)
            )
          }
        </Show>
        <Show query={unpaid} lines={3}>
          {(found) => <Rest unpaid={found} />}
        </Show>
      </div>
    </>
  );
}

function Attention(): ReactNode {
  const { count: waiting, reviews, paidTwice } = useAttention();
  if (waiting === 0) return null;
  const named = [
    reviews.length > 0 && count(reviews.length, "order in review", "orders in review"),
    paidTwice.length > 0 && `${paidTwice.length} paid twice`,
  ].filter(Boolean);
  return (
    <Link to="/needs-you" className="attention">
      <strong>{waiting === 1 ? "1 thing needs you" : `${waiting} things need you`}</strong>
      <span>{named.join(", ")}</span>
    </Link>
  );
}

function Rest({ unpaid: { reasons, open, isPartial } }: { unpaid: Unpaid }): ReactNode {
  const today = dateOf(new Date());
  return (
    <section className="card" aria-labelledby="rest">
      <h2 id="rest">Not paid</h2>
      <ul className="rest">
        {open > 0 && (
          <li>
            <Link to="/orders" search={{ status: "processing", from: today }}>
              Waiting for the payer
            </Link>
            <span>{open.toLocaleString()}</span>
          </li>
        )}
        {reasons.map(({ reason, count: number }) => (
          <li key={reason}>
            <Link to="/orders" search={{ reason, from: today }}>
              {reasonText(reason)}
            </Link>
            <span>{number.toLocaleString()}</span>
          </li>
        ))}
      </ul>
      {reasons.length === 0 && open === 0 && <p className="muted">No payment of today failed or is open.</p>}
      {isPartial && <p className="hint">Of the newest payments of today; there are more.</p>}
    </section>
  );
}
