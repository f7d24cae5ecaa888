import type { StatusEvent } from "../../client-sdk/protocol.ts";

/** A status event with defaults. */
export function eventOf(event: Partial<StatusEvent> & { id: string; version: number }): StatusEvent {
  return {
    orderId: `ORD-${event.id}`,
    status: "processing",
    settled: false,
    amountMinor: 15_000,
    currency: "KES",
    live: false,
    payment: {
      id: event.id,
      provider: "daraja",
      attempt: 1,
      startedAt: "2026-11-20T21:00:00.000Z",
      expiresAt: "2026-11-20T21:02:00.000Z",
    },
    openedAt: "2026-11-20T21:00:00.000Z",
    occurredAt: "2026-11-20T21:00:00.000Z",
    ...event,
  };
}
