/** Shows the links to the messages about a paid order: the receipt in the sandbox's inbox, and the SMS on the payer's phone. */
import { find } from "./form.js";

/** @import { LastOrder } from "./memory.js" */

/** Shows the links that the card has once the order is paid. @param {LastOrder | undefined} last */
export function showSent(last) {
  const { phone = "", email = "" } = last || {};
  find("sent").hidden = phone === "" && email === "";
  find("sent-sms").hidden = phone === "";
  find("sent-mail").hidden = email === "";
  /** @type {HTMLAnchorElement} */ (find("sent-phone")).href = `sandbox/phone?number=${encodeURIComponent(phone)}`;
  /** @type {HTMLAnchorElement} */ (find("sent-inbox")).href = `sandbox/inbox?to=${encodeURIComponent(email)}`;
}
