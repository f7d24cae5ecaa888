/**
 * The payer's phone in the shop's page: beside the shop on a wide screen, and below it on a narrow one, where it opens for a prompt.
 */
import { find } from "./form.js";

/** @import { StatusEvent } from "../../../client-sdk/protocol.ts" */

/** Adds the phone's page in a frame. */
export function createPhone() {
  const toggle = find("phone-toggle");
  /** @type {HTMLIFrameElement | undefined} */
  let frame;
  let number = "";
  /** The attempt that has opened the phone, so that a visitor who closes it is not disturbed again. @type {string | undefined} */
  let openedFor;

  /** @param {object} message */
  const send = (message) => frame?.contentWindow?.postMessage(message, location.origin);

  /** @param {boolean} isOpen */
  const show = (isOpen) => {
    document.documentElement.classList.toggle("phone-open", isOpen);
    toggle.setAttribute("aria-expanded", String(isOpen));
    toggle.textContent = isOpen ? "Hide" : "Show";
  };
  toggle.addEventListener("click", () => show(toggle.getAttribute("aria-expanded") !== "true"));

  return {
    show,

    /** @param {string} entered */
    setNumber(entered) {
      number = entered;
      const address = `sandbox/phone?number=${encodeURIComponent(number)}`;
      /** @type {HTMLAnchorElement} */ (find("phone-link")).href = address;
      if (frame) return send({ number });
      frame = document.createElement("iframe");
      frame.title = "The payer’s phone";
      frame.src = address;
      // Sent again after loading, because a frame that still loads receives no message.
      frame.addEventListener("load", () => send({ number }));
      find("bezel").append(frame);
    },

    /**
     * Opens the phone for a prompt, and closes it when the order is settled. `isOnPhone`: the payer answers on the phone, though the
     * provider has a page too.
     * @param {StatusEvent} event @param {boolean} isOnPhone
     */
    onEvent({ settled, payment }, isOnPhone) {
      send({ isChanged: true });
      if (settled) show(false);
      else if ((isOnPhone || payment.action?.type === "prompt") && openedFor !== payment.id) {
        openedFor = payment.id;
        show(true);
      }
    },
  };
}
