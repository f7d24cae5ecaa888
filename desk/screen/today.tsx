/** Today: the money that came in, what did not succeed, and what needs a person. */
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import { useAttention } from "../api/attention.ts";
import { type Day, dayQuery } from "../api/day.ts";
import { Empty, Show } from "../part/state.tsx";
import { count } from "../word/money.ts";
import { reasonText } from "../word/status.ts";
import { dateOf, dayName } from "../word/time.ts";
import { Money } from "./today/money.tsx";
import "./today/today.css";

export default function Today(): ReactNode {
  const query = useQuery(dayQuery());
  return (
    <>
      <header className="page-head">
        <h1>Today</h1>
        <span className="muted">{dayName(new Date())}</span>
      </header>
      <Attention />
      <Show query={query} lines={8}>
        {(day) => <Whole day={day} />}
      </Show>
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

function Whole({ day }: { day: Day }): ReactNode {
  const { received, unpaid, open, isPartial } = day;
  const isEmpty = received.length === 0 && unpaid.length === 0 && open === 0;
  if (isEmpty) return <Empty title="Nothing has happened today">Payments appear here as they arrive.</Empty>;
  return (
    <div className="stack">
      {isPartial && <p className="muted">There are more payments today than this page adds up: it shows the newest.</p>}
      {received.map((one) => (
        <Money key={`${one.currency} ${one.live}`} received={one} />
      ))}
      <Rest unpaid={unpaid} open={open} />
    </div>
  );
}

function Rest({ unpaid, open }: Pick<Day, "unpaid" | "open">): ReactNode {
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
        {unpaid.map(({ reason, count: number }) => (
          <li key={reason}>
            <Link to="/orders" search={{ reason, from: today }}>
              {reasonText(reason)}
            </Link>
            <span>{number.toLocaleString()}</span>
          </li>
        ))}
      </ul>
      {unpaid.length === 0 && open === 0 && <p className="muted">Every payment of today succeeded.</p>}
    </section>
  );
}
