/** The page for an address that belongs to no payment link. It has no script. */
import type { Language } from "../../order/order.ts";
import { documentOf } from "../../page/frame.ts";
import { html } from "../../page/html.ts";
import type { ShopView } from "../../page/shop.ts";
import { sign } from "../../page/sign.ts";
import { checkoutStyle } from "./document.ts";
import { wordsOf } from "./language.ts";

export function renderUnknownLink({ shop, lang, nonce }: { shop: ShopView; lang: Language; nonce: string }): string {
  const spoken = wordsOf(lang);
  const [title, text] = spoken.page.unknown;
  const main = html`<main class="closed"><section class="card"><div class="state neutral">${sign("info")}<h1>${title}</h1><p>${text}</p></div></section></main>`;
  return documentOf({ shop, lang, nonce }, { style: checkoutStyle, title: `${title} – ${shop.name}`, main });
}
