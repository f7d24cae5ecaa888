/** The words of the prompt, in the style of each provider's own dialog on a phone. */

/** @typedef {{ provider: string, amountMinor: number, currency: string, merchant: string, account?: string, description?: string }} Request */

/**
 * @typedef {object} Dialog
 * @property {string} name The sender, as the phone shows it.
 * @property {string} question Who asks for how much, and for which account.
 * @property {string} pinLabel
 */

/**
 * @typedef {object} Style
 * @property {string} name
 * @property {string | undefined} [currency] The currency as the provider writes it: by default its ISO code.
 * @property {(amount: string, request: Request) => string} ask
 * @property {string} pinLabel
 */

/** Absent at providers that show no account. @param {string} words @param {string | undefined} account */
const withAccount = (words, account) => (account ? `${words}${account}` : "");

/** Safaricom's dialog, also for providers that sell M-Pesa. @type {Style} */
const mpesa = {
  name: "M-PESA",
  currency: "Ksh",
  ask: (amount, { merchant, account }) =>
    `Do you want to pay ${amount} to ${merchant}${withAccount(" Account no. ", account)}?`,
  pinLabel: "Enter M-PESA PIN:",
};

/** @type {Record<string, Style>} */
const styles = {
  daraja: mpesa,
  payhero: mpesa,
  lipana: mpesa,
  zenopay: {
    name: "Mobile money",
    currency: "TSh",
    ask: (amount, { merchant, account }) =>
      `You are about to pay ${amount} to ${merchant}${withAccount(". Reference: ", account)}.`,
    pinLabel: "Enter your PIN to confirm:",
  },
  bkash: {
    name: "bKash",
    currency: "Tk",
    ask: (amount, { merchant, account }) => `Payment of ${amount} to ${merchant}${withAccount(". Ref ", account)}.`,
    pinLabel: "Enter your bKash PIN:",
  },
  mtn: {
    name: "MTN MoMo",
    ask: (amount, { merchant, account }) =>
      `${merchant} requests a payment of ${amount}${withAccount(" for ", account)}. Do you approve it?`,
    pinLabel: "Enter your MoMo PIN to approve:",
  },
};

/** @type {Style} */
const plain = { ...mpesa, name: "Mobile money", currency: undefined, pinLabel: "Enter your PIN:" };

/** @param {Request} request @returns {Dialog} */
export function dialogOf(request) {
  const { name, ask, pinLabel, currency } = styles[request.provider] || plain;
  return { name, pinLabel, question: ask(amountOf(request, currency), request) };
}

/** An amount with its decimals, grouped: Ksh 1,500.00. @param {Request} request @param {string | undefined} symbol */
function amountOf({ amountMinor, currency }, symbol = currency) {
  const digits =
    new Intl.NumberFormat("en", { style: "currency", currency }).resolvedOptions().maximumFractionDigits || 0;
  const amount = new Intl.NumberFormat("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  return `${symbol}\u00a0${amount.format(amountMinor / 10 ** digits)}`;
}
