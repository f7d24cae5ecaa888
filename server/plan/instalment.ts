/**
 * The payment links of instalments. (plan, n) is unique, and so is the order id, so that no instalment exists twice whatever races. Their
 * `seen_version` is the version that the plan has taken into account: a link with another one makes the plan due.
 */
import { v7 as uuidv7 } from "uuid";
import type { Sealer } from "../auth/keys.ts";
import { createToken, hashOf, sealToken } from "../payment-link/token.ts";
import type { DueInstalment } from "./draft.ts";

/** Converts the JSON parameter to rows. */
export const instalmentRows = (parameter: string): string =>
  `select id, decode(token_hash, 'hex') as token_hash, decode(token, 'hex') as token, place, due_at, overdue_at, amount_minor
    from jsonb_to_recordset(${parameter}::jsonb) as instalment (id uuid, token_hash text, token text, place int, due_at timestamptz,
      overdue_at timestamptz, amount_minor bigint)`;

/** The columns of a plan that `insertInstalments` reads. */
export const planNames = [
  "id",
  "plan_id",
  "currency",
  "description",
  "customer",
  "metadata",
  "provider",
  "lang",
] as const;

/** Inserts the rows of `instalment` (`instalmentRows` and `n`) as links of the plan in `plan` (`planNames`). */
export const insertInstalments = (plan: string): string => `created_link as (
    insert into payment_link (id, order_id, token_hash, token, amount_minor, currency, description, customer, metadata, providers, lang,
      due_at, plan_uuid, plan_n, overdue_at, seen_version)
    select i.id, p.plan_id || '-' || i.n, i.token_hash, i.token, i.amount_minor, p.currency, p.description, p.customer, p.metadata,
      case when p.provider is not null then array[p.provider] end, p.lang, i.due_at, p.id, i.n, i.overdue_at, 1
    from ${plan} p cross join instalment i
  )`;

/** Records for `instalmentRows`, each with a token of its own. */
export const toRecords = (sealer: Sealer, instalments: readonly DueInstalment[]): object[] =>
  instalments.map(({ dueAt, overdueAt, amountMinor }, index) => {
    const [id, token] = [uuidv7(), createToken()];
    return {
      id,
      token_hash: hashOf(token).toString("hex"),
      token: sealToken(sealer, id, token).toString("hex"),
      place: index + 1,
      due_at: dueAt,
      overdue_at: overdueAt,
      amount_minor: amountMinor,
    };
  });
