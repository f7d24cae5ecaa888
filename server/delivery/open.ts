/** Creates the parts that send events to the merchant's backend, and starts the engine. */
import type { FastifyBaseLogger, FastifyInstance } from "fastify";
import type { Access } from "../auth/access.ts";
import { createSealer, type Sealer } from "../auth/keys.ts";
import type { Database } from "../database/pool.ts";
import { HubError } from "../errors.ts";
import { createInFlight, type InFlight } from "../in-flight.ts";
import { reportTask } from "../log.ts";
import type { Delivery } from "./delivery.ts";
import { createEndpoints, type Endpoints } from "./endpoint.ts";
import { type DeliveryResult, startEngine } from "./engine.ts";
import { type EnvironmentEndpoint, resealSecrets, storeEnvironmentEndpoint } from "./environment.ts";
import { readOrderFeed } from "./feed.ts";
import { createFeedTail } from "./feed-tail.ts";
import { endpointMessage, type Message } from "./message.ts";
import { attemptMs, createSender, type Receiver, type Reply, type Sender } from "./receiver.ts";
import { deliveryRoutes } from "./routes.ts";
import { signedHeaders } from "./secret.ts";
import { type DeliveryBacklog, readDeliveryBacklog } from "./statistics.ts";

export interface DeliveryOptions {
  database: Database;
  sealer: Sealer;
  /** The node's `TUKIO_SECRET`s. */
  secrets: readonly string[];
  isProduction: boolean;
  /** The endpoint of `ENDPOINT_URL`, if it is set. */
  environmentEndpoint?: EnvironmentEndpoint | undefined;
  metrics: {
    onDelivery: (result: DeliveryResult) => void;
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
  const { pool, deliveryPool } = database;
  metrics.readDeliveries(() => readDeliveryBacklog(pool));
  const allowsLoopback = !isProduction;
  const prepare = async (): Promise<void> => {
    await storeEnvironmentEndpoint(pool, sealer, environmentEndpoint);
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
  const receivers: Receivers = (ids) => receiversOf(sending, sender, ids);
  const engine = startEngine({
    pool: deliveryPool,
    prepare,
    receivers,
    onResult: metrics.onDelivery,
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
    ping: (endpointId) => ping({ endpoints, receivers, pings }, endpointId),
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
  { endpoints, receivers, pings }: { endpoints: Endpoints; receivers: Receivers; pings: InFlight },
  endpointId: string,
): Promise<Reply> {
  const row = await endpoints.row(endpointId);
  const receiver = (await receivers([endpointId])).get(endpointId);
  if (!receiver) throw new HubError("endpoint_unknown");
  const message = endpointMessage("ping", { ...row, changed_at: new Date() }, await endpoints.epoch());
  return pings.withDeadline(attemptMs, (signal) => receiver(message, signal));
}

async function receiversOf(
  endpoints: Endpoints,
  sender: Sender,
  ids: readonly string[],
): Promise<Map<string, Receiver>> {
  const found = await endpoints.addresses(ids);
  const receiverAt = (url: string, keys: string[]): Receiver =>
    sender.receiver(url, (message) => signedHeaders(message, keys, new Date()));
  return new Map([...found].map(([id, { row, secrets }]) => [id, receiverAt(row.url, secrets)]));
}
