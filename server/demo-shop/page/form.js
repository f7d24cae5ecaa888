/** The form of the shop: the item, the payment method and the payer's phone. It does not depend on orders. */
import { digitsOf } from "./digits.js";
import { onPage, onPhone, payerOf, payersFor } from "./payer.js";

/** @import { Choice, Item } from "../catalogue.ts" */
/** @import { Payer } from "./payer.js" */

/** @typedef {{ item: Item, choice: Choice, phone: string, email: string }} Selection */

/**
 * @typedef {object} FormOptions
 * @property {Item[]} items
 * @property {Choice[]} choices
 * @property {() => void} onChange
 */

/**
 * @typedef {object} Form
 * @property {FormOptions} options
 * @property {HTMLInputElement} phone
 * @property {HTMLInputElement} email
 * @property {HTMLSelectElement} payers
 * @property {HTMLButtonElement} button
 * @property {Map<string, HTMLElement>} prices The price on each item's card, by item id.
 * @property {string} ownDigits Three random digits, so that two visitors of one shop use different numbers.
 */

/** @type {<E extends Element = HTMLElement>(id: string) => E} */
export const find = (id) => {
  const element = document.getElementById(id);
  if (!element) throw new Error(`no #${id}`);
  return /** @type {any} */ (element);
};

/** Formats an amount with its ISO code, which is the same in every language. @param {number} minor @param {string} currency */
export function money(minor, currency) {
  const format = new Intl.NumberFormat("en", { style: "currency", currency, currencyDisplay: "code" });
  const digits = format.resolvedOptions().maximumFractionDigits ?? 2;
  return format.format(minor / 10 ** digits);
}

/** @param {number} size */
const randomDigits = (size) => String(Math.floor(Math.random() * 10 ** size)).padStart(size, "0");

/** Undefined in Firefox 78 and Safari 14.0, where the country's code has to do. */
const countryNames = Intl.DisplayNames && new Intl.DisplayNames("en", { type: "region" });

/** @param {FormOptions} options */
export function createForm(options) {
  /** @type {Form} */
  const form = {
    options,
    phone: find("phone"),
    email: find("email"),
    payers: find("payer"),
    button: find("pay"),
    prices: new Map(),
    ownDigits: randomDigits(3),
  };
  fillForm(form);

  return {
    selection: () => readSelection(form),
    showPhoneError,

    /** Shows whether the email address can be used. Returns false if not. */
    checkEmail() {
      const { email } = form;
      const isValid = email.checkValidity();
      setError("email-error", isValid ? undefined : "Enter an address such as amina@example.com, or none.");
      if (isValid) email.removeAttribute("aria-invalid");
      else {
        email.setAttribute("aria-invalid", "true");
        email.focus();
      }
      return isValid;
    },

    focusPhone: () => form.phone.focus(),

    /** Disables the button while the shop starts a payment. @param {boolean} isBusy */
    setBusy(isBusy) {
      form.button.disabled = isBusy;
      if (isBusy) form.button.textContent = "Starting…";
      else showPrices(form);
    },

    /** Shows an error that does not concern the phone number. @param {string | undefined} text */
    showError: (text) => setError("refusal", text),

    /** Selects an item. @param {string} id */
    setItem(id) {
      check("item", id);
      showPrices(form);
    },

    /** Selects a payment method and enters a phone number. @param {string} provider @param {string} number */
    setPayer(provider, number) {
      check("provider", provider);
      showMethod(form);
      form.phone.value = number;
      showPayerOfPhone(form);
    },
  };
}

/** Adds the items and payment methods, and reacts to each change. @param {Form} form */
function fillForm(form) {
  const { items, choices, onChange } = form.options;
  find("items").append(...items.map((item, index) => itemCard(item, index === 0, form.prices)));
  find("ways").append(...choices.map((choice, index) => methodCard(choice, index === 0)));
  find("items").addEventListener("change", () => showPrices(form));
  find("ways").addEventListener("change", () => {
    showMethod(form);
    onChange();
  });
  form.payers.addEventListener("change", () => fillPhone(form, form.payers.value));
  form.phone.addEventListener("input", () => showPayerOfPhone(form));
  showMethod(form);
  form.button.disabled = choices.length === 0;
}

/** @param {Form} form @returns {Selection | undefined} */
function readSelection({ options: { items, choices }, phone, email }) {
  const data = new FormData(find("choosing"));
  const item = items.find(({ id }) => id === data.get("item"));
  const choice = choices.find(({ provider }) => provider === data.get("provider"));
  return item && choice && { item, choice, phone: phone.value.trim(), email: email.value.trim() };
}

