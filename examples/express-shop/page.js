/** The shop's two pages. */
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

export const shopPage = (products) =>
  page(
    "Shop",
    html`<form method="post" action="/orders">
      ${products.map(
        ({ name, price_minor, stock }) => html`<p><label>
          <input type="radio" name="product" value="${name}" required> ${name}: KES ${price_minor / 100}, ${stock} left
        </label></p>`,
      )}
      <p><label>M-Pesa number <input name="phone" type="tel" value="0712345600" required></label></p>
      <button type="submit">Pay</button>
    </form>`,
  );

/** The page that waits: the element shows every change, and the button to try again. */
export const orderPage = ({ id, product, phone }, token) =>
  page(
    "Your order",
    html`<order-status
      url="${tukioUrl}"
      order-id="${id}"
      token="${token}"
      merchant="Express Shop"
      item="${product}"
      phone="${phone}"
    >
      <p slot="succeeded">We are packing your order.</p>
    </order-status>
    <script type="module" src="${tukioUrl}/sdk/tukio.js"></script>
    <script type="module">
      const status = document.querySelector("order-status");
      const post = async (path) => {
        const response = await fetch(location.pathname + path, { method: "POST" });
        if (!response.ok) throw new Error("The shop answered " + response.status);
        return response.text();
      };
      status.refreshToken = () => post("/watch-token");
      status.ontryagain = () => post("/pay");
    </script>`,
  );
