/**
 * Messages about payment links. The statement that changes a link makes its new version due at the endpoints that receive it, so that no
 * fan-out reads links: a link changes a few times in its life, and no webhook waits for it.
 */
import type pg from "pg";
import { run } from "../order/statement.ts";
import type { Claimed } from "./claim.ts";
import { accepts, makeDue } from "./subject.ts";

/**
 * Makes the new versions of `changed_link` (id, version, status, plan_uuid) due, in the statement that has this common table expression.
 * Not those of a plan's instalments: the messages about the plan contain them.
 */
export const makeLinksDue = `due as (
    select e.id as endpoint_id, 'payment_link' as kind, l.id as subject_id, l.version, false as is_replay, d.due_version as replaced
    from changed_link l
      join endpoint e on not e.is_deleted
      left join delivery d on d.endpoint_id = e.id and d.subject_id = l.id
    where l.plan_uuid is null and ${accepts("('paymentLink.' || l.status)")}
  ),
  ${makeDue}`;

/** A link as it is now. */
export interface LinkState {
  id: string;
  epoch: number;
  version: number;
  /** `paymentLink.<status>`. */
  type: string;
  /** When the link changed. */
  occurredAt: Date;
  /** As the merchant sees it. */
  paymentLink: object;
}

/** Reads the links that exist, in no order. Throws `store_unavailable`. */
export type ReadLinks = (ids: readonly string[]) => Promise<LinkState[]>;

/**
 * $1, $2: endpoints and links, in pairs. $3, $4: the links' types and versions. $5: the epoch. Whether each endpoint receives the type,
 * and does not have the version.
 */
const wantedStatement = {
  name: "wanted-payment-links",
  text: `select e.id || claimed.subject_id::text as pair
    from unnest($1::uuid[], $2::uuid[], $3::text[], $4::int[]) as claimed (endpoint_id, subject_id, type, version)
      join endpoint e on e.id = claimed.endpoint_id
      left join delivery d on d.endpoint_id = e.id and d.subject_id = claimed.subject_id
    where ${accepts("claimed.type")}
      and (coalesce(d.is_replay, false) or claimed.version > coalesce(case when d.acked_epoch = $5 then d.acked_version end, 0))`,
} as const;

/** The links of claimed deliveries, and whether each delivery is still wanted. Throws `store_unavailable`. */
export async function readClaimedLinks(
  pool: pg.Pool,
  claimed: readonly Claimed[],
  readLinks: ReadLinks,
): Promise<{ claimed: Claimed; link: LinkState | undefined; isWanted: boolean }[]> {
  const links = await readLinks([...new Set(claimed.map(({ subjectId }) => subjectId))]);
  const found = new Map(links.map((link) => [link.id, link]));
  const known = claimed.flatMap((one) => {
    const link = found.get(one.subjectId);
    return link ? [{ one, link }] : [];
  });
  const wanted = await run<{ pair: string }>(pool, wantedStatement, [
    known.map(({ one }) => one.endpointId),
    known.map(({ link }) => link.id),
    known.map(({ link }) => link.type),
    known.map(({ link }) => link.version),
    links[0]?.epoch,
  ]);
  const pairs = new Set(wanted.map(({ pair }) => pair));
  return claimed.map((one) => ({
    claimed: one,
    link: found.get(one.subjectId),
    isWanted: pairs.has(one.endpointId + one.subjectId),
  }));
}
