/** Cursors of lists: the place after a page, in a form that clients must not read. */
import { z } from "zod";
import { fieldError } from "./errors.ts";
import { isStorable } from "./validation.ts";

/** Writes a place of any form that JSON has. */
export const writeCursor = (place: unknown): string => Buffer.from(JSON.stringify(place)).toString("base64url");

/** The problem of a cursor that no list returned. */
export const unknownCursor = (cause: unknown): Error =>
  Object.assign(fieldError("body_invalid", "cursor", "is not a cursor that a list returned"), { cause });

/** Throws `body_invalid` for a cursor that no list returned. */
export function readCursor<Place extends z.ZodType>(place: Place, cursor: string): z.infer<Place> {
  try {
    return place.parse(JSON.parse(Buffer.from(cursor, "base64url").toString("utf8")));
  } catch (cause) {
    throw unknownCursor(cause);
  }
}

/** A time of a row, in a place. */
export const placeTime = z.coerce.date().refine(isStorable);

/** The place of a row in a list that is ordered by time and id. */
export const rowPlace = z.tuple([placeTime, z.uuid()]);

/** The place before the newest row of such a list, as PostgreSQL reads it. */
export const newestPlace = ["infinity", "ffffffff-ffff-ffff-ffff-ffffffffffff"] as const;
