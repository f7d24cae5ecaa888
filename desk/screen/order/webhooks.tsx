/** The webhooks about an order's payments, with their bytes as they were stored, masked. */
import { queryOptions, useQueries } from "@tanstack/react-query";
import type { ReactNode } from "react";
import type { Payment } from "../../../merchant-sdk/model.ts";
import { api, read } from "../../api/call.ts";
import { Failure, Loading } from "../../part/state.tsx";
import { OneWebhook } from "../../part/webhook.tsx";

/** Of one payment. A provider that repeats itself more often is shown in the log. */
const webhooksMax = 50;

const webhooksOf = (paymentId: string) =>
  queryOptions({
    queryKey: ["webhooks", paymentId],
    queryFn: () => read(api.GET("/v1/webhooks", { params: { query: { paymentId, limit: webhooksMax } } })),
  });

export function Webhooks({ payments }: { payments: readonly Payment[] }): ReactNode {
  const queries = useQueries({ queries: payments.map(({ id }) => webhooksOf(id)) });
  const error = queries.find((query) => query.error)?.error;
  const webhooks = queries
    .flatMap(({ data }) => data?.data ?? [])
    .toSorted((one, other) => other.receivedAt.localeCompare(one.receivedAt));
  const isReading = queries.some(({ isPending }) => isPending);
  return (
    <section className="card" aria-labelledby="webhooks">
      <h2 id="webhooks">Webhooks of the provider</h2>
      {error && <Failure error={error} />}
      {isReading && !error && <Loading lines={2} />}
      {!isReading && webhooks.length === 0 && <p className="muted">None arrived for this order.</p>}
      <ul className="rows">
        {webhooks.map((webhook) => (
          <li key={webhook.id}>
            <OneWebhook webhook={webhook} />
          </li>
        ))}
      </ul>
    </section>
  );
}
