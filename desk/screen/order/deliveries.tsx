/** What was sent about an order: messages to the merchant's backend, and to people. */
import { queryOptions, useQueries, useQuery } from "@tanstack/react-query";
import type { ReactNode } from "react";
import type { Delivery, Endpoint, Notification, StatusEvent } from "../../../merchant-sdk/model.ts";
import { endpointsQuery, notificationsQuery } from "../../api/attention.ts";
import { api, read } from "../../api/call.ts";
import { useMay } from "../../api/session.ts";
import { ActionButton, Confirm } from "../../part/confirm.tsx";
import { Empty, Show } from "../../part/state.tsx";
import { Badge } from "../../part/status.tsx";
import { Time } from "../../part/time.tsx";
import type { Tone } from "../../word/status.ts";

const endpointDeliveries = (id: string, orderId: string) =>
  queryOptions({
    queryKey: ["deliveries", id, orderId],
    queryFn: () => read(api.GET("/v1/endpoints/{id}/deliveries", { params: { path: { id }, query: { orderId } } })),
  });

const notificationDeliveries = (name: Notification["name"], orderId: string) =>
  queryOptions({
    queryKey: ["notification-deliveries", name, orderId],
    queryFn: () =>
      read(api.GET("/v1/notifications/{name}/deliveries", { params: { path: { name }, query: { orderId } } })),
  });

export function Deliveries({ order }: { order: StatusEvent }): ReactNode {
  const endpoints = useQuery(endpointsQuery);
  const notifications = useQuery(notificationsQuery);
  return (
    <section className="card" aria-labelledby="deliveries">
      <h2 id="deliveries">Messages about this order</h2>
      <Show query={endpoints} lines={2}>
        {({ data }) => (
          <Show query={notifications} lines={2}>
            {(told) => <Sent order={order} endpoints={data} notifications={told.data} />}
          </Show>
        )}
      </Show>
    </section>
  );
}

interface SentProps {
  order: StatusEvent;
  endpoints: readonly Endpoint[];
  notifications: readonly Notification[];
}

function Sent({ order: { orderId, status }, endpoints, notifications }: SentProps): ReactNode {
  const mayManage = useMay("manage");
  const toEndpoints = useQueries({ queries: endpoints.map(({ id }) => endpointDeliveries(id, orderId)) });
  const toPeople = useQueries({ queries: notifications.map(({ name }) => notificationDeliveries(name, orderId)) });
  if (endpoints.length + notifications.length === 0)
    return <Empty title="Nothing is sent">There is no endpoint, and no receipt or SMS is set up.</Empty>;
  return (
    <ul className="rows">
      {endpoints.map(({ id, url, description }, index) => (
        <Row
          key={id}
          name={description ?? url}
          hint={description ? url : undefined}
          deliveries={toEndpoints[index]?.data?.data}
          action={mayManage && <SendToBackend id={id} name={description ?? url} orderId={orderId} />}
        />
      ))}
      {notifications.map(({ name }, index) => {
        // Most orders alert nobody.
        if (name === "alert" && !toPeople[index]?.data?.data.length) return null;
        return (
          <Row
            key={name}
            name={notificationNames[name] ?? name}
            deliveries={toPeople[index]?.data?.data}
            action={
              mayManage && status === "succeeded" && name !== "alert" && <SendToPayer name={name} orderId={orderId} />
            }
          />
        );
      })}
    </ul>
  );
}

const notificationNames: Readonly<Record<string, string>> = {
  receipt: "Receipt by mail",
  sms: "SMS to the payer",
  alert: "Alert to you",
};

interface RowProps {
  name: string;
  hint?: string | undefined;
  /** Newest first; undefined while they are read. */
  deliveries: readonly Delivery[] | undefined;
  action: ReactNode;
}

const Row = ({ name, hint, deliveries, action }: RowProps): ReactNode => (
  <li>
    <div>
      <p>
        {name} {hint && <span className="hint">{hint}</span>}
      </p>
      <Latest delivery={deliveries?.[0]} isRead={deliveries !== undefined} />
    </div>
    {action}
  </li>
);

const looks: Readonly<Record<Delivery["status"], { text: string; tone: Tone }>> = {
  pending: { text: "Not delivered yet", tone: "caution" },
  delivered: { text: "Delivered", tone: "good" },
  failed: { text: "Failed", tone: "bad" },
  superseded: { text: "Replaced by a newer one", tone: "quiet" },
};

function Latest({ delivery, isRead }: { delivery: Delivery | undefined; isRead: boolean }): ReactNode {
  if (!isRead) return <p className="hint">…</p>;
  if (!delivery) return <p className="hint">Nothing was sent for this order.</p>;
  const { status, type, at, nextAttemptAt, httpStatus, error, attempt } = delivery;
  const { text, tone } = looks[status];
  return (
    <>
      <p className="status">
        <Badge tone={tone}>{text}</Badge> {type && <code>{type}</code>}
      </p>
      <p className="hint">
        {at && <Time at={at} form="exact" />}
        {attempt !== undefined && attempt > 1 && ` · attempt ${attempt}`}
        {httpStatus !== undefined && ` · HTTP ${httpStatus}`}
        {error && ` · ${error}`}
        {nextAttemptAt && (
          <>
            {" · next attempt "}
            <Time at={nextAttemptAt} />
          </>
        )}
      </p>
    </>
  );
}

const SendToBackend = ({ id, name, orderId }: { id: string; name: string; orderId: string }): ReactNode => (
  <ActionButton
    done="Sent again"
    onAct={() => read(api.POST("/v1/endpoints/{id}/replay", { params: { path: { id } }, body: { orderId } }))}
  >
    Send again<span className="unseen"> to {name}</span>
  </ActionButton>
);

/** Asked once, because a person receives it. */
const SendToPayer = ({ name, orderId }: { name: "receipt" | "sms"; orderId: string }): ReactNode => (
  <Confirm
    label="Send again"
    title={name === "sms" ? "Send the SMS again?" : "Send the receipt again?"}
    action={name === "sms" ? "Send 1 SMS" : "Send 1 mail"}
    onConfirm={() =>
      read(api.POST("/v1/orders/{orderId}/notifications/{name}", { params: { path: { orderId, name } } }))
    }
  >
    <p>
      The payer of {orderId} receives {name === "sms" ? "1 SMS more, which your gateway charges" : "1 mail more"}. It
      cannot be taken back.
    </p>
  </Confirm>
);
