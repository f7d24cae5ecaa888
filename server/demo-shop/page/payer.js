/** What a payer does in the sandbox, by the last two digits of the phone number, in a buyer's words. */

/**
 * @typedef {object} Payer
 * @property {string} ending The last two digits of the number. Empty: no number, the payer pays on the provider's page.
 * @property {string} label
 * @property {string} hint What the visitor will see.
 */

/** @type {Payer} */
export const onPhone = {
  ending: "00",
  label: "You answer on the phone",
  hint: "A prompt appears on the payer’s phone. Answer it before the time is up.",
};

/** @type {Payer} */
export const onPage = {
  ending: "",
  label: "You answer on the provider’s page",
  hint: "The provider’s page opens and then returns you here.",
};

/** @type {{ label: string, payers: Payer[] }[]} */
const groups = [
  {
    label: "Pays",
    payers: [
      { ending: "01", label: "Approves after one second", hint: "The webhook arrives and the order is paid." },
      {
        ending: "09",
        label: "Pays late, after the deadline",
        hint: "The order expires. The payment arrives 3 seconds after the deadline, and the order is paid.",
      },
    ],
  },
  {
    label: "Does not pay",
    payers: [
      { ending: "02", label: "Cancels", hint: "The payment fails. You can try again." },
      { ending: "03", label: "Has too little money", hint: "The payment fails. You can try again." },
      { ending: "04", label: "Types a wrong PIN", hint: "The payment fails. You can try again." },
      { ending: "05", label: "Never answers", hint: "After 5 seconds the provider reports that there was no answer." },
      { ending: "20", label: "Is busy with another request", hint: "The provider refuses the payment at once." },
    ],
  },
  {
    label: "When things go wrong",
    payers: [
      { ending: "06", label: "The webhook never arrives", hint: "Tukio queries the provider and gets the result." },
      { ending: "07", label: "The webhook arrives three times", hint: "The order changes only once." },
      {
        ending: "08",
        label: "The webhook arrives too early",
        hint: "It arrives before the answer to Tukio’s request.",
      },
      {
        ending: "10",
        label: "Pays another amount",
        hint: "A person must review the payment, if the provider reports the amount.",
      },
      {
        ending: "11",
        label: "The provider’s answer is lost",
        hint: "The result is unknown until the webhook arrives.",
      },
      { ending: "12", label: "The provider is down", hint: "The result is unknown until the deadline." },
    ],
  },
];

/** Not with a redirect, because 11 and 12 never give the page's address, and 09 would pay on a page that is closed. */
const withoutRedirect = ["09", "11", "12"];

/** The providers that report a phone with an open prompt as busy. */
const reportsBusy = ["daraja"];

/**
 * Returns the payers that a payment method supports, in groups. Those that the visitor plays come first.
 * @param {{ provider: string, redirects: boolean }} choice
 */
export function payersFor({ provider, redirects }) {
  /** @param {Payer} payer */
  const isSupported = ({ ending }) =>
    redirects
      ? !withoutRedirect.includes(ending) && ending !== "20"
      : ending !== "20" || reportsBusy.includes(provider);
  return [
    { label: "You decide", payers: redirects ? [onPage, onPhone] : [onPhone] },
    ...groups.map(({ label, payers }) => ({ label, payers: payers.filter(isSupported) })),
  ];
}

/** Returns the payer that a number stands for. For any other number, the visitor answers. @param {string} digits */
export function payerOf(digits) {
  const ending = digits.slice(-2);
  return groups.flatMap(({ payers }) => payers).find((payer) => payer.ending === ending) ?? onPhone;
}
