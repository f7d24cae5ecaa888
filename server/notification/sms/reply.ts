/** The results of requests to send, as attempts. */
import type { Reply } from "../../delivery/receiver.ts";
import type { SendResult } from "./gateway.ts";

export const replyOf = (isDelivered: boolean, durationMs: number): Reply => ({
  isDelivered,
  isGone: false,
  durationMs,
});

/** The result of a request to send, as an attempt. */
export function replyOfResult(result: SendResult, durationMs: number): Reply {
  if (result.status === "sent") return replyOf(true, durationMs);
  if (result.status === "unknown") {
    return { ...replyOf(false, durationMs), isFinal: true, error: `unknown: ${result.reason}` };
  }
  const { reason, answer, isPermanent, retryAfterS } = result;
  return {
    ...replyOf(false, durationMs),
    error: `refused: ${reason}`,
    ...(answer !== undefined && { answer }),
    ...(isPermanent && { isFinal: true }),
    ...(retryAfterS !== undefined && { retryAfterS }),
  };
}
