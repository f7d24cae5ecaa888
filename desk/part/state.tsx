/** The states of a part of a screen that shows data: loading, failed, and empty. */
import type { UseQueryResult } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { Fault } from "../api/call.ts";
import { Button } from "./button.tsx";

/** Grey lines in place of the data. `lines`: about as many as will come. */
export const Loading = ({ lines = 4 }: { lines?: number }): ReactNode => (
  <div className="loading" role="status">
    <span className="unseen">Loading…</span>
    {Array.from({ length: lines }, (_, line) => (
      // biome-ignore lint/suspicious/noArrayIndexKey: the lines are all alike
      <span key={line} />
    ))}
  </div>
);

export const Empty = ({ title, children }: { title: string; children?: ReactNode }): ReactNode => (
  <div className="empty">
    <p className="empty-title">{title}</p>
    {children && <p>{children}</p>}
  </div>
);

/** The words for a failed call. */
export const faultText = (error: unknown): string =>
  error instanceof Fault ? error.message : "This part of the page has failed. Reload the page.";

export const Failure = ({ error, onRetry }: { error: unknown; onRetry?: () => void }): ReactNode => (
  <div className="failure" role="alert">
    <p>{faultText(error)}</p>
    {onRetry && <Button onPress={onRetry}>Try again</Button>}
  </div>
);

export interface ShowProps<T> {
  query: Pick<UseQueryResult<T>, "data" | "error" | "refetch">;
  lines?: number;
  children: (data: T) => ReactNode;
}

/** Shows the data of a query. Data that is there stays when reading it again fails; the failure stands above it. */
export function Show<T>({ query: { data, error, refetch }, lines = 4, children }: ShowProps<T>): ReactNode {
  const failure = error && <Failure error={error} onRetry={() => void refetch()} />;
  if (data === undefined) return failure ?? <Loading lines={lines} />;
  return (
    <>
      {failure}
      {children(data)}
    </>
  );
}
