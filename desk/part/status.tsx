/** The status of an order or a payment, with its reason. */
import type { ReactNode } from "react";
import type { Status } from "../../merchant-sdk/model.ts";
import { reasonText, statusLooks, type Tone } from "../word/status.ts";

export const Badge = ({ tone, children }: { tone: Tone; children: ReactNode }): ReactNode => (
  <span className={`badge ${tone}`}>{children}</span>
);

export interface StatusBadgeProps {
  status: Status;
  reason?: string | undefined;
}

/** A paid order with a reason needs a look, so it is not green alone. */
export function StatusBadge({ status, reason }: StatusBadgeProps): ReactNode {
  const { text, tone } = statusLooks[status] ?? { text: status, tone: "quiet" };
  return (
    <span className="status">
      <Badge tone={tone}>{text}</Badge>
      {reason && <span className={status === "succeeded" ? "reason caution" : "reason"}>{reasonText(reason)}</span>}
    </span>
  );
}

/** Marks money of a sandbox, which does not move. */
export const TestMark = ({ live }: { live: boolean }): ReactNode => !live && <span className="test">test</span>;
