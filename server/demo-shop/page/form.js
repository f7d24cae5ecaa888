/** The shop's form: what is bought, how it is paid, and which phone pays. Knows nothing of orders. */
import { onPage, onPhone, payerOf, payersFor } from "./payer.js";

/** @import { Choice, Item } from "../catalogue.ts" */
/** @import { Payer } from "./payer.js" */

/** @typedef {{ item: Item, choice: Choice, phone: string }} Wish */

/** @type {<E extends Element = HTMLElement>(id: string) => E} */
export const find = (id) => {
  const element = document.getElementById(id);
  if (!element) throw new Error(`no #${id}`);
  return /** @type {any} */ (element);
};

/** An amount with its ISO code, which is the same in every language. @param {number} minor @param {string} currency */
export function money(minor, currency) {
  const format = new Intl.NumberFormat("en", { style: "currency", currency, currencyDisplay: "code" });
  const digits = format.resolvedOptions().maximumFractionDigits ?? 2;
  return format.format(minor / 10 ** digits);
}

/** @param {number} size */
const randomDigits = (size) => String(Math.floor(Math.random() * 10 ** size)).padStart(size, "0");

const countryNames = new Intl.DisplayNames("en", { type: "region" });

/**
 * @param {object} options
 * @param {Item[]} options.items
 * @param {Choice[]} options.choices
 * @param {boolean} options.hasPhoneBeside Whether the payer's phone is on this page too.
 * @param {() => void} options.onChange
 */
export function createForm({ items, choices, hasPhoneBeside, onChange }) {
  const phone = /** @type {HTMLInputElement} */ (find("phone"));
  const payers = /** @type {HTMLSelectElement} */ (find("payer"));
  const button = /** @type {HTMLButtonElement} */ (find("pay"));
  /** Visitors of one shop get phones of their own. */
  const own = randomDigits(3);
  /** @type {Map<string, HTMLElement>} */
  const prices = new Map();

  const wished = () => {
    const data = new FormData(find("choosing"));
    const item = items.find(({ id }) => id === data.get("item"));
    const choice = choices.find(({ provider }) => provider === data.get("provider"));
    return item && choice && { item, choice, phone: phone.value.trim() };
  };

  const showPrices = () => {
    const wish = wished();
    if (!wish) return;
    const { currency } = wish.choice;
    for (const { id, prices: all } of items) {
      const element = prices.get(id);
      if (element) element.textContent = money(all[currency] ?? 0, currency);
    }
    button.textContent = `Pay ${money(wish.item.prices[currency] ?? 0, currency)}`;
  };

  /** @param {Payer} payer */
  const showPayer = ({ ending, hint }) => {
    payers.value = ending;
    const isOffered = payers.selectedIndex >= 0;
    if (!isOffered) payers.value = onPhone.ending;
    find("payer-hint").textContent = isOffered ? hint : onPhone.hint;
  };

  const readPhone = () => {
    const digits = phone.value.replace(/\D/g, "");
    showPayer(digits === "" && wished()?.choice.redirects ? onPage : payerOf(digits));
    complain(undefined);
    onChange();
  };

  /** @param {string} ending */
  const writePhone = (ending) => {
    const example = wished()?.choice.phoneExample ?? "";
    // The last five digits are free: three of this visitor, two that say what happens.
    const free = [...own, ...ending];
    const fill = () => free.shift() ?? "";
    phone.value = ending === "" ? "" : example.replace(/\d(?=(?:\D*\d){0,4}$)/g, fill);
    readPhone();
  };

  /** @param {string | undefined} text */
  const complain = (text) => {
    const error = find("phone-error");
    error.hidden = text === undefined;
    error.textContent = text ?? "";
    if (text === undefined) phone.removeAttribute("aria-invalid");
    else phone.setAttribute("aria-invalid", "true");
  };

  const chooseWay = () => {
    const wish = wished();
    if (!wish) return;
    const { redirects } = wish.choice;
    const groups = payersFor(wish.choice).map(({ label, payers }) => {
      const group = document.createElement("optgroup");
      group.label = label;
      group.append(...payers.map(({ ending, label }) => new Option(label, ending)));
      return group;
    });
    payers.replaceChildren(...groups);
    find("phone-label").textContent = redirects ? "The payer’s phone number (optional)" : "The payer’s phone number";
    find("phone-hint").textContent = redirects
      ? "Not needed: its own page asks for it. A test number answers by itself."
      : "A test number: the last two digits say what the payer does.";
    showPrices();
    writePhone(redirects ? onPage.ending : hasPhoneBeside ? onPhone.ending : "01");
  };

  find("items").append(...items.map((item, index) => itemCard(item, index === 0, prices)));
  find("ways").append(...choices.map((choice, index) => wayCard(choice, index === 0)));
  find("items").addEventListener("change", showPrices);
  find("ways").addEventListener("change", () => {
    chooseWay();
    onChange();
  });
  payers.addEventListener("change", () => writePhone(payers.value));
  phone.addEventListener("input", readPhone);
  chooseWay();
  button.disabled = choices.length === 0;

  return {
    /** @returns {Wish | undefined} */
    wish: wished,
    complain,
    focusPhone: () => phone.focus(),

    /** While the shop is asked. @param {boolean} isBusy */
    setBusy(isBusy) {
      button.disabled = isBusy;
      if (isBusy) button.textContent = "Asking…";
      else showPrices();
    },

    /** What went wrong beside the phone. @param {string | undefined} text */
    refuse(text) {
      const refusal = find("refusal");
      refusal.hidden = text === undefined;
      refusal.textContent = text ?? "";
    },

    /** Chooses an item. @param {string} id */
    setItem(id) {
      check("item", id);
      showPrices();
    },

    /** Chooses a way to pay and who pays. @param {string} provider @param {string} number */
    setPayer(provider, number) {
      check("provider", provider);
      chooseWay();
      phone.value = number;
      readPhone();
    },
  };
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
function wayCard({ provider, title, by, country }, isFirst) {
  const where = countryNames.of(country) ?? country;
  return card("provider", provider, isFirst, [span("name", title), span("by", by ? `${by}, ${where}` : where)]);
}
