/** What needs a person: the queries of *Needs you*, whose count stands in the navigation. */
import { queryOptions, useQuery } from "@tanstack/react-query";
import type { Endpoint, Notification, Provider, StatusEvent } from "../../merchant-sdk/model.ts";
import { api, read } from "./call.ts";

export const attentionQuery = queryOptions({
  queryKey: ["attention"],
  queryFn: () => read(api.GET("/v1/orders", { params: { query: { needsAttention: true, limit: 200 } } })),
});

export const endpointsQuery = queryOptions({
  queryKey: ["endpoints"],
  queryFn: () => read(api.GET("/v1/endpoints")),
});

export const notificationsQuery = queryOptions({
  queryKey: ["notifications"],
  queryFn: () => read(api.GET("/v1/notifications")),
});

export const providersQuery = queryOptions({
  queryKey: ["providers"],
  queryFn: () => read(api.GET("/v1/providers")),
});

export const isPaidTwice = ({ alsoPaid = [] }: StatusEvent): boolean => alsoPaid.length > 0;

/** It fails now, or was disabled because it failed. A person who disabled it knows. */
export const isEndpointFailing = ({ failingSince, disabledBecause }: Endpoint): boolean =>
  failingSince !== undefined || disabledBecause === "gone" || disabledBecause === "failing";

export const isNotificationFailing = ({ failingSince }: Notification): boolean => failingSince !== undefined;

/** Calls before a provider can be called failing, because one error of two says little. */
const callsMin = 3;

type Calls = Provider["calls"];

/** The kinds of calls of which at least half fail. */
export const failingCalls = ({ calls }: { calls: Calls }): (keyof Calls)[] =>
  (Object.keys(calls) as (keyof Calls)[]).filter((kind) => {
    const { count, errors } = calls[kind];
    return count >= callsMin && errors * 2 >= count;
  });

export interface Attention {
  reviews: StatusEvent[];
  paidTwice: StatusEvent[];
  mismatches: StatusEvent[];
  endpoints: Endpoint[];
  notifications: Notification[];
  providers: Provider[];
  /** All of them together. */
  count: number;
  state: { isPending: boolean; error: Error | null; retry: () => void };
}

/** Everything that needs a person, as far as it is known. */
export function useAttention(): Attention {
  const queries = [
    useQuery(attentionQuery),
    useQuery(endpointsQuery),
    useQuery(notificationsQuery),
    useQuery(providersQuery),
  ] as const;
  const [orders, endpoints, notifications, providers] = queries;
  const waiting = orders.data?.data ?? [];
  const found = {
    reviews: waiting.filter(({ status }) => status === "review"),
    paidTwice: waiting.filter((order) => order.status !== "review" && isPaidTwice(order)),
    mismatches: waiting.filter((order) => order.status !== "review" && !isPaidTwice(order)),
    endpoints: (endpoints.data?.data ?? []).filter(isEndpointFailing),
    notifications: (notifications.data?.data ?? []).filter(isNotificationFailing),
    providers: (providers.data?.data ?? []).filter((provider) => failingCalls(provider).length > 0),
  };
  const failed = queries.find(({ error }) => error);
  return {
    ...found,
    count: Object.values(found).reduce((sum, { length }) => sum + length, 0),
    state: {
      isPending: queries.some(({ isPending, error }) => isPending && !error),
      error: failed?.error ?? null,
      retry: () => void failed?.refetch(),
    },
  };
}
