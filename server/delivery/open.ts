/** Creates the parts that send events to the merchant's backend, and starts the engine. */
import type { FastifyBaseLogger, FastifyInstance } from "fastify";
import type { Access } from "../auth/access.ts";
import { createSealer, type Sealer } from "../auth/keys.ts";
import type { Database } from "../database/pool.ts";
import { HubError } from "../errors.ts";
import { createInFlight, type InFlight } from "../in-flight.ts";
import { reportTask } from "../log.ts";
import type { Delivery } from "./delivery.ts";
import { createEndpoints, type EndpointAddress, type Endpoints } from "./endpoint.ts";
import { type DeliveryResult, startEngine } from "./engine.ts";
import { type EnvironmentEndpoint, resealSecrets, storeEnvironmentEndpoint } from "./environment.ts";
import { readOrderFeed } from "./feed.ts";
import { createFeedTail } from "./feed-tail.ts";
import { endpointMessage, type Message, type SubjectReaders } from "./message.ts";
import { createNotificationKeeper, type Notification, storeNotifications } from "./notification.ts";
import { attemptMs, createSender, type Receiver, type Reply, type Sender, type SendingReceiver } from "./receiver.ts";
import { deliveryRoutes } from "./routes.ts";
import { signedHeaders } from "./secret.ts";
import { type DeliveryBacklog, readDeliveryBacklog } from "./statistics.ts";

export interface DeliveryOptions {
  database: Database;
  sealer: Sealer;
  /** The node's `TUKIO_SECRET`s. */
  secrets: readonly string[];
  isProduction: boolean;
  /** Read the subjects of upper layers for their messages. */
  readers: SubjectReaders;
  /** The endpoint of `ENDPOINT_URL`, if it is set. */
  environmentEndpoint?: EnvironmentEndpoint | undefined;
  /** The notifications of this node. */
  notifications?: { readonly active: readonly Notification[] };
  metrics: {
    onDelivery: (result: DeliveryResult) => void;
    onNotification: (notification: string, result: DeliveryResult) => void;
    readDeliveries: (read: () => Promise<DeliveryBacklog>) => void;
  };
  log: FastifyBaseLogger;
}

export interface OpenDelivery extends Delivery {
  addRoutes(scope: FastifyInstance, access: Access): void;
  /** Reads the newest messages about one order, after a version, oldest first. Throws `store_unavailable`. */
  messagesOf(orderUuid: string, afterVersion: number): Promise<Message[]>;
  close(): Promise<void>;
}

export function openDelivery(options: DeliveryOptions): OpenDelivery {
  const { database, sealer, secrets, isProduction, environmentEndpoint, metrics, log } = options;
  const notifications = options.notifications?.active ?? [];
  const { pool, deliveryPool } = database;
  metrics.readDeliveries(() => readDeliveryBacklog(pool));
  const allowsLoopback = !isProduction;
  const prepare = async (): Promise<void> => {
    await storeEnvironmentEndpoint(pool, sealer, environmentEndpoint);
    await storeNotifications(pool, notifications);
    await resealSecrets(pool, { sealer, newest: createSealer(secrets.slice(0, 1)) });
  };
  const onUnreadable = (endpointId: string): void =>
    log.error(
      { event: "delivery.secret.unreadable", endpointId },
      "No TUKIO_SECRET of this node encrypted the endpoint's secret; rotate it",
    );
  const endpoints = createEndpoints({ pool, sealer, onUnreadable });
  const sender = createSender({ allowsLoopback });
  const sending = createEndpoints({ pool: deliveryPool, sealer, onUnreadable });
  const receivers: Receivers = (ids) => receiversOf({ endpoints: sending, sender, notifications }, ids);
  const engine = startEngine({
    pool: deliveryPool,
    prepare,
    housekeep: createNotificationKeeper(deliveryPool, notifications),
    receivers,
    readers: options.readers,
    notifications: notifications.map(({ name }) => name),
    onResult(result, { notification }) {
      if (notification === null) metrics.onDelivery(result);
      else metrics.onNotification(notification, result);
    },
    ...reportTask(log, "delivery"),
    log,
  });
  const tail = createFeedTail({ pool, ...reportTask(log, "event stream") });
  const pings = createInFlight();
  const delivery: OpenDelivery = {
    pool,
    endpoints,
    tail,
    allowsLoopback,
    ping: (endpointId) => ping({ endpoints, sender, pings }, endpointId),
    messagesOf: (orderUuid, afterVersion) => readOrderFeed(pool, orderUuid, afterVersion),
    addRoutes: (scope, access) => deliveryRoutes(scope, { access, delivery }),
    wake() {
      engine.wake();
      tail.wake();
    },
    async close() {
      await tail.close();
      await engine.close();
      await pings.close();
      await sender.close();
    },
  };
  return delivery;
}

type Receivers = (ids: readonly string[]) => Promise<Map<string, Receiver>>;

async function ping(
  { endpoints, sender, pings }: { endpoints: Endpoints; sender: Sender; pings: InFlight },
  endpointId: string,
): Promise<Reply> {
  const address = (await endpoints.addresses([endpointId])).get(endpointId);
  if (!address) throw new HubError("endpoint_unknown");
  if (address.secrets.length === 0) throw new HubError("secret_unreadable");
  const message = endpointMessage("ping", { ...address.row, changed_at: new Date() }, await endpoints.epoch());
  return pings.withDeadline(attemptMs, (signal) => receiverAt(sender, address)(message, signal));
}

interface ReceiverSource {
  endpoints: Endpoints;
  sender: Sender;
  notifications: readonly Notification[];
}

async function receiversOf(
  { endpoints, sender, notifications }: ReceiverSource,
  ids: readonly string[],
): Promise<Map<string, Receiver>> {
  const found = await endpoints.addresses(ids);
  return new Map(
    [...found].flatMap(([id, address]): [string, Receiver][] => {
      const { notification } = address.row;
      if (notification === null) return [[id, receiverAt(sender, address)]];
      const own = notifications.find(({ name }) => name === notification);
      return own ? [[id, own.receive]] : [];
    }),
  );
}

const receiverAt = (sender: Sender, { row, secrets }: EndpointAddress): SendingReceiver =>
  secrets.length > 0
    ? sender.receiver(row.url, (message) => signedHeaders(message, secrets, new Date()))
    : unreadableReceiver;

/** A failed attempt, so that the schedule limits the attempts and the merchant sees why. Another node may have the secret. */
const unreadableReceiver: SendingReceiver = async () => ({
  isDelivered: false,
  isGone: false,
  durationMs: 0,
  error: "secret_unreadable: the endpoint's secret cannot be decrypted; replace it",
});
