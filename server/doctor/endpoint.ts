/** The check of the endpoints of the merchant's backend: those that fail, and those that were disabled because they failed. */
import type pg from "pg";
import type { DisabledBecause } from "../delivery/endpoint-row.ts";
import { run } from "../order/statement.ts";
import { type Check, error, type Finding, ok, warning } from "./check.ts";
import { countText, listText, timeText } from "./text.ts";

/** 50, because a merchant has no more endpoints. */
const statement = {
  name: "doctor-endpoints",
  text: `select url, enabled, disabled_because as "disabledBecause", failing_since as "failingSince"
    from endpoint where notification is null and not is_deleted order by created_at limit 50`,
} as const;

interface Row {
  url: string;
  enabled: boolean;
  disabledBecause: DisabledBecause | null;
  failingSince: Date | null;
}

export const endpointCheck = (pool: pg.Pool): Check => ({
  id: "endpoints",
  name: "Endpoints",
  async run() {
    let rows: Row[];
    try {
      rows = await run<Row>(pool, statement, []);
    } catch {
      return warning("Not checked, because PostgreSQL did not answer.", "Solve the check of PostgreSQL first.");
    }
    return explain(rows);
  },
});

/** The first of many, because the list of endpoints has all. */
const namedMax = 3;

/** Without the query, which may have a secret. */
const named = (rows: readonly Row[]): string => {
  const shown = rows.slice(0, namedMax).map(({ url }) => url.replace(/[?#].*$/s, ""));
  const rest = rows.length - shown.length;
  return listText(rest > 0 ? [...shown, `${rest} more`] : shown);
};

const whys: Readonly<Partial<Record<DisabledBecause, string>>> = {
  gone: "answered 410",
  failing: "had no success for five days",
};

function explain(rows: readonly Row[]): Finding {
  const disabled = rows.filter(
    ({ enabled, disabledBecause }) => !enabled && disabledBecause !== null && whys[disabledBecause],
  );
  const [first] = disabled;
  if (first?.disabledBecause)
    return error(
      `${countText(disabled.length, "endpoint was disabled and receives", "endpoints were disabled and receive")} no events: ${named(disabled)}. The first ${whys[first.disabledBecause]}.`,
      "Repair your backend, then enable the endpoint with PATCH /v1/endpoints/:id: what is due is sent then.",
    );
  const failing = rows.filter(({ enabled, failingSince }) => enabled && failingSince !== null);
  const [oldest] = failing.toSorted((a, b) => Number(a.failingSince) - Number(b.failingSince));
  if (oldest?.failingSince)
    return warning(
      `${countText(failing.length, "endpoint fails", "endpoints fail")}: ${named(failing)}, the longest since ${timeText(oldest.failingSince)}.`,
      "Read GET /v1/endpoints/:id/deliveries for what your backend answered. After five days without a success the endpoint is disabled.",
    );
  const used = rows.filter(({ enabled }) => enabled).length;
  if (used === 0) return ok("No endpoint is enabled: your backend learns of changes only if it asks.");
  return ok(`${countText(used, "endpoint", "endpoints")} without a failure since the last success.`);
}
