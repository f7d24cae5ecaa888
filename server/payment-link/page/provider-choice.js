/** The choice of the provider: it follows the number, and shows what the provider needs. */
import { digitsOf } from "./digits.js";

/** @type {(id: string) => HTMLElement | null} */
const find = (id) => document.getElementById(id);

/** Whether a number, in national or international form, is of the operator of this choice. @param {HTMLInputElement} choice @param {string} digits */
function isOfOperator({ dataset: { code, prefixes } }, digits) {
  if (!code) return false;
  const whole = digits.replace(/^00/, "");
  const isInternational = whole.startsWith(code);
  const national = (isInternational ? whole.slice(code.length) : digits).replace(/^0/, "");
  return prefixes ? prefixes.split(" ").some((prefix) => national.startsWith(prefix)) : isInternational;
}

/** @param {HTMLInputElement} choice @param {HTMLInputElement | null} phone */
function show({ dataset }, phone) {
  const [field, hint, trust] = [find("phone-field"), find("page-hint"), find("trust")];
  const takesPhone = "phone" in dataset;
  if (field) field.hidden = !takesPhone;
  // A disabled field is not sent.
  if (phone) phone.disabled = !takesPhone;
  if (hint) {
    hint.hidden = !dataset.hint;
    hint.textContent = dataset.hint || "";
  }
  if (trust) trust.textContent = dataset.trust || "";
}

/** Starts the choice. Returns a function that selects the provider of the number. @param {HTMLFormElement} form @param {HTMLInputElement | null} phone */
export function startChoice(form, phone) {
  /** @type {HTMLInputElement[]} */
  const choices = Array.from(form.querySelectorAll("[type=radio]"));
  let isChosen = false;
  for (const choice of choices) {
    choice.addEventListener("change", () => {
      isChosen = true;
      show(choice, phone);
    });
    if (choice.checked) show(choice, phone);
  }
  return () => {
    // The payer's own choice stays.
    if (isChosen || !phone) return;
    const digits = digitsOf(phone.value);
    const fitting = choices.filter((choice) => isOfOperator(choice, digits));
    const [first] = fitting;
    if (!first || fitting.some(({ checked }) => checked)) return;
    first.checked = true;
    show(first, phone);
  };
}
