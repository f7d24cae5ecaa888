/** The money of a day in one currency: the total, by provider, and the days before. */
import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import type { Received } from "../../api/day.ts";
import { Bars } from "../../part/bars.tsx";
import { TestMark } from "../../part/status.tsx";
import { count, money } from "../../word/money.ts";
import { providerName } from "../../word/provider.ts";
import { dateOf, shortDay, startOfDay } from "../../word/time.ts";

export function Money({ received }: { received: Received }): ReactNode {
  const { currency, live, count: payments, amountMinor, unknownAmounts, byProvider } = received;
  const id = `received-${currency}-${live}`;
  return (
    <section className="card money" aria-labelledby={id}>
      <div>
        <h2 id={id} className="money-title">
          Received in {currency} <TestMark live={live} />
        </h2>
        <p className="money-amount">{money(amountMinor, currency)}</p>
        <p className="muted">{count(payments, "payment", "payments")} today</p>
        {unknownAmounts > 0 && <p className="hint">{unknownAmounts} of an unknown amount, not counted in the sum</p>}
      </div>
      <Days received={received} />
      <ul className="rest">
        {byProvider.map(({ provider = "", payments: number, amountMinor: part }) => (
          <li key={provider}>
            <Link to="/orders" search={{ status: "succeeded", provider, by: "paid", from: dateOf(new Date()) }}>
              {providerName(provider)}
            </Link>
            <span className="muted">{number.toLocaleString()}</span>
            <span>{money(part, currency)}</span>
          </li>
        ))}
      </ul>
    </section>
  );
}

function Days({ received: { currency, byDay } }: { received: Received }): ReactNode {
  const nameOf = (date: string): string => shortDay(startOfDay(date) ?? new Date());
  const bars = byDay.map(({ date, amountMinor }, index) => ({
    value: amountMinor,
    title: `${nameOf(date)}: ${money(amountMinor, currency)}`,
    isNow: index === byDay.length - 1,
  }));
  const best = byDay.reduce((one, other) => (other.amountMinor > one.amountMinor ? other : one));
  const sentence = `The last ${byDay.length} days. The most, ${money(best.amountMinor, currency)}, came on ${nameOf(best.date)}.`;
  const marks = [nameOf(byDay[0]?.date ?? ""), "today"];
  return <Bars sentence={sentence} bars={bars} marks={marks} />;
}
