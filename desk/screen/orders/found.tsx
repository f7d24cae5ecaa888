/** The orders that a text finds: by id, receipt, phone or customer, whichever it is. */
import { useQueries } from "@tanstack/react-query";
import { type ReactNode, useMemo } from "react";
import type { OrderFilter, StatusEvent } from "../../../merchant-sdk/model.ts";
import { key } from "../../api/cache.ts";
import { api, Fault, read } from "../../api/call.ts";
import { orderColumns } from "../../part/order-columns.tsx";
import { Empty, Failure, Loading } from "../../part/state.tsx";
import { Table } from "../../part/table.tsx";

/** A text that is no phone or no id is refused, which means that it finds nothing. */
const orNothing = (error: unknown): StatusEvent[] => {
  if (error instanceof Fault && (error.status === 400 || error.status === 404)) return [];
  throw error;
};

const byId = async (orderId: string): Promise<StatusEvent[]> => {
  const answer = await read(api.GET("/v1/orders/{orderId}", { params: { path: { orderId } } }));
  return "payments" in answer ? [answer.order] : [];
};

const byFilter = async (filter: OrderFilter): Promise<StatusEvent[]> =>
  (await read(api.GET("/v1/orders", { params: { query: { ...filter, limit: 50 } } }))).data;

export function Found({ text }: { text: string }): ReactNode {
  const ways: Record<string, () => Promise<StatusEvent[]>> = {
    id: () => byId(text),
    receipt: () => byFilter({ receipt: text }),
    phone: () => byFilter({ phone: text }),
    customer: () => byFilter({ customer: text }),
  };
  const queries = useQueries({
    queries: Object.entries(ways).map(([way, find]) => ({
      queryKey: [key.found, way, text],
      queryFn: () => find().catch(orNothing),
    })),
  });
  const error = queries.find((query) => query.error)?.error;
  const rows = useMemo(() => {
    const orders = queries.flatMap(({ data }) => data ?? []);
    return [...new Map(orders.map((order) => [order.id, order])).values()];
  }, [queries]);
  if (error) return <Failure error={error} />;
  if (queries.some(({ isPending }) => isPending)) return <Loading />;
  if (rows.length === 0)
    return (
      <Empty title={`Nothing is found for “${text}”`}>
        Type an order's id, a whole receipt, a phone, or a customer's id or mail address.
      </Empty>
    );
  return <Table label="Found orders" columns={orderColumns} rows={rows} rowId={({ id }) => id} />;
}
