/** Shows the form's mistakes before they are sent, and sends it once. Without this script, the server does both. */

import { keep, take } from "./memory.js";
import { startChoice } from "./provider-choice.js";

/** Shows an error, or hides it. @param {string} name The field's id, or `form`. @param {string | undefined} text */
function setError(name, text) {
  const error = document.getElementById(`${name}-error`);
  const field = document.getElementById(name);
  if (error) {
    error.hidden = text === undefined;
    error.textContent = text || "";
  }
  if (text === undefined) field?.removeAttribute("aria-invalid");
  else field?.setAttribute("aria-invalid", "true");
}

/** Shows which fields have no value, and returns the first one. @param {HTMLFormElement} form */
function findMissing(form) {
  /** @type {HTMLInputElement[]} */
  const fields = Array.from(form.querySelectorAll("[data-missing]"));
  const missing = fields.filter(({ disabled, value }) => !disabled && value.trim() === "");
  for (const field of missing) setError(field.id, field.dataset.missing);
  return missing[0];
}

/** @param {HTMLFormElement} form */
function startForm(form) {
  const phone = /** @type {HTMLInputElement | null} */ (document.getElementById("phone"));
  const button = /** @type {HTMLButtonElement} */ (form.querySelector("[type=submit]"));
  const label = button.textContent;
  const { starting = "", offline } = form.dataset;
  const follow = startChoice(form, phone);
  let isSending = false;

  /** @param {boolean} isBusy */
  const setSending = (isBusy) => {
    isSending = isBusy;
    button.setAttribute("aria-disabled", String(isBusy));
    button.textContent = isBusy ? starting : label;
  };

  form.addEventListener("input", ({ target }) => setError(/** @type {HTMLElement} */ (target).id, undefined));
  form.addEventListener("submit", (event) => {
    const missing = findMissing(form);
    missing?.focus();
    if (!navigator.onLine) setError("form", offline);
    if (isSending || missing || !navigator.onLine) {
      event.preventDefault();
      return;
    }
    if (phone) keep("phone", phone.value);
    keep("sent", "yes");
    setSending(true);
  });
  addEventListener("offline", () => setError("form", offline));
  addEventListener("online", () => setError("form", undefined));
  // The browser may show the page as it was left.
  addEventListener("pageshow", ({ persisted }) => persisted && setSending(false));

  // The browser's own messages are not in the page's language.
  form.noValidate = true;
  if (phone && phone.value === "") phone.value = take("phone") || "";
  phone?.addEventListener("input", follow);
  follow();
}

const form = document.querySelector("form");
if (form) startForm(form);
