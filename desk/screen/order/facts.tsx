/** What the merchant's backend stored with the order. */
import type { ReactNode } from "react";
import type { Order } from "../../../merchant-sdk/model.ts";
import { type Fact, FactList } from "../../part/facts.tsx";
import { money } from "../../word/money.ts";

const text = (value: unknown): string =>
  typeof value === "object" && value !== null ? JSON.stringify(value) : String(value);

const factsOf = (record: Readonly<Record<string, unknown>> | null): Fact[] =>
  Object.entries(record ?? {}).map(([name, value]) => [name, text(value)]);

const languages = { en: "English", sw: "Swahili", bn: "Bangla" } as const;

export function Facts({ answer }: { answer: Order }): ReactNode {
  const { order, description, customer, metadata, items, lang } = answer;
  const facts: Fact[] = [
    ["Description", description],
    ...factsOf(customer),
    ["Language", lang && languages[lang]],
    ...factsOf(metadata),
  ];
  if (facts.length === 2 && !description && !lang && !items) return null;
  return (
    <section className="card" aria-labelledby="details">
      <h2 id="details">Details</h2>
      <FactList facts={facts} />
      {items && (
        <ul className="items">
          {items.map((item, index) => (
            // biome-ignore lint/suspicious/noArrayIndexKey: items are fixed, and two may be equal
            <li key={index}>
              <span>
                {item.quantity} × {item.name}
                {item.sku && <span className="hint"> {item.sku}</span>}
              </span>
              <span>{money(item.quantity * item.unitAmountMinor, order.currency)}</span>
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}
