/**
 * Builds the message of a claimed delivery from the subject's state as it is now, so that an attempt always sends the newest state.
 * The envelope is that of Standard Webhooks: `{ type, timestamp, data }`.
 */
import type pg from "pg";
import { merchantFields } from "../order/query.ts";
import { type EventRow, type OrderRow, type StateRow, toEvent, versionColumns } from "../order/row.ts";
import { run } from "../order/statement.ts";
import type { Claimed } from "./claim.ts";
import { type EndpointRow, endpointColumns, toEndpointView } from "./endpoint-row.ts";
import { type ReadLinks, readClaimedLinks } from "./link-message.ts";
import { type ReadPlans, readClaimedPlans } from "./plan-message.ts";
import { accepts, messageJoins, orderSubjects } from "./subject.ts";

export interface Message {
  /** `<uuid of the subject>.<epoch>.<version>`: the same for every attempt and every endpoint. */
  id: string;
  type: string;
  /** When the state began. */
  occurredAt: Date;
  epoch: number;
  version: number;
  /** The body, as it is signed and sent. */
  body: string;
}

/** The state of a subject when its message was prepared. */
export interface KnownState {
  version: number;
  /** Undefined for a subject that does not exist. */
  epoch: number | undefined;
}

/** A claimed delivery with its message; without one if the endpoint has nothing to receive. */
export interface Prepared {
  claimed: Claimed;
  known: KnownState;
  message?: Message;
}

/** The columns of an order, beside its state, that its merchant's messages show. */
const merchantNames = ["description", "customer", "metadata", "items", "lang"] as const;

export type MerchantOrderRow = StateRow &
  Pick<OrderRow, (typeof merchantNames)[number]> &
  Pick<EventRow, "source" | "note">;

/** The columns of an order `o` and one of its events `v` that make a `MerchantOrderRow`. */
export const merchantOrderColumns = `${versionColumns("o", "v")}, ${merchantNames.map((name) => `o.${name}`).join(", ")}, v.source, v.note`;

/** The order as its merchant sees it: the StatusEvent, and what only the merchant may see. */
export function toMerchantOrder(row: MerchantOrderRow): object {
  const { source, note } = row;
  const own = { ...merchantFields(row), source, note };
  return { ...toEvent(row), ...Object.fromEntries(Object.entries(own).filter(([, value]) => value !== null)) };
}

/** $1, $2: endpoints and orders, in pairs. */
const orderMessageStatement = {
  name: "order-messages",
  text: `with claimed as materialized (
    select endpoint_id, subject_id from unnest($1::uuid[], $2::uuid[]) as claimed (endpoint_id, subject_id)
  ),
  s as materialized (${orderSubjects("select distinct subject_id from claimed")}
  ),
  known as (
    select e.id as endpoint_id, s.id as subject_id, s.version, m.type,
      ${accepts("m.type")} and (coalesce(d.is_replay, false) or s.version > coalesce(m.acked, 0)) as is_wanted
    from claimed
      join endpoint e on e.id = claimed.endpoint_id
      join s on s.id = claimed.subject_id
      ${messageJoins}
  )
  select known.endpoint_id, known.type, known.is_wanted, ${merchantOrderColumns}
  from known
    join "order" o on o.id = known.subject_id
    join event v on v.order_uuid = o.id and v.version = o.version`,
} as const;

/** $1, $2: endpoints and the endpoints that the messages are about, in pairs. One that was enabled again or deleted since needs none. */
const endpointMessageStatement = {
  name: "endpoint-messages",
  text: `select e.id as endpoint_id, ${endpointColumns("s")}, (select epoch from timeline) as epoch,
      not s.enabled and not s.is_deleted and ${accepts("'endpoint.disabled'")} as is_wanted
    from unnest($1::uuid[], $2::uuid[]) as claimed (endpoint_id, subject_id)
      join endpoint e on e.id = claimed.endpoint_id
      join endpoint s on s.id = claimed.subject_id`,
} as const;

type EndpointMessageRow = EndpointRow & { endpoint_id: string; epoch: number; is_wanted: boolean };

const pairsOf = (claimed: readonly Claimed[]): unknown[] => [
  claimed.map(({ endpointId }) => endpointId),
  claimed.map(({ subjectId }) => subjectId),
];

type OrderMessageRow = MerchantOrderRow & { endpoint_id: string; type: string; is_wanted: boolean };

/** How the states of subjects of upper layers are read. Absent: there are none. */
export interface SubjectReaders {
  links?: ReadLinks;
  plans?: ReadPlans;
}

