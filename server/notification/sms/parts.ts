/**
 * Counts the parts of an SMS, which gateways charge one by one. 3GPP TS 23.038, section 6.2.1: a text in the GSM 7-bit alphabet has
 * 160 characters in one part and 153 in each of several; any other text is sent as UCS-2, with 70 and 67.
 */

/** The GSM 7-bit default alphabet without its escape character. */
const basic = new Set(
  "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà",
);

/** The extension table: an escape character and the character, which are not separated by the end of a part. */
const extended = new Set("\f^{}\\[~]|€");

export type Alphabet = "gsm" | "ucs2";

export interface Parts {
  alphabet: Alphabet;
  parts: number;
}

const isGsmCharacter = (character: string): boolean => basic.has(character) || extended.has(character);

export const isGsm = (text: string): boolean => [...text].every(isGsmCharacter);

/** The alphabet and the number of parts of a text; an empty text is one part. */
export function partsOf(text: string): Parts {
  const characters = [...text];
  if (!isGsm(text)) {
    // Two units outside the Basic Multilingual Plane, such as an emoji.
    return {
      alphabet: "ucs2",
      parts: fill(
        characters.map(({ length }) => length),
        { one: 70, several: 67 },
      ),
    };
  }
  const units = characters.map((character) => (extended.has(character) ? 2 : 1));
  return { alphabet: "gsm", parts: fill(units, { one: 160, several: 153 }) };
}

/** The parts that characters of these sizes need. A character is in one part. */
function fill(units: readonly number[], { one, several }: { one: number; several: number }): number {
  const total = units.reduce((sum, size) => sum + size, 0);
  if (total <= one) return 1;
  let parts = 1;
  let used = 0;
  for (const size of units) {
    if (used + size > several) {
      parts += 1;
      used = 0;
    }
    used += size;
  }
  return parts;
}

/** Characters of typography, and the GSM characters that stand for them. */
const plainForms: Readonly<Record<string, string>> = {
  "‘": "'",
  "’": "'",
  "‚": "'",
  "′": "'",
  "`": "'",
  "´": "'",
  "“": '"',
  "”": '"',
  "„": '"',
  "«": '"',
  "»": '"',
  "‐": "-",
  "‑": "-",
  "‒": "-",
  "–": "-",
  "—": "-",
  "−": "-",
  "…": "...",
  "•": "-",
  "·": "-",
};

/**
 * The text in the GSM 7-bit alphabet: typography becomes plain, accents that the alphabet lacks are removed, and symbols that it lacks
 * are left out. Undefined if a letter or digit of another script would be lost.
 */
export function toGsm(text: string): string | undefined {
  let plain = "";
  for (const character of text.normalize("NFC")) {
    const form = plainForm(character);
    if (form === undefined) return undefined;
    plain += form;
  }
  return plain.replace(/ {2,}/g, " ").trim();
}

function plainForm(character: string): string | undefined {
  if (isGsmCharacter(character)) return character;
  const known = plainForms[character];
  if (known !== undefined) return known;
  if (/\s/u.test(character)) return " ";
  const base = character.normalize("NFKD").replace(/\p{M}/gu, "").replaceAll("⁄", "/");
  if (base !== "" && isGsm(base)) return base;
  return /[\p{L}\p{N}\p{M}]/u.test(character) ? undefined : "";
}
