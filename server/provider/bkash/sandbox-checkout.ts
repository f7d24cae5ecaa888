/** A payment in the sandbox of bKash, and bKash's messages about it. Pure, except for random identifiers. */
import { randomBytes, randomInt } from "node:crypto";
import type { PayerAnswer, Scenario } from "../../sandbox/phone.ts";
import type { FaultCode } from "./sandbox-gateway.ts";

/** The result of the payer's visit to bKash's page: the `status` in the return URL. */
export type Visit = "success" | "failure" | "cancel";

/** The result of the payer's visit, and the code with which Execute then answers. `0000` takes the money. */
export interface Ending {
  visit: Visit;
  executeCode: "0000" | FaultCode;
  /** The wallet that pays, in local form. */
  wallet?: string;
}

/**
 * bKash's page handles a wrong PIN and an empty wallet, and the browser then returns with "failure". The sandbox lets these payers
 * return with "success" instead, because Execute has a code for each case: each test number then has an outcome of its own.
 * `ignore`: the time for the PIN expired.
 */
export const endings: Record<PayerAnswer, Ending> = {
  approve: { visit: "success", executeCode: "0000" },
  cancel: { visit: "cancel", executeCode: "2056" },
  wrong_pin: { visit: "success", executeCode: "2014" },
  insufficient_funds: { visit: "success", executeCode: "2023" },
  ignore: { visit: "success", executeCode: "2019" },
};

export const failure: Ending = { visit: "failure", executeCode: "2056" };

/** A completed payment. */
export interface Paid {
  trxID: string;
  amount: string;
  at: Date;
}

export interface Checkout {
  paymentID: string;
  /** The secret in the URL of the payment's page. */
  token: string;
  /** Part of the return URL. The same for each status, as at bKash. */
  signature: string;
  /** In the form of the request, such as `599.00`. */
  amount: string;
  payerReference: string;
  callbackURL: string;
  merchantInvoiceNumber: string;
  createdAt: Date;
  scenario: Scenario;
  ending?: Ending;
  /** Id of the prompt on the payer's phone, if there is one. */
  promptId?: string;
  /** Execute was called. */
  isExecuted: boolean;
  paid?: Paid;
}

type CheckoutFields = Pick<
  Checkout,
  "amount" | "payerReference" | "callbackURL" | "merchantInvoiceNumber" | "createdAt" | "scenario"
>;

const letters = (length: number): string =>
  Array.from({ length }, () => randomInt(36).toString(36).toUpperCase()).join("");

export const openCheckout = (fields: CheckoutFields): Checkout => ({
  ...fields,
  paymentID: `TR0011${letters(16)}`,
  token: randomBytes(24).toString("base64url"),
  signature: letters(10),
  isExecuted: false,
});

/** Takes the money. Takes 1 more than requested if the scenario pays a wrong amount. */
export function pay({ amount, scenario }: Checkout, at: Date): Paid {
  const [whole, decimals] = amount.split(".");
  return { trxID: letters(10), amount: scenario.paysWrongAmount ? `${Number(whole) + 1}.${decimals}` : amount, at };
}

/** Appends the parameters with `&` if the URL already has a query string, as bKash does. */
function returnAddress(checkout: Checkout, status: Visit): string {
  const { callbackURL, paymentID, signature } = checkout;
  const query = new URLSearchParams({ paymentID, status, signature });
  return `${callbackURL}${callbackURL.includes("?") ? "&" : "?"}${query}`;
}

/** The URL to which the browser returns. As at bKash, it has one parameter more than the URLs in the answer to Create. */
export const returnTarget = (checkout: Checkout, status: Visit): string =>
  `${returnAddress(checkout, status)}&apiVersion=1.2.0-beta%2F`;

const successful = { statusCode: "0000", statusMessage: "Successful" };

