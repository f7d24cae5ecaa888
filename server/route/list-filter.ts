/** The fields that filters of lists share. */
import { z } from "zod";
import { reasons, statuses } from "../../client-sdk/protocol.ts";
import { fieldError } from "../errors.ts";
import { phonesOf } from "../payment/phone.ts";
import { phoneLengthMax } from "../phone-text.ts";
import { isTimeZone } from "../plan/schedule.ts";
import type { Provider } from "../provider/provider.ts";
import { text, timeText, wholeText } from "../validation.ts";

const fromExample = "2026-11-20T00:00:00Z";
const toExample = "2027-11-20T00:00:00Z";

/** `rows`: what the list has. `began`: what it says of the time from which a row exists. */
export const listFields = (rows: string, began: string) => ({
  status: z
    .enum(statuses)
    .meta({ description: `Only ${rows} with this status now.`, examples: ["succeeded"] })
    .optional(),
  reason: z
    .enum(reasons)
    .meta({ description: `Only ${rows} with this reason now.`, examples: ["late"] })
    .optional(),
  from: timeText.meta({ description: `${began} at or after.`, examples: [fromExample] }).optional(),
  to: timeText.meta({ description: `${began} before.`, examples: [toExample] }).optional(),
  paidFrom: timeText.meta({ description: "The money moved at or after.", examples: [fromExample] }).optional(),
  paidTo: timeText.meta({ description: "The money moved before.", examples: [toExample] }).optional(),
  receipt: text(255)
    .meta({ description: "The provider's proof of the money, also in small letters.", examples: ["NLJ7RT61SV"] })
    .optional(),
  phone: text(phoneLengthMax)
    .meta({
      description:
        "The phone that was asked for the money, in any form: a local number is one of any country of the enabled providers. Found until it is erased.",
      examples: ["0712 345 601"],
    })
    .optional(),
});

/** The filter of a list in CSV: the whole list, so it has no page. */
export const csvFields = {
  timeZone: z
    .string()
    .refine(isTimeZone, "must be a time zone such as Africa/Nairobi")
    .meta({
      description: "Adds columns with the times as clocks of this zone show them.",
      examples: ["Africa/Nairobi"],
    })
    .optional(),
};

export const csvAnswer = {
  description:
    "The whole list, of any length, in UTF-8 with a byte order mark. Cells that a spreadsheet could run as a formula begin with an apostrophe. If the connection is cut before the end, the file is incomplete.",
  type: "text/csv",
};

/** Rows that one page of a list in CSV has. */
export const csvPage = 1_000;

export const pageFields = (rows: string) => ({
  cursor: text(500).describe("The `nextCursor` of the previous page.").optional(),
  limit: wholeText(1, 200, { description: `${rows} in a page.`, examples: [20] }).default(50),
});

interface Ranges {
  from?: Date | undefined;
  to?: Date | undefined;
  paidFrom?: Date | undefined;
  paidTo?: Date | undefined;
}

/** Throws `body_invalid` for a range that ends before it begins, naming the field. */
export function requireRanges({ from, to, paidFrom, paidTo }: Ranges): void {
  if (from && to && from > to) throw fieldError("body_invalid", "to", "is before from");
  if (paidFrom && paidTo && paidFrom > paidTo) throw fieldError("body_invalid", "paidTo", "is before paidFrom");
}

/** Replaces the phone as a person wrote it by the numbers that it may be. Throws `phone_invalid`. */
export function withPhones<Filter extends { phone?: string | undefined }>(
  { phone, ...filter }: Filter,
  providers: ReadonlyMap<string, Provider>,
): Omit<Filter, "phone"> & { phones?: string[] } {
  if (phone === undefined) return filter;
  return {
    ...filter,
    phones: phonesOf(
      phone,
      [...providers.values()].flatMap(({ countries }) => countries),
    ),
  };
}
