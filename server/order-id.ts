/** The form of `orderId`, the merchant's name for an order. */
import { z } from "zod";

const lengthMax = 64;

const pattern = /^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$/;

/** The rule in words, for the API docs. */
export const orderIdForm =
  "1 to 64 letters A-Z and a-z, digits, dots, underscores, colons and hyphens; the first is a letter or a digit.";

export const orderIdText = z.string().regex(pattern, { error: ({ input }) => explain(String(input)) });

/** Names the first character that is not allowed, and an id without it: `#1234` gets `1234`, and `2024/001` gets `2024-001`. */
function explain(orderId: string): string {
  const problem = problemOf(orderId);
  const allowed = toAllowed(orderId);
  return pattern.test(allowed) && allowed !== orderId ? `${problem}; use for example ${allowed}` : problem;
}

function problemOf(orderId: string): string {
  if (orderId === "") return "must not be empty";
  const wrong = /[^A-Za-z0-9._:-]/u.exec(orderId)?.[0];
  if (wrong !== undefined) return `must not contain ${nameOf(wrong)}`;
  if (orderId.length > lengthMax) return `must have at most ${lengthMax} characters`;
  return `must begin with a letter or a digit, not with ${nameOf(orderId[0] ?? "")}`;
}

/** The character itself, or its number if a reader would not see it. */
function nameOf(character: string): string {
  if (character === " ") return "a space";
  if (/^[\p{L}\p{N}\p{P}\p{S}]$/u.test(character)) return `"${character}"`;
  return `the character U+${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0")}`;
}

/** The id with a hyphen in place of other characters, none at the ends. */
const toAllowed = (orderId: string): string =>
  orderId
    .slice(0, 4 * lengthMax)
    .replace(/[._:-]*[^A-Za-z0-9._:-]+[._:-]*/g, "-")
    .replace(/^[._:-]+|-+$/g, "");
