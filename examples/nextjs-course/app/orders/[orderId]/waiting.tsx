"use client";

import { useOrderStatus } from "@tukio/client/react";

export function Waiting({ url, orderId, token }: { url: string; orderId: string; token: string }) {
  const { event, connection, error } = useOrderStatus({ url, orderId, token });
  if (error) return <p>This payment cannot be shown: {error.code}</p>;
  if (!event) return <p>One moment…</p>;
  if (event.status === "succeeded") {
    return (
      <main>
        <h1>Welcome</h1>
        <p>bKash receipt: {event.payment.receipt}</p>
        <a href="/course">Start the course</a>
      </main>
    );
  }
  if (event.status === "failed" || event.status === "expired") {
    return (
      <main>
        <h1>Not paid</h1>
        <p>{event.reason}</p>
        <a href="/">Try again</a>
      </main>
    );
  }
  const { action } = event.payment;
  return (
    <main>
      <h1>Waiting for bKash</h1>
      {action?.type === "redirect" && <a href={action.url}>Continue to bKash</a>}
      {connection !== "open" && <p>Reconnecting…</p>}
    </main>
  );
}
