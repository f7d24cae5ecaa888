/** The descriptions of the page's routes, for the API docs. */
import { type Described, described, openedBy } from "../schema/route.ts";

const html = (description: string) => ({ description, type: "text/html" });

const retryLater = { "Retry-After": { type: "integer", minimum: 1, description: "Seconds." } };

const unknown = html("An HTML page, because no payment link has this address.");

const shared = { tag: "Pages for payers", security: openedBy.everyone } as const;

const page = (operationId: string, summary: string, description: string): Described =>
  described({
    ...shared,
    operationId,
    summary,
    description,
    answers: { 200: html("The page."), 404: unknown },
    problems: ["rate_limited", "internal", "store_unavailable"],
  });

export const openPage = page(
  "openPaymentPage",
  "The page on which a payer pays",
  "`lang` chooses the language. Reading the page changes nothing.",
);

export const printPage = page(
  "printPaymentPage",
  "The link's QR code on a page to print (A6)",
  "For a counter or a table.",
);

export const payOnPage = described({
  ...shared,
  operationId: "payOnPage",
  summary: "Start a payment on the page",
  description: "The form of the page: `provider`, `phone` and, where the payer enters it, `amount`.",
  answers: {
    303: {
      description: "Redirects to the page, which shows the payment.",
      headers: { Location: { type: "string", description: "The page, relative to this address." } },
    },
    400: html("The page, which names the field that is wrong."),
    404: unknown,
    409: html("The page, which says why no payment was started."),
    429: { ...html("The page, which says when the payer may try again."), headers: retryLater },
    503: { ...html("The page, which asks the payer to try again."), headers: retryLater },
  },
  problems: ["body_invalid", "origin_refused", "body_too_large", "rate_limited", "internal", "store_unavailable"],
});
