/** The orders, newest first. The filters stand in the address. */
import { type InfiniteData, useInfiniteQuery } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { type ReactNode, useMemo } from "react";
import type { OrderFilter } from "../../merchant-sdk/model.ts";
import { linkTo } from "../api/address.ts";
import { orderFilters } from "../api/filter.ts";
import { type OrderPage, ordersQuery } from "../api/orders.ts";
import { Button } from "../part/button.tsx";
import { Choice, Day, Filters, Search } from "../part/filters.tsx";
import { Icon } from "../part/icon.tsx";
import { orderColumns } from "../part/order-columns.tsx";
import { Empty, Show } from "../part/state.tsx";
import { More, type MoreProps, Table } from "../part/table.tsx";
import { providerName, providers } from "../word/provider.ts";
import { reasons, reasonText, statuses, statusLooks } from "../word/status.ts";
import { startOfDay } from "../word/time.ts";
import { Found } from "./orders/found.tsx";

/** The filters in the address. */
export interface Filter {
  find?: string | undefined;
  status?: string | undefined;
  provider?: string | undefined;
  reason?: string | undefined;
  /** Which time `from` and `to` mean. */
  by?: string | undefined;
  from?: string | undefined;
  to?: string | undefined;
  attention?: string | undefined;
}

export default function Orders(): ReactNode {
  const address = useSearch({ from: "/orders" });
  // Without what else the address may have.
  const filter: Filter = useMemo(() => orderFilters(address), [address]);
  const search = useMemo(() => queryOf(filter), [filter]);
  return (
    <>
      <header className="page-head">
        <h1>Orders</h1>
        <a className="button" href={linkTo("/v1/orders.csv", search)} download>
          <Icon name="download" /> CSV
        </a>
      </header>
      <OrderFilters filter={filter} />
      {filter.find ? (
        <Found text={filter.find} />
      ) : (
        <Listed search={search} isFiltered={Object.keys(search).length > 0} />
      )}
    </>
  );
}

type Query = Readonly<Record<string, string | undefined>>;

/** The query of the API. A day that ends the range is included. */
function queryOf({ status, provider, reason, by, from, to, attention }: Filter): Query {
  const start = from && startOfDay(from)?.toISOString();
  const end = to && startOfDay(to, 1)?.toISOString();
  const [fromName, toName] = by === "paid" ? ["paidFrom", "paidTo"] : ["from", "to"];
  return {
    ...(status && { status }),
    ...(provider && { provider }),
    ...(reason && { reason }),
    ...(start && { [fromName]: start }),
    ...(end && { [toName]: end }),
    ...(attention && { needsAttention: "true" }),
  };
}

function OrderFilters({ filter }: { filter: Filter }): ReactNode {
  const navigate = useNavigate({ from: "/orders" });
  const set = (change: Filter): void => void navigate({ search: { ...filter, ...change }, replace: true });
  return (
    <Filters isFiltered={Object.keys(filter).length > 0}>
      <Search
        label="Find"
        hint="Order, receipt, phone or customer"
        value={filter.find}
        onSearch={(find) => void navigate({ search: find ? { find } : {} })}
      />
      <Choice
        label="Status"
        value={filter.status}
        all="Any"
        options={statuses.map((status) => [status, statusLooks[status].text])}
        onChange={(status) => set({ status })}
      />
      <Choice
        label="Reason"
        value={filter.reason}
        all="Any"
        options={reasons.map((reason) => [reason, reasonText(reason)])}
        onChange={(reason) => set({ reason })}
      />
      <Choice
        label="Provider"
        value={filter.provider}
        all="Any"
        options={providers.map((provider) => [provider, providerName(provider)])}
        onChange={(provider) => set({ provider })}
      />
      <Choice label="Days" value={filter.by} all="Opened" options={[["paid", "Paid"]]} onChange={(by) => set({ by })} />
      <Day label="From" value={filter.from} onChange={(from) => set({ from })} />
      <Day label="To" value={filter.to} onChange={(to) => set({ to })} />
      {Object.keys(filter).length > 0 && (
        <Button kind="quiet" onPress={() => void navigate({ search: {} })}>
          Clear
        </Button>
      )}
    </Filters>
  );
}

function Listed({ search, isFiltered }: { search: Query; isFiltered: boolean }): ReactNode {
  const query = useInfiniteQuery(ordersQuery(search as OrderFilter));
  return (
    <Show query={query} lines={10}>
      {(pages) => <List pages={pages} query={query} isFiltered={isFiltered} />}
    </Show>
  );
}

interface ListProps {
  pages: InfiniteData<OrderPage>;
  query: MoreProps["query"];
  isFiltered: boolean;
}

function List({ pages, query, isFiltered }: ListProps): ReactNode {
  const rows = useMemo(() => pages.pages.flatMap(({ data }) => data), [pages]);
  const isEmpty = rows.length === 0 && !query.hasNextPage;
  if (isEmpty && isFiltered) return <Empty title="No order fits these filters">Remove one, or clear them all.</Empty>;
  if (isEmpty)
    return <Empty title="No orders yet">They appear here as soon as your backend or a payer starts one.</Empty>;
  return (
    <>
      <Table label="Orders" columns={orderColumns} rows={rows} rowId={({ id }) => id} />
      <More shown={rows.length} noun={["order", "orders"]} query={query} />
    </>
  );
}