/** Shows every price in the currency of the selected payment method. @param {Form} form */
function showPrices(form) {
  const selection = readSelection(form);
  if (!selection) return;
  const { currency } = selection.choice;
  for (const { id, prices } of form.options.items) {
    const element = form.prices.get(id);
    if (element) element.textContent = money(prices[currency] ?? 0, currency);
  }
  form.button.textContent = `Pay ${money(selection.item.prices[currency] ?? 0, currency)}`;
}

/** Shows the payers, labels and prices of the selected payment method. @param {Form} form */
function showMethod(form) {
  const selection = readSelection(form);
  if (!selection) return;
  const { redirects } = selection.choice;
  const groups = payersFor(selection.choice).map(({ label, payers }) => {
    const group = document.createElement("optgroup");
    group.label = label;
    group.append(...payers.map(({ ending, label }) => new Option(label, ending)));
    return group;
  });
  form.payers.replaceChildren(...groups);
  find("phone-label").textContent = redirects ? "The payer’s phone number (optional)" : "The payer’s phone number";
  find("phone-hint").textContent = redirects
    ? "The provider’s page asks for it. With a test number, the sandbox answers automatically."
    : "A test number. Its last two digits decide what the payer does.";
  showPrices(form);
  fillPhone(form, redirects ? onPage.ending : onPhone.ending);
}

/** Enters a number of the selected country with this ending. @param {Form} form @param {string} ending */
function fillPhone(form, ending) {
  const example = readSelection(form)?.choice.phoneExample ?? "";
  // The last five digits are free: three of this visitor, and two that select what the payer does.
  const free = [...form.ownDigits, ...ending];
  const nextDigit = () => free.shift() ?? "";
  form.phone.value = ending === "" ? "" : example.replace(/\d(?=(?:\D*\d){0,4}$)/g, nextDigit);
  showPayerOfPhone(form);
}

/** Selects the payer that the entered number stands for. @param {Form} form */
function showPayerOfPhone(form) {
  const digits = digitsOf(form.phone.value);
  const isOnPage = digits === "" && readSelection(form)?.choice.redirects;
  showPayer(form, isOnPage ? onPage : payerOf(digits));
  showPhoneError(undefined);
  form.options.onChange();
}

/** @param {Form} form @param {Payer} payer */
function showPayer({ payers }, { ending, hint }) {
  payers.value = ending;
  const isListed = payers.selectedIndex >= 0;
  if (!isListed) payers.value = onPhone.ending;
  find("payer-hint").textContent = isListed ? hint : onPhone.hint;
}

/** @param {string | undefined} text */
function showPhoneError(text) {
  setError("phone-error", text);
  if (text === undefined) find("phone").removeAttribute("aria-invalid");
  else find("phone").setAttribute("aria-invalid", "true");
}

/** @param {string} id @param {string | undefined} text */
function setError(id, text) {
  const error = find(id);
  error.hidden = text === undefined;
  error.textContent = text ?? "";
}

/** @param {string} name @param {string} value */
function check(name, value) {
  const input = document.querySelector(`input[name="${name}"][value="${CSS.escape(value)}"]`);
  if (input instanceof HTMLInputElement) input.checked = true;
}

/** @param {string} name @param {string} value @param {boolean} isFirst @param {Node[]} inner */
function card(name, value, isFirst, inner) {
  const input = document.createElement("input");
  Object.assign(input, { type: "radio", name, value, checked: isFirst });
  const label = document.createElement("label");
  label.className = `card ${name}`;
  label.append(input, ...inner);
  return label;
}

/** @param {string} className @param {string} text */
function span(className, text) {
  const element = document.createElement("span");
  element.className = className;
  element.textContent = text;
  return element;
}

/** @param {Item} item @param {boolean} isFirst @param {Map<string, HTMLElement>} prices */
function itemCard({ id, name }, isFirst, prices) {
  const drawing = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  drawing.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `#item-${id}`);
  drawing.append(use);
  const price = span("price", "");
  prices.set(id, price);
  return card("item", id, isFirst, [drawing, span("name", name), price]);
}

/** @param {Choice} choice @param {boolean} isFirst */
function methodCard({ provider, title, by, country }, isFirst) {
  const where = countryNames?.of(country) ?? country;
  return card("provider", provider, isFirst, [span("name", title), span("by", by ? `${by}, ${where}` : where)]);
}
