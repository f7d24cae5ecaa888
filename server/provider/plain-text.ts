/** Free text as providers take it. */

/**
 * Letters and digits without marks, spaces, and `. , : _ -`, at most so many. Others are left out, because M-Pesa pushes
 * with `& < > # @` in them fail without a word (reported by an integrator), and MTN does not say which it takes.
 */
export const plainText = (text: string, lengthMax: number): string =>
  text
    .normalize("NFKD")
    .replace(/[^A-Za-z0-9 .,:_-]/g, "")
    .replace(/ {2,}/g, " ")
    .trim()
    .slice(0, lengthMax)
    .trimEnd();
