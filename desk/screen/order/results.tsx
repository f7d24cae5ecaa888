/** What the payer received for the money. */
import type { ReactNode } from "react";
import type { Order, Result } from "../../../merchant-sdk/model.ts";
import { SafeLink } from "../../part/facts.tsx";
import { Time } from "../../part/time.tsx";

export function Results({ answer: { order } }: { answer: Order }): ReactNode {
  const results = order.results ?? [];
  if (results.length === 0) return null;
  return (
    <section className="card" aria-labelledby="results">
      <h2 id="results">The payer received</h2>
      <ul className="results">
        {results.map((result) => (
          <li key={result.id}>
            <OneResult result={result} />
          </li>
        ))}
      </ul>
    </section>
  );
}

const OneResult = ({ result: { title, kind, code, url, text, expiresAt } }: { result: Result }): ReactNode => (
  <>
    <p>
      <strong>{title}</strong> <span className="hint">{kind}</span>
    </p>
    {code && (
      <p>
        <code>{code}</code>
      </p>
    )}
    {url && (
      <p>
        <SafeLink href={url} />
      </p>
    )}
    {text && <p>{text}</p>}
    {expiresAt && (
      <p className="hint">
        valid until <Time at={expiresAt} />
      </p>
    )}
  </>
);
