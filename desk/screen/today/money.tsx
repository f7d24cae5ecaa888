/** The money of a day in one currency: the total, by provider, and by hour. */
import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import type { Received } from "../../api/day.ts";
import { Bars } from "../../part/bars.tsx";
import { TestMark } from "../../part/status.tsx";
import { count, money } from "../../word/money.ts";
import { providerName } from "../../word/provider.ts";
import { dateOf } from "../../word/time.ts";

export function Money({ received }: { received: Received }): ReactNode {
  const { currency, live, count: payments, amountMinor, byProvider } = received;
  const id = `received-${currency}-${live}`;
  return (
    <section className="card money" aria-labelledby={id}>
      <div>
        <h2 id={id} className="money-title">
          Received in {currency} <TestMark live={live} />
        </h2>
        <p className="money-amount">{money(amountMinor, currency)}</p>
        <p className="muted">{count(payments, "payment", "payments")}</p>
      </div>
      <Hours received={received} />
      <ul className="rest">
        {byProvider.map(({ provider, count: number, amountMinor: part }) => (
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

function Hours({ received: { currency, byHour } }: { received: Received }): ReactNode {
  const now = new Date().getHours();
  const best = byHour.indexOf(Math.max(...byHour));
  const hourText = (hour: number): string => `${String(hour).padStart(2, "0")}:00`;
  const bars = byHour.map((value, hour) => ({
    value,
    title: `${hourText(hour)}: ${money(value, currency)}`,
    isNow: hour === now,
  }));
  const sentence = `By hour. The most, ${money(byHour[best] ?? 0, currency)}, came from ${hourText(best)} on.`;
  return <Bars sentence={sentence} bars={bars} marks={[0, 6, 12, 18].map(hourText)} />;
}
