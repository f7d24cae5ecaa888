/** The groups of things that need a person. A group without any is not shown. */
import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import type { Endpoint, Notification, Provider, StatusEvent } from "../../../merchant-sdk/model.ts";
import { failingCalls } from "../../api/attention.ts";
import { api, Fault, read } from "../../api/call.ts";
import { useMay } from "../../api/session.ts";
import { ActionButton } from "../../part/confirm.tsx";
import { Time } from "../../part/time.tsx";
import { count, money } from "../../word/money.ts";
import { providerName } from "../../word/provider.ts";
import { reasonText } from "../../word/status.ts";

interface GroupProps {
  title: string;
  children: ReactNode;
  rows: readonly ReactNode[];
}

const Group = ({ title, children, rows }: GroupProps): ReactNode =>
  rows.length > 0 && (
    <section className="card" aria-label={title}>
      <h2>
        {title} <span className="muted">{rows.length}</span>
      </h2>
      <p className="muted task-hint">{children}</p>
      <ul className="tasks">{rows}</ul>
    </section>
  );

export const OrderTasks = ({
  title,
  orders,
  children,
}: {
  title: string;
  orders: readonly StatusEvent[];
  children: ReactNode;
}): ReactNode => (
  <Group title={title} rows={orders.map((order) => <OrderTask key={order.id} order={order} />)}>
    {children}
  </Group>
);

const OrderTask = ({ order }: { order: StatusEvent }): ReactNode => (
  <li>
    <Link to="/orders/$orderId" params={{ orderId: order.orderId }} className="task">
      <span className="task-title">{order.orderId}</span>
      <span className="task-amount">{money(order.amountMinor, order.currency)}</span>
      <span className="task-text">{orderText(order)}</span>
      <span className="task-time hint">
        <Time at={order.occurredAt} form="ago" />
      </span>
    </Link>
  </li>
);

function orderText({ reason, payment, alsoPaid = [], currency }: StatusEvent): string {
  const provider = providerName(payment.provider);
  if (alsoPaid.length > 0) return `Paid ${alsoPaid.length + 1} times, last with ${provider}`;
  const paid = payment.amountPaidMinor;
  const amount = paid === undefined ? "" : `, ${money(paid, currency)} paid`;
  return `${reason ? reasonText(reason) : "Needs a decision"} with ${provider}${amount}`;
}

const callNames: Readonly<Record<string, string>> = {
  initiate: "requests for money",
  complete: "completions",
  confirm: "queries",
  token: "requests for access tokens",
};

export const ProviderTasks = ({ providers }: { providers: readonly Provider[] }): ReactNode => (
  <Group
    title="Providers that fail"
    rows={providers.map((provider) => (
      <li key={provider.name} className="task">
        <span className="task-title">{providerName(provider.name)}</span>
        <span className="task-text">
          {failingCalls(provider)
            .map((kind) => {
              const { count: calls, errors } = provider.calls[kind];
              return `${errors.toLocaleString()} of ${calls.toLocaleString()} ${callNames[kind] ?? kind} failed`;
            })
            .join(", ")}
        </span>
      </li>
    ))}
  >
    At least half of the calls of the last 15 minutes had no usable answer. Payers can use another provider meanwhile.
  </Group>
);

export function EndpointTasks({ endpoints }: { endpoints: readonly Endpoint[] }): ReactNode {
  const mayManage = useMay("manage");
  return (
    <Group
      title="Endpoints that fail"
      rows={endpoints.map((endpoint) => (
        <li key={endpoint.id} className="task">
          <span className="task-title">{endpoint.description ?? endpoint.url}</span>
          <span className="task-text">
            {endpoint.description && <span className="hint">{endpoint.url} · </span>}
            {endpoint.enabled ? "every attempt fails" : "disabled: nothing is sent"}
            {endpoint.failingSince && (
              <>
                {" since "}
                <Time at={endpoint.failingSince} />
              </>
            )}
          </span>
          {mayManage && <TryEndpoint id={endpoint.id} />}
        </li>
      ))}
    >
      Your backend does not receive what happens. Messages are kept and sent when it answers again.
    </Group>
  );
}

const TryEndpoint = ({ id }: { id: string }): ReactNode => (
  <span className="task-action">
    <ActionButton
      done="It answered"
      onAct={async () => {
        const { delivered, httpStatus, error } = await read(
          api.POST("/v1/endpoints/{id}/ping", { params: { path: { id } } }),
        );
        if (!delivered) throw new Fault(0, error ?? `It answered with the status ${httpStatus}.`);
      }}
    >
      Try now
    </ActionButton>
  </span>
);

const notificationNames: Readonly<Record<string, string>> = {
  receipt: "Receipts by mail",
  sms: "SMS to payers",
  alert: "Alerts to you",
};

export const NotificationTasks = ({ notifications }: { notifications: readonly Notification[] }): ReactNode => (
  <Group
    title="Messages to people that fail"
    rows={notifications.map(({ name, failingSince }) => (
      <li key={name} className="task">
        <span className="task-title">{notificationNames[name] ?? name}</span>
        <span className="task-text">
          not sent since <Time at={failingSince ?? ""} />
        </span>
      </li>
    ))}
  >
    {count(notifications.length, "kind of message", "kinds of messages")} cannot be sent. Check the mail server or the
    SMS gateway.
  </Group>
);
