/** Cursors of the lists here: a number that clients must not read. */
import { z } from "zod";
import { fieldError } from "../errors.ts";

export const writeCursor = (place: number): string => Buffer.from(JSON.stringify(place)).toString("base64url");

/** Throws `body_invalid` for a cursor that no list returned. */
export function readCursor(cursor: string, max = Number.MAX_SAFE_INTEGER): number {
  try {
    return z
      .int()
      .min(0)
      .max(max)
      .parse(JSON.parse(Buffer.from(cursor, "base64url").toString("utf8")));
  } catch (cause) {
    throw Object.assign(fieldError("body_invalid", "cursor", "is not a cursor that a list returned"), { cause });
  }
}
