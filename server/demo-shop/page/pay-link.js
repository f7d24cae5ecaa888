/** "Pay by link": the shop creates a payment link for the selected item, and shows its address and QR code. */
import { find } from "./form.js";
import { createLink } from "./payment.js";

/**
 * @typedef {object} PayLinkOptions
 * @property {() => { item: string, provider: string } | undefined} selection
 * @property {(error: unknown) => void} onError
 */

/** Starts the button. Returns a function that hides a link, because the selection has changed. @param {PayLinkOptions} options */
export function createPayLink({ selection, onError }) {
  const button = /** @type {HTMLButtonElement} */ (find("by-link"));
  const box = find("pay-link");
  const address = /** @type {HTMLAnchorElement} */ (find("pay-link-address"));
  const code = /** @type {HTMLImageElement} */ (find("pay-link-code"));

  button.addEventListener("click", async () => {
    const selected = selection();
    if (!selected) return;
    button.disabled = true;
    try {
      const { url, qr } = await createLink(selected);
      address.href = url;
      address.textContent = url.replace(/^https?:\/\//, "");
      code.src = `data:image/svg+xml,${encodeURIComponent(qr)}`;
      box.hidden = false;
      address.focus();
    } catch (error) {
      onError(error);
    } finally {
      button.disabled = false;
    }
  });

  return {
    hide() {
      box.hidden = true;
    },
  };
}
