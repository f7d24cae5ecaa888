/** The page for an address that belongs to no payment link. It has no script. */
import type { Language } from "../../order/order.ts";
import type { ShopView } from "../page-view.ts";
import { documentOf } from "./document.ts";
import { html } from "./html.ts";
import { wordsOf } from "./language.ts";
import { sign } from "./sign.ts";

export function renderUnknownLink({ shop, lang, nonce }: { shop: ShopView; lang: Language; nonce: string }): string {
  const spoken = wordsOf(lang);
  const [title, text] = spoken.page.unknown;
  const main = html`<main class="closed"><section class="card"><div class="state neutral">${sign("info")}<h1>${title}</h1><p>${text}</p></div></section></main>`;
  return documentOf({ shop, lang, nonce }, { spoken, title: `${title} – ${shop.name}`, main });
}
