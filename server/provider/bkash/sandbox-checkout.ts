/** A payment at the sandbox of bKash, and bKash's words about it. Pure but for chance. */
import { randomBytes, randomInt } from "node:crypto";
import type { PayerAnswer, Scenario } from "../../sandbox/phone.ts";
import type { FaultCode } from "./sandbox-gateway.ts";

/** How the payer's visit to bKash's page ended, as the returning browser says it. */
export type Visit = "success" | "failure" | "cancel";

/** What became of the payer, and what Execute says then: nothing more (`0000`) when the money may move. */
export interface Ending {
  visit: Visit;
  verdict: "0000" | FaultCode;
  /** The wallet that pays; local form. */
  wallet?: string;
}

/**
 * bKash's page deals with wrong PINs and empty wallets itself, and the browser then says "failure". So that each has a
 * number of its own, these payers get as far as Execute, which has codes for them. `ignore`: the time for the PIN ran out.
 */
export const endings: Record<PayerAnswer, Ending> = {
  approve: { visit: "success", verdict: "0000" },
  cancel: { visit: "cancel", verdict: "2056" },
  wrong_pin: { visit: "success", verdict: "2014" },
  insufficient_funds: { visit: "success", verdict: "2023" },
  ignore: { visit: "success", verdict: "2019" },
};

export const failure: Ending = { visit: "failure", verdict: "2056" };

/** Money that has moved. */
export interface Paid {
  trxID: string;
  amount: string;
  at: Date;
}

export interface Checkout {
  paymentID: string;
  /** Opens the payment's page. */
  token: string;
  /** Of the return address; the same whatever the status, as at bKash. */
  signature: string;
  /** As it was sent, such as `599.00`. */
  amount: string;
  payerReference: string;
  callbackURL: string;
  merchantInvoiceNumber: string;
  createdAt: Date;
  scenario: Scenario;
  ending?: Ending;
  /** Id of the prompt on the payer's phone, if there is one. */
  promptId?: string;
  /** Said once. */
  isExecuted: boolean;
  paid?: Paid;
}

type Asked = Pick<
  Checkout,
  "amount" | "payerReference" | "callbackURL" | "merchantInvoiceNumber" | "createdAt" | "scenario"
>;

const letters = (length: number): string =>
  Array.from({ length }, () => randomInt(36).toString(36).toUpperCase()).join("");

export const openCheckout = (asked: Asked): Checkout => ({
  ...asked,
  paymentID: `TR0011${letters(16)}`,
  token: randomBytes(24).toString("base64url"),
  signature: letters(10),
  isExecuted: false,
});

/** What is taken: of those whose number says so, another amount than was asked. */
export function pay({ amount, scenario }: Checkout, at: Date): Paid {
  const [whole, decimals] = amount.split(".");
  return { trxID: letters(10), amount: scenario.paysWrongAmount ? `${Number(whole) + 1}.${decimals}` : amount, at };
}

/** bKash joins with `&` where the address has a query already. */
function returnAddress(checkout: Checkout, status: Visit): string {
  const { callbackURL, paymentID, signature } = checkout;
  const query = new URLSearchParams({ paymentID, status, signature });
  return `${callbackURL}${callbackURL.includes("?") ? "&" : "?"}${query}`;
}

/** Where the browser is really sent: with one thing more than create told. */
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

/** The wallet that paid; a phone that never saw the page stands for its own. */
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
  // As in recorded replies: the documentation, and Execute, call it merchantInvoiceNumber.
  merchantInvoice: checkout.merchantInvoiceNumber,
  transactionStatus: checkout.paid ? "Completed" : "Initiated",
  verificationStatus: checkout.ending?.visit === "success" ? "Complete" : "Incomplete",
  payerReference: checkout.payerReference,
  ...successful,
});

/**
 * The notification as Amazon SNS posts it. Its signature is none: there is no Amazon here to vouch for it, and the hub
 * takes a notification for a hint.
 */
export function notified(checkout: Checkout, paid: Paid): object {
  const message = {
    dateTime: dhakaTime(paid.at).replace(/\D/g, "").slice(0, 14),
    debitMSISDN: `88${walletOf(checkout)}`,
    creditOrganizationName: "Sandbox",
    creditShortCode: "0001***",
    trxID: paid.trxID,
    transactionStatus: "Completed",
    transactionType: "10002294",
    // Without the decimals that the other messages have.
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
    // Only Amazon can sign. This is too short for a signature, so that no certificate is fetched for it.
    Signature: randomBytes(64).toString("base64"),
    SigningCertURL: `${host}/SimpleNotificationService-sandbox.pem`,
    UnsubscribeURL: `${host}/?Action=Unsubscribe`,
  };
}

/** bKash's own form: milliseconds after a colon. Bangladesh is six hours ahead of UTC all year. */
const dhakaTime = (at: Date): string => {
  const ahead = new Date(at.getTime() + 6 * 3_600_000).toISOString();
  return `${ahead.slice(0, 19)}:${ahead.slice(20, 23)} GMT+0600`;
};
