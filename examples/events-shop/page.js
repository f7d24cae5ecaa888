/** The shop's pages. */
import qrcode from "qrcode";
import { tukioUrl } from "./tukio.js";

const escapeHtml = (value) => String(value).replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);

/** HTML whose values are escaped. A list is HTML already. */
export const html = (parts, ...values) =>
  String.raw({ raw: parts }, ...values.map((value) => (Array.isArray(value) ? value.join("") : escapeHtml(value))));

const page = (title, body) => html`<!doctype html>
  <html lang="en">
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width">
    <meta name="referrer" content="no-referrer">
    <title>${title}</title>
    <h1>${title}</h1>
    ${[body]}
  </html>`;

export const shopPage = (shows) =>
  page(
    "Events",
    html`<form method="post" action="/orders">
      ${shows.map(
        ({ sku, name, price_minor }) => html`<p><label>
          <input type="number" name="${sku}" value="0" min="0" max="10"> ${name}, KES ${price_minor / 100} each
        </label></p>`,
      )}
      <p><label>E-mail <input name="email" type="email" required></label></p>
      <p><label>M-Pesa number <input name="phone" type="tel" value="0712345600" required></label></p>
      <button type="submit">Pay</button>
    </form>`,
  );

/** The page that waits. The tickets appear in the element, as results of the order. */
export const orderPage = (orderId, token) =>
  page(
    "Your order",
    html`<order-status url="${tukioUrl}" order-id="${orderId}" token="${token}" merchant="Events Shop" item="Tickets">
      <p slot="failed"><a href="/">Order again</a></p>
      <p slot="expired"><a href="/">Order again</a></p>
    </order-status>
    <script type="module" src="${tukioUrl}/sdk/tukio.js"></script>`,
  );

export async function ticketsPage(tickets) {
  const images = await Promise.all(tickets.map(({ code }) => qrcode.toString(code, { type: "svg", width: 240 })));
  return page(
    "Your tickets",
    html`<ol>
      ${tickets.map(
        ({ show_name, code, redeemed_at }, index) => html`<li>
          ${show_name} ${redeemed_at ? `(used ${redeemed_at})` : ""}
          <div>${[images[index]]}</div>
          <code>${code}</code>
        </li>`,
      )}
    </ol>`,
  );
}

/** Without a message before the first scan. A scanner types the code and presses Enter. */
export const gatePage = (message = "") =>
  page(
    "Gate",
    html`<p role="status">${message}</p>
    <form method="post" action="/gate"><label>Code <input name="code" autofocus autocomplete="off"></label></form>`,
  );
