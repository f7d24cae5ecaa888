/** The merchant's colour on a page: readable on any colour, and on the light and the dark page. */

/** The grounds and the text of `frame.css`. */
export const schemes = {
  light: { paper: "#f7f4ee", card: "#ffffff", ink: "#1c1a17", muted: "#655f56", line: "#e2dcd0", caution: "#8a5200" },
  dark: { paper: "#12110e", card: "#1b1a16", ink: "#f3f0e8", muted: "#a9a297", line: "#35322b", caution: "#fbbf4d" },
} as const;

export type Scheme = keyof typeof schemes;

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

/** The merchant's colour in one scheme. */
export interface BrandColours {
  /** The ground of buttons, and of the bar above the page. */
  brand: string;
  /** Text on `brand`. */
  brandInk: string;
  /** The edge of a button. */
  edge: string;
  /** Links, and other text on a card. */
  accent: string;
  /** Text on `accent`. */
  accentInk: string;
}

/** The colours of `frame.css`, for a shop without a colour. */
const defaults: Readonly<Record<Scheme, BrandColours>> = {
  light: { brand: "#0a6b4f", brandInk: "#ffffff", edge: "#0a6b4f", accent: "#0a6b4f", accentInk: "#ffffff" },
  dark: { brand: "#62d5a8", brandInk: "#0b1f18", edge: "#62d5a8", accent: "#62d5a8", accentInk: "#0b1f18" },
};

const isColour = (colour: string | undefined): colour is string =>
  colour !== undefined && /^#[\da-f]{6}$/i.test(colour);

/** Those of a shop without a colour, if `colour` does not have the form `#rrggbb`. */
export function brandColours(colour: string | undefined, scheme: Scheme): BrandColours {
  if (!isColour(colour)) return defaults[scheme];
  const { card, ink } = schemes[scheme];
  const brandInk = contrast(colour, "#ffffff") >= textContrastMin ? "#ffffff" : "#000000";
  const onCard = contrast(colour, card);
  const [accent, accentInk] = onCard >= textContrastMin ? [colour, brandInk] : [ink, card];
  const edge = onCard >= edgeContrastMin ? colour : ink;
  return { brand: colour, brandInk, edge, accent, accentInk };
}

/** The custom properties of the merchant's colour. Empty without a colour of the form `#rrggbb`. */
export function brandStyle(colour: string | undefined): string {
  if (!isColour(colour)) return "";
  const rule = (scheme: Scheme): string => {
    const { brand, brandInk, edge, accent, accentInk } = brandColours(colour, scheme);
    return `:root{--brand:${brand};--brand-ink:${brandInk};--edge:${edge};--accent:${accent};--accent-ink:${accentInk}}`;
  };
  return `${rule("light")}@media (prefers-color-scheme:dark){${rule("dark")}}`;
}
