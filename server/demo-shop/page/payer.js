/** What a payer's phone does by itself in the sandbox, by the last two digits of its number, in a buyer's words. */

/**
 * @typedef {object} Payer
 * @property {string} ending The number's last two digits; empty: no phone, the payer agrees on the provider's page.
 * @property {string} label
 * @property {string} hint What to look out for.
 */

/** @type {Payer} */
export const onPhone = {
  ending: "00",
  label: "Whatever I answer on the phone",
  hint: "The request rings on the payer’s phone. You have a minute.",
};

/** @type {Payer} */
export const onPage = {
  ending: "",
  label: "Whatever I answer on its page",
  hint: "You are sent to the provider’s own page, and back here. You have five minutes.",
};

/** @type {{ label: string, payers: Payer[] }[]} */
const groups = [
  {
    label: "Pays",
    payers: [
      { ending: "01", label: "Approves after a second", hint: "Paid, a moment after the webhook." },
      {
        ending: "09",
        label: "Pays late, when time is up",
        hint: "The order expires after 10 seconds. The money comes 3 seconds later, and counts.",
      },
    ],
  },
  {
    label: "Does not pay",
    payers: [
      { ending: "02", label: "Cancels", hint: "Nothing is paid, and you can try again." },
      { ending: "03", label: "Has too little money", hint: "Nothing is paid, and you can try again." },
      { ending: "04", label: "Types a wrong PIN", hint: "Nothing is paid, and you can try again." },
      { ending: "05", label: "Never answers", hint: "After 5 seconds the provider says that nobody answered." },
      { ending: "20", label: "Is busy with another request", hint: "The provider refuses to ask, at once." },
    ],
  },
  {
    label: "When things go wrong",
    payers: [
      { ending: "06", label: "The webhook never comes", hint: "Tukio asks the provider by itself and finds out." },
      { ending: "07", label: "The webhook comes three times", hint: "One event all the same." },
      { ending: "08", label: "The webhook is too early", hint: "It overtakes the answer to Tukio’s own request." },
      {
        ending: "10",
        label: "Pays another amount",
        hint: "For a person to look at, where the provider tells amounts.",
      },
      {
        ending: "11",
        label: "The provider’s answer is lost",
        hint: "Nobody knows whether it asked, until it is paid.",
      },
      { ending: "12", label: "The provider is down", hint: "Nobody knows whether it asked, until time is up." },
    ],
  },
];

/** Where a page takes the place of a prompt, nobody can pay without its address, nor when the payment is over. */
const withoutPage = ["09", "11", "12"];

/** Only these say so of a phone that has another request open. */
const sayBusy = ["daraja"];

/**
 * Groups of payers for a way to pay, those who are played by hand first.
 * @param {{ provider: string, redirects: boolean }} choice
 */
export function payersFor({ provider, redirects }) {
  /** @param {Payer} payer */
  const isPossible = ({ ending }) =>
    redirects ? !withoutPage.includes(ending) && ending !== "20" : ending !== "20" || sayBusy.includes(provider);
  return [
    { label: "You decide", payers: redirects ? [onPage, onPhone] : [onPhone] },
    ...groups.map(({ label, payers }) => ({ label, payers: payers.filter(isPossible) })),
  ];
}

/** The payer that a number stands for; any other number waits for a person. @param {string} digits */
export function payerOf(digits) {
  const ending = digits.slice(-2);
  return groups.flatMap(({ payers }) => payers).find((payer) => payer.ending === ending) ?? onPhone;
}
