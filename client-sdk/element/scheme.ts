/** Decides whether the card is light or dark, so that it fits the page on which it stands. */

/** `auto` follows the visitor's preference. */
export type Scheme = "light" | "dark" | "auto";

/**
 * The page's `color-scheme` decides, in CSS or else in its `meta` element. A page without one is light, whatever the visitor prefers, unless the element stands on a
 * dark background.
 */
export function schemeOf(element: Element): Scheme {
  const { colorScheme = "" } = getComputedStyle(element) as Partial<CSSStyleDeclaration>;
  const named = /light|dark/.test(colorScheme) ? colorScheme : schemeOfPage();
  const isDark = named.includes("dark");
  if (named.includes("light")) return isDark ? "auto" : "light";
  return isDark || isOnDark(element) ? "dark" : "light";
}

const schemeOfPage = (): string => document.querySelector<HTMLMetaElement>("meta[name=color-scheme]")?.content ?? "";

/** Whether the nearest background below the element is dark. */
function isOnDark(element: Element): boolean {
  for (let at: Node | null = element; at; at = at instanceof ShadowRoot ? at.host : at.parentNode) {
    if (!(at instanceof Element)) continue;
    const [red = 0, green = 0, blue = 0, alpha = 1] = (getComputedStyle(at).backgroundColor.match(/[\d.]+/g) ?? []).map(
      Number,
    );
    // The weights of perceived brightness. A transparent background shows what is below.
    if (alpha > 0.5) return 0.3 * red + 0.6 * green + 0.1 * blue < 128;
  }
  return false;
}