/** Reads the states of all claimed subjects, with one statement or two for each kind. Throws `store_unavailable`. */
export async function prepareMessages(
  pool: pg.Pool,
  claimed: readonly Claimed[],
  { links = async () => [], plans = async () => [] }: SubjectReaders = {},
): Promise<Prepared[]> {
  const ofKind = Object.groupBy(claimed, ({ kind }) => kind);
  return [
    ...(await prepareOrders(pool, ofKind.order ?? [])),
    ...(await prepareEndpoints(pool, ofKind.endpoint ?? [])),
    ...(await prepareLinks(pool, ofKind.payment_link ?? [], links)),
    ...(await preparePlans(pool, ofKind.plan ?? [], plans)),
    ...(await prepareAlerts(pool, ofKind.alert ?? [])),
  ];
}

async function prepareOrders(pool: pg.Pool, claimed: readonly Claimed[]): Promise<Prepared[]> {
  if (claimed.length === 0) return [];
  const rows = await run<OrderMessageRow>(pool, orderMessageStatement, pairsOf(claimed));
  const found = new Map(rows.map((row) => [row.endpoint_id + row.id, row]));
  return claimed.map((one) => {
    const row = found.get(one.endpointId + one.subjectId);
    if (!row?.is_wanted) return { claimed: one, known: knownOf(one, row) };
    return { claimed: one, known: knownOf(one, row), message: orderMessage(row.type, row) };
  });
}

const knownOf = (claimed: Claimed, row: KnownState | undefined): KnownState => ({
  version: row?.version ?? claimed.dueVersion,
  epoch: row?.epoch,
});

/** The message about one version of an order. */
export const orderMessage = (type: string, row: MerchantOrderRow): Message =>
  toMessage({ ...row, type, occurredAt: row.changed_at, data: { order: toMerchantOrder(row) } });

async function prepareEndpoints(pool: pg.Pool, claimed: readonly Claimed[]): Promise<Prepared[]> {
  if (claimed.length === 0) return [];
  const rows = await run<EndpointMessageRow>(pool, endpointMessageStatement, pairsOf(claimed));
  const found = new Map(rows.map((row) => [row.endpoint_id + row.id, row]));
  return claimed.map((one) => {
    const row = found.get(one.endpointId + one.subjectId);
    if (!row?.is_wanted) return { claimed: one, known: knownOf(one, row) };
    return { claimed: one, known: knownOf(one, row), message: endpointMessage("endpoint.disabled", row, row.epoch) };
  });
}

async function prepareLinks(pool: pg.Pool, claimed: readonly Claimed[], readLinks: ReadLinks): Promise<Prepared[]> {
  if (claimed.length === 0) return [];
  return (await readClaimedLinks(pool, claimed, readLinks)).map(({ claimed: one, link, isWanted }) => {
    const known = knownOf(one, link);
    if (!link || !isWanted) return { claimed: one, known };
    return { claimed: one, known, message: toMessage({ ...link, data: { paymentLink: link.paymentLink } }) };
  });
}

const epochStatement = { name: "read-epoch", text: "select epoch from timeline" } as const;

/** The current epoch of the database. Throws `store_unavailable`. */
export async function readEpoch(pool: pg.Pool): Promise<number> {
  const [row] = await run<{ epoch: number }>(pool, epochStatement, []);
  return row?.epoch ?? 0;
}

/** Only the notification of alerts receives these. It reads the alerts itself, because it decides which ones one mail has. */
async function prepareAlerts(pool: pg.Pool, claimed: readonly Claimed[]): Promise<Prepared[]> {
  if (claimed.length === 0) return [];
  const epoch = await readEpoch(pool);
  return claimed.map((one) => {
    const known = { version: one.dueVersion, epoch };
    return {
      claimed: one,
      known,
      message: toMessage({ ...known, id: one.subjectId, type: "alert", occurredAt: new Date(), data: {} }),
    };
  });
}

async function preparePlans(pool: pg.Pool, claimed: readonly Claimed[], readPlans: ReadPlans): Promise<Prepared[]> {
  if (claimed.length === 0) return [];
  return (await readClaimedPlans(pool, claimed, readPlans)).map(({ claimed: one, state, type }) => {
    const known = knownOf(one, state);
    if (!state || type === undefined) return { claimed: one, known };
    return { claimed: one, known, message: toMessage({ ...state, type, data: { plan: state.plan } }) };
  });
}

/** A message about an endpoint: `endpoint.disabled`, or the `ping` that its merchant asks for. */
export const endpointMessage = (type: string, row: EndpointRow, epoch: number): Message =>
  toMessage({ ...row, epoch, type, occurredAt: row.changed_at, data: { endpoint: toEndpointView(row) } });

interface Facts {
  id: string;
  epoch: number;
  version: number;
  type: string;
  occurredAt: Date;
  data: object;
}

const toMessage = ({ id, epoch, version, type, occurredAt, data }: Facts): Message => ({
  id: `${id}.${epoch}.${version}`,
  type,
  occurredAt,
  epoch,
  version,
  body: JSON.stringify({ type, timestamp: occurredAt.toISOString(), data }),
});
