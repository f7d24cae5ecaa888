/** Nodes that deliver to a merchant's backend, and what they have delivered. Time passes by moving times in the database. */
import pg from "pg";
import { onTestFinished, vi } from "vitest";
import type { DeliveryView } from "../../server/delivery/history.ts";
import type { Backend } from "./backend.ts";
import { createDatabase, type FileDatabase } from "./database.ts";
import { createCleanups, deliver, failure, openPushLog, type PushLog, success, unlimited } from "./deployment.ts";
import { asMerchant, nodeAt, pay, send, startNode, type TestNode } from "./node.ts";

type Node = Pick<TestNode, "url">;

/** Starts a node on the database of a test file. Its endpoints are deleted with the test. */
export function startDeliveryNode(
  { url, database }: FileDatabase,
  env: Record<string, string> = {},
): Promise<TestNode> {
  onTestFinished(async () => {
    await database.pool.query("update endpoint set is_deleted = true, enabled = false");
  });
  return startNode({ databaseUrl: url, env });
}

export interface DeliveryDeployment {
  databaseUrl: string;
  database: pg.Client;
  /** The environment of every node. */
  env: Record<string, string>;
  pushLog: PushLog;
}

export async function openDeliveryDeployment(): Promise<DeliveryDeployment> {
  const cleanups = createCleanups();
  onTestFinished(cleanups.runAll);
  const { url, drop } = await createDatabase();
  cleanups.add(drop);
  const pushLog = await openPushLog(cleanups);
  const env = { DATABASE_URL: url, ...unlimited, ...pushLog.env };
  return { databaseUrl: url, pushLog, env, database: await connect(url) };
}

/** Opens a connection that is closed with the test, and may break before. */
export async function connect(url: string): Promise<pg.Client> {
  const client = new pg.Client(url);
  await client.connect();
  client.on("error", () => undefined);
  onTestFinished(() => client.end().catch(() => undefined));
  return client;
}

/** Starts a payment that the provider accepts. `succeed` and `fail` deliver its result to a node. */
export async function beginPayment(node: Node, pushLog: PushLog) {
  const { order } = await pay(nodeAt(node.url));
  const push = await pushLog.push(order.payment.id);
  push.accept();
  await vi.waitUntil(async () => (await asMerchant(node, `/v1/orders/${order.orderId}`)).body.order.version === 2);
  return {
    order,
    succeed: (at: Node) => deliver(at, push, success()),
    fail: (at: Node) => deliver(at, push, failure),
  };
}

/** The types of the messages that a backend received about an order. */
export const typesOf = ({ received }: Backend, orderId: string): string[] =>
  received.filter(({ body }) => body.data.order?.orderId === orderId).map(({ type }) => type);

/** Waits until a backend has received the success of an order. */
export const succeeded = (backend: Backend, orderId: string) =>
  vi.waitUntil(() => typesOf(backend, orderId).includes("order.succeeded"), { timeout: 60_000 });

/** The newest attempts of an endpoint, newest first. */
export async function historyOf(node: Node, endpointId: string, query = ""): Promise<DeliveryView[]> {
  const { body } = await asMerchant(node, `/v1/endpoints/${endpointId}/deliveries?limit=200&${query}`);
  return body.data as unknown as DeliveryView[];
}

/** Changes an endpoint and returns it. */
export async function patchEndpoint(node: Node, id: string, change: object): Promise<Record<string, unknown>> {
  const { body } = await send(node, "PATCH", `/v1/endpoints/${id}`, change);
  return (body as unknown as { endpoint: Record<string, unknown> }).endpoint;
}

/** Makes the endpoint's later attempts due now. */
export const retryNow = (database: Pick<pg.Client, "query">, endpointId: string): Promise<pg.QueryResult> =>
  database.query(
    "update delivery set attempt_at = now() where endpoint_id = $1 and claim is null and attempt_at < 'infinity'",
    [endpointId],
  );

/** Lets time pass: everything in the tables of orders and deliveries happened `seconds` earlier, except attempts in flight. */
export async function passTime(database: pg.Client, seconds: number): Promise<void> {
  const { rows } = await database.query<{ statement: string }>(
    `select format('update %I set %s %s', table_name, string_agg(format('%1$I = %1$I - $1 * interval ''1 second''', column_name), ', '),
         case table_name when 'delivery' then 'where claim is null' end) as statement
     from information_schema.columns
     where table_schema = 'public' and table_name = any ('{endpoint,delivery,delivery_attempt,order,event}') and udt_name = 'timestamptz'
     group by table_name`,
  );
  await database.query("begin");
  for (const { statement } of rows) await database.query(statement, [seconds]);
  await database.query("commit");
}
