/**
 * The answers of the API that the screens share. One rule: *keep the newer version*. A state from the live stream replaces an
 * older one wherever it is shown, and never a newer one.
 */
import { type InfiniteData, QueryCache, QueryClient } from "@tanstack/react-query";
import { compareStates } from "../../client-sdk/protocol.ts";
import type { MerchantOrder, Order, StatusEvent } from "../../merchant-sdk/model.ts";
import { Fault, isFault } from "./call.ts";

/** The first part of each key. */
export const key = {
  session: "session",
  order: "order",
  orders: "orders",
  found: "found",
  unpaid: "unpaid",
} as const;

export type OrderPages = InfiniteData<{ data: StatusEvent[]; nextCursor: string | null }>;

/** A failure that a repetition cannot change is shown at once. */
const isWorthRetrying = (failures: number, error: Error): boolean =>
  failures < 2 && (!(error instanceof Fault) || error.status === 0 || error.status >= 500);

export const cache: QueryClient = new QueryClient({
  queryCache: new QueryCache({ onError: endSession }),
  defaultOptions: {
    queries: { staleTime: 10_000, gcTime: 5 * 60_000, retry: isWorthRetrying, refetchOnWindowFocus: true },
    mutations: { retry: false, onError: endSession },
  },
});

/** Leads to the sign-in after a call that the session no longer opens. */
function endSession(error: Error): void {
  if (isFault(error, 401)) forget();
}

/**
 * Leads to the sign-in. Nothing of the last person stays: neither answers, nor addresses of orders that the router keeps with their
 * scroll positions.
 */
export function forget(): void {
  cache.setQueryData([key.session], null);
  cache.removeQueries({ predicate: ({ queryKey: [kind] }) => kind !== key.session });
  sessionStorage.clear();
}

/** Puts a state from the stream where an older one of the same order is shown. */
export function keepNewer(order: MerchantOrder): void {
  cache.setQueriesData<OrderPages>({ queryKey: [key.orders] }, (known) => {
    if (!known?.pages.some(({ data }) => data.some(({ id }) => id === order.id))) return known;
    const pages = known.pages.map((page) => ({ ...page, data: page.data.map((one) => newerOf(one, order)) }));
    return { ...known, pages };
  });
  const whole = cache.getQueryData<Order>([key.order, order.orderId]);
  // Read again, because its payments and its history changed too.
  if (whole && (whole.order.id !== order.id || compareStates(order, whole.order) > 0))
    void cache.invalidateQueries({ queryKey: [key.order, order.orderId] });
}

const newerOf = (one: StatusEvent, other: StatusEvent): StatusEvent =>
  one.id === other.id && compareStates(other, one) > 0 ? other : one;

/**
 * Reads what is on the screen again. A list of several pages is left to `keepNewer`, because it would be read page by page, and
 * rows would move under the reader.
 */
export const readAgain = (): Promise<void> =>
  cache.invalidateQueries({
    predicate: ({ queryKey: [kind], state: { data } }) =>
      !isReadOtherwise.has(kind) && !(isPaged(data) && data.pages.length > 1),
  });

/** An order is read again by `keepNewer`, the session by its calls, and the unpaid payments every minute. */
const isReadOtherwise: ReadonlySet<unknown> = new Set([key.order, key.session, key.unpaid]);

const isPaged = (data: unknown): data is { pages: unknown[] } =>
  typeof data === "object" && data !== null && "pages" in data && Array.isArray(data.pages);
