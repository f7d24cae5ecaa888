/** The merchant's colour on a page: readable on any colour, and on the light and the dark page. */

/** Card and ink of `frame.css`. */
const schemes = {
  light: { card: "#ffffff", ink: "#1c1a17" },
  dark: { card: "#1b1a16", ink: "#f3f0e8" },
} as const;

/** Small text and a control's edge need these contrasts (WCAG 2.2, 1.4.3 and 1.4.11). */
const textContrastMin = 4.5;
const edgeContrastMin = 3;

/** Relative luminance from 0 to 1 (WCAG 2.2). */
function luminance(colour: string): number {
  const [red = 0, green = 0, blue = 0] = [1, 3, 5].map((at) => {
    const share = Number.parseInt(colour.slice(at, at + 2), 16) / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

/** From 1 to 21. */
export function contrast(one: string, other: string): number {
  const [dark = 0, light = 0] = [luminance(one), luminance(other)].toSorted((a, b) => a - b);
  return (light + 0.05) / (dark + 0.05);
}

/** The custom properties of the merchant's colour. Empty without a colour of the form `#rrggbb`. */
export function brandStyle(colour: string | undefined): string {
  if (colour === undefined || !/^#[\da-f]{6}$/i.test(colour)) return "";
  const brandInk = contrast(colour, "#ffffff") >= textContrastMin ? "#ffffff" : "#000000";
  const rule = ({ card, ink }: { card: string; ink: string }): string => {
    const onCard = contrast(colour, card);
    const [accent, accentInk] = onCard >= textContrastMin ? [colour, brandInk] : [ink, card];
    const edge = onCard >= edgeContrastMin ? colour : ink;
    return `:root{--brand:${colour};--brand-ink:${brandInk};--edge:${edge};--accent:${accent};--accent-ink:${accentInk}}`;
  };
  return `${rule(schemes.light)}@media (prefers-color-scheme:dark){${rule(schemes.dark)}}`;
}
