/** The descriptions of the page's routes, for the API docs. */
import { described, openedBy } from "../schema/route.ts";

export const openPage = described({
  tag: "Plans",
  security: openedBy.everyone,
  operationId: "openPlanPage",
  summary: "The payer's page of a plan",
  description:
    "Shows what is paid, what is next, what is overdue and what remains, and leads to the pages of the instalments. `lang` chooses the language. Reading the page changes nothing.",
  answers: {
    200: { description: "The page.", type: "text/html" },
    404: { description: "An HTML page, because no plan has this address.", type: "text/html" },
  },
  problems: ["rate_limited", "internal", "store_unavailable"],
});

export const paySeveral = described({
  tag: "Plans",
  security: openedBy.everyone,
  operationId: "paySeveralOnPlanPage",
  summary: "Pay several instalments on the page",
  description: "The form of the page: `n`, the number of the last instalment. Starts no payment.",
  answers: {
    303: {
      description:
        "Redirects to the page of a payment link for all open instalments up to `n`; to this page if there is none.",
      headers: { Location: { type: "string", description: "The page, relative to this address." } },
    },
    400: { description: "The page, because no provider takes the amount.", type: "text/html" },
    404: { description: "An HTML page, because no plan has this address.", type: "text/html" },
  },
  problems: ["body_invalid", "body_too_large", "rate_limited", "internal", "store_unavailable"],
});
