/** The endpoints of the merchant's backend: what the API and the environment do with them. */
import type pg from "pg";
import { v7 as uuidv7 } from "uuid";
import type { Sealer } from "../auth/keys.ts";
import { HubError } from "../errors.ts";
import { columns } from "../order/row.ts";
import { run, type Statement } from "../order/statement.ts";
import { type EndpointRow, type EndpointView, endpointColumns, toEndpointView } from "./endpoint-row.ts";
import { environmentId } from "./environment.ts";
import { readEpoch } from "./message.ts";
import { beforeAll } from "./resume.ts";
import { createSecret, openSecret, sealSecret } from "./secret.ts";

/** 50, because every change of an order is compared with each of them. */
export const endpointsMax = 50;

export interface EndpointDraft {
  url: string;
  /** Undefined: all types but `order.pending` and `order.processing`. */
  events?: string[] | null | undefined;
  description?: string | null | undefined;
}

export interface EndpointChange extends Omit<EndpointDraft, "url"> {
  url?: string | undefined;
  enabled?: boolean | undefined;
}

/** An endpoint or a notification, and the secrets that sign now. */
export interface EndpointAddress {
  row: EndpointRow;
  /** The newest first. Empty: a notification, or none of this node's `TUKIO_SECRET`s has encrypted the newest one. */
  secrets: string[];
}

/** Every method throws `store_unavailable` when PostgreSQL cannot be reached or is too busy, and `endpoint_unknown`. */
export interface Endpoints {
  /** Throws `endpoint_limit`. The secret is shown only here. */
  create(draft: EndpointDraft): Promise<{ endpoint: EndpointView; secret: string }>;
  /** Oldest first. */
  list(): Promise<EndpointView[]>;
  read(id: string): Promise<EndpointView>;
  /** Enabling it makes the engine resume what is due, also after the last attempt. */
  change(id: string, change: EndpointChange): Promise<EndpointView>;
  remove(id: string): Promise<void>;
  /** Replaces the secret. The old one signs too for 24 hours. Throws `secret_configured` for the endpoint of `ENDPOINT_URL`. */
  rotateSecret(id: string): Promise<{ endpoint: EndpointView; secret: string }>;
  /** The addresses and secrets of those endpoints that exist. Reports one whose secret cannot be decrypted. */
  addresses(ids: readonly string[]): Promise<Map<string, EndpointAddress>>;
  /** The current epoch of the database. */
  epoch(): Promise<number>;
}

export interface EndpointsOptions {
  pool: pg.Pool;
  sealer: Sealer;
  /** Called for an endpoint whose secret none of this node's `TUKIO_SECRET`s has encrypted. */
  onUnreadable: (endpointId: string) => void;
}

/** Notifications are rows of the same table. The API of endpoints neither shows nor changes them. */
const isEndpoint = "notification is null and not is_deleted";

const returned = `returning ${endpointColumns("endpoint")}`;

/** No row when there are `endpointsMax` already. */
const createStatement = {
  name: "create-endpoint",
  text: `insert into endpoint (id, url, description, events, secret, created_epoch)
    select $1, $2, $3, $4, $5, epoch from timeline
    where (select count(*) from endpoint where ${isEndpoint}) < ${endpointsMax} ${returned}`,
} as const;

const listStatement = {
  name: "list-endpoints",
  text: `select ${endpointColumns("endpoint")} from endpoint where ${isEndpoint} order by created_at, id`,
} as const;

const readStatement = {
  name: "read-endpoint",
  text: `select ${endpointColumns("endpoint")} from endpoint where id = $1 and ${isEndpoint}`,
} as const;

const changeable = ["url", "description", "events", "enabled", "disabled_because", "failing_since"] as const;

/**
 * $2: a record with the fields that change. Enabling clears the reason and the failures, and another URL clears the failures. An endpoint that stays the same keeps its
 * version.
 */
