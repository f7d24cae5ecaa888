/** The queries of lists of orders. */
import { type InfiniteData, infiniteQueryOptions } from "@tanstack/react-query";
import type { OrderFilter, StatusEvent } from "../../merchant-sdk/model.ts";
import { key } from "./cache.ts";
import { api, read } from "./call.ts";

export interface OrderPage {
  data: StatusEvent[];
  nextCursor: string | null;
}

/** Pages of a filtered list, newest first. */
export const ordersQuery = (filter: OrderFilter) =>
  infiniteQueryOptions<OrderPage, Error, InfiniteData<OrderPage>, readonly unknown[], string | undefined>({
    queryKey: [key.orders, filter],
    queryFn: ({ pageParam, signal }) =>
      read(
        api.GET("/v1/orders", {
          params: { query: { ...filter, limit: 50, ...(pageParam !== undefined && { cursor: pageParam }) } },
          signal,
        }),
      ),
    initialPageParam: undefined,
    getNextPageParam: ({ nextCursor }) => nextCursor ?? undefined,
  });
