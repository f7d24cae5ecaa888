/** Free text in the form that providers accept. */

/**
 * Keeps letters and digits without diacritics, spaces, and `. , : _ -`, up to `lengthMax` characters. Other characters are
 * removed, because an integrator reports that M-Pesa pushes with `& < > # @` fail without an error, and MTN does not
 * document the characters that it accepts.
 */
export const plainText = (text: string, lengthMax: number): string =>
  text
    .normalize("NFKD")
    .replace(/[^A-Za-z0-9 .,:_-]/g, "")
    .replace(/ {2,}/g, " ")
    .trim()
    .slice(0, lengthMax)
    .trimEnd();