const changeStatement = {
  name: "change-endpoint",
  text: `with old as materialized (
    select id, ${changeable.join(", ")} from endpoint where id = $1 and ${isEndpoint} for no key update
  ),
  next as materialized (
    select id,
      coalesce($2::jsonb ->> 'url', url) as url,
      case when $2::jsonb ? 'description' then $2::jsonb ->> 'description' else description end as description,
      case when $2::jsonb ? 'events' then $3::text[] else events end as events,
      coalesce(($2::jsonb ->> 'enabled')::boolean, enabled) as enabled,
      case ($2::jsonb ->> 'enabled')::boolean when true then null
        when false then case when enabled then 'merchant' else disabled_because end else disabled_because end as disabled_because,
      case when ($2::jsonb ->> 'enabled')::boolean or $2::jsonb ->> 'url' <> url then null else failing_since end as failing_since
    from old
  ),
  compared as (
    select id, (${columns("next", changeable)}) is distinct from (${columns("old", changeable)}) as is_other
    from next join old using (id)
  )
  update endpoint set ${changeable.map((name) => `${name} = next.${name}`).join(", ")},
    version = version + is_other::int, changed_at = case when is_other then clock_timestamp() else changed_at end,
    resumed_to = case when ($2::jsonb ->> 'enabled')::boolean then ${beforeAll} else resumed_to end,
    filtered_at = case when endpoint.events is distinct from next.events then clock_timestamp() else filtered_at end
  from next join compared using (id) where endpoint.id = next.id ${returned}`,
} as const;

const removeStatement = {
  name: "delete-endpoint",
  text: `update endpoint set is_deleted = true, enabled = false, url = '', description = null, secret = '', old_secret = null
    where id = $1 and ${isEndpoint} returning id`,
} as const;

const rotateStatement = {
  name: "rotate-endpoint-secret",
  text: `update endpoint set old_secret = secret, old_secret_until = clock_timestamp() + interval '24 hours', secret = $2,
      version = version + 1, changed_at = clock_timestamp()
    where id = $1 and ${isEndpoint} ${returned}`,
} as const;

const addressStatement = {
  name: "endpoint-addresses",
  text: `select ${endpointColumns("endpoint")}, secret,
      case when old_secret_until > clock_timestamp() then old_secret end as old_secret
    from endpoint where id = any ($1::uuid[]) and not is_deleted`,
} as const;

type AddressRow = EndpointRow & { secret: Buffer; old_secret: Buffer | null };

export function createEndpoints({ pool, sealer, onUnreadable }: EndpointsOptions): Endpoints {
  /** Runs a statement that returns one endpoint. */
  const one = async (statement: Statement, values: unknown[]): Promise<EndpointView> => {
    const [row] = await run<EndpointRow>(pool, statement, values);
    if (!row) throw new HubError("endpoint_unknown");
    return toEndpointView(row);
  };

  return {
    async create({ url, events, description }) {
      const [id, secret] = [uuidv7(), createSecret()];
      const values = [id, url, description, distinct(events), sealSecret(sealer, id, secret)];
      const [row] = await run<EndpointRow>(pool, createStatement, values);
      if (!row) throw new HubError("endpoint_limit");
      return { endpoint: toEndpointView(row), secret };
    },
    list: async () => (await run<EndpointRow>(pool, listStatement, [])).map(toEndpointView),
    read: (id) => one(readStatement, [id]),
    async change(id, change) {
      return one(changeStatement, [id, JSON.stringify(change), distinct(change.events)]);
    },
    async remove(id) {
      if ((await run(pool, removeStatement, [id])).length === 0) throw new HubError("endpoint_unknown");
    },
    async rotateSecret(id) {
      // The next start of a node would store ENDPOINT_SECRET again.
      if (id === environmentId) throw new HubError("secret_configured");
      const secret = createSecret();
      return { endpoint: await one(rotateStatement, [id, sealSecret(sealer, id, secret)]), secret };
    },
    async addresses(ids) {
      const rows = await run<AddressRow>(pool, addressStatement, [ids]);
      return new Map(rows.map((row) => [row.id, addressOf(row, sealer, onUnreadable)]));
    },
    epoch: () => readEpoch(pool),
  };
}

/** Without duplicates and sorted, so that the same types are the same filter, which makes no new version. */
const distinct = (events: EndpointDraft["events"]): EndpointDraft["events"] => events && [...new Set(events)].sort();

function addressOf(
  { secret, old_secret, ...row }: AddressRow,
  sealer: Sealer,
  onUnreadable: (endpointId: string) => void,
): EndpointAddress {
  if (row.notification !== null) return { row, secrets: [] };
  const newest = openSecret(sealer, row.id, secret);
  if (newest === undefined) {
    onUnreadable(row.id);
    return { row, secrets: [] };
  }
  const old = old_secret ? openSecret(sealer, row.id, old_secret) : undefined;
  return { row, secrets: old === undefined ? [newest] : [newest, old] };
}
