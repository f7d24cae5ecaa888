/** The portal's pages. */
import { tukioUrl } from "./tukio.js";

const escapeHtml = (value) => String(value).replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);

/** HTML whose values are escaped. A list is HTML already. */
const html = (parts, ...values) =>
  String.raw({ raw: parts }, ...values.map((value) => (Array.isArray(value) ? value.join("") : escapeHtml(value))));

const page = (title, body) => html`<!doctype html>
  <html lang="en">
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width">
    <title>${title}</title>
    <h1>${title}</h1>
    ${[body]}
  </html>`;

export const portalPage = (plans) =>
  page(
    "WiFi",
    html`<form method="post" action="/orders">
      ${plans.map(
        ({ name, price_minor }) => html`<p><label>
          <input type="radio" name="plan" value="${name}" required> One ${name}: KES ${price_minor / 100}
        </label></p>`,
      )}
      <p><label>M-Pesa number <input name="phone" type="tel" value="0712345600" required></label></p>
      <button type="submit">Pay</button>
    </form>`,
  );

/** The page that waits. The voucher appears in the element, as a result of the order. */
export const orderPage = ({ id, plan, phone }, token) =>
  page(
    "Your WiFi",
    html`<order-status
      url="${tukioUrl}"
      order-id="${id}"
      token="${token}"
      merchant="WiFi Portal"
      item="One ${plan}"
      phone="${phone}"
    >
      <p slot="failed"><a href="/">Order again</a></p>
      <p slot="expired"><a href="/">Order again</a></p>
    </order-status>
    <script type="module" src="${tukioUrl}/sdk/tukio.js"></script>`,
  );