export const created = (checkout: Checkout, bkashURL: string): object => ({
  ...successful,
  paymentID: checkout.paymentID,
  bkashURL,
  callbackURL: checkout.callbackURL,
  successCallbackURL: returnAddress(checkout, "success"),
  failureCallbackURL: returnAddress(checkout, "failure"),
  cancelledCallbackURL: returnAddress(checkout, "cancel"),
  amount: checkout.amount,
  intent: "sale",
  currency: "BDT",
  paymentCreateTime: dhakaTime(checkout.createdAt),
  transactionStatus: "Initiated",
  merchantInvoiceNumber: checkout.merchantInvoiceNumber,
});

/** The wallet that paid. A payer who answered on the phone paid with that number. */
const walletOf = ({ ending, payerReference }: Checkout): string => ending?.wallet ?? payerReference;

export const executed = (checkout: Checkout, paid: Paid): object => ({
  ...successful,
  paymentID: checkout.paymentID,
  trxID: paid.trxID,
  transactionStatus: "Completed",
  amount: paid.amount,
  currency: "BDT",
  intent: "sale",
  paymentExecuteTime: dhakaTime(paid.at),
  merchantInvoiceNumber: checkout.merchantInvoiceNumber,
  payerType: "Customer",
  payerReference: checkout.payerReference,
  customerMsisdn: walletOf(checkout),
  payerAccount: walletOf(checkout),
  maxRefundableAmount: paid.amount,
});

export const queried = (checkout: Checkout): object => ({
  paymentID: checkout.paymentID,
  mode: "0011",
  paymentCreateTime: dhakaTime(checkout.createdAt),
  ...(checkout.paid && { paymentExecuteTime: dhakaTime(checkout.paid.at), trxID: checkout.paid.trxID }),
  amount: checkout.paid?.amount ?? checkout.amount,
  currency: "BDT",
  intent: "sale",
  // Recorded replies have this name. The documentation and the reply of Execute have `merchantInvoiceNumber`.
  merchantInvoice: checkout.merchantInvoiceNumber,
  transactionStatus: checkout.paid ? "Completed" : "Initiated",
  verificationStatus: checkout.ending?.visit === "success" ? "Complete" : "Incomplete",
  payerReference: checkout.payerReference,
  ...successful,
});

/** The notification in the form of Amazon SNS. Its signature is invalid; the node treats it as a reason to query. */
export function notified(checkout: Checkout, paid: Paid): object {
  const message = {
    dateTime: dhakaTime(paid.at).replace(/\D/g, "").slice(0, 14),
    debitMSISDN: `88${walletOf(checkout)}`,
    creditOrganizationName: "Sandbox",
    creditShortCode: "0001***",
    trxID: paid.trxID,
    transactionStatus: "Completed",
    transactionType: "10002294",
    // Without decimals, unlike in the other messages (developer.bka.sh, "Instant Payment Notification").
    amount: String(Number(paid.amount)),
    currency: "BDT",
    transactionReference: checkout.payerReference,
    merchantInvoiceNumber: checkout.merchantInvoiceNumber,
  };
  const host = "https://sns.ap-southeast-1.amazonaws.com";
  return {
    Type: "Notification",
    MessageId: randomBytes(16).toString("hex"),
    TopicArn: "arn:aws:sns:ap-southeast-1:000000000000:sandbox",
    Message: JSON.stringify(message),
    Timestamp: paid.at.toISOString(),
    SignatureVersion: "1",
    // 64 bytes are too short for a signature, so the node fetches no certificate to check it.
    Signature: randomBytes(64).toString("base64"),
    SigningCertURL: `${host}/SimpleNotificationService-sandbox.pem`,
    UnsubscribeURL: `${host}/?Action=Unsubscribe`,
  };
}

/** bKash's format has a colon before the milliseconds. Bangladesh is always six hours ahead of UTC. */
const dhakaTime = (at: Date): string => {
  const ahead = new Date(at.getTime() + 6 * 3_600_000).toISOString();
  return `${ahead.slice(0, 19)}:${ahead.slice(20, 23)} GMT+0600`;
};
