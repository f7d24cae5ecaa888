/** The description of the page's route, for the API docs. */
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
