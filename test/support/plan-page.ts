/** A plan's page in each of its states, and a server that shows them. */
import { randomBytes } from "node:crypto";
import type { AddressInfo } from "node:net";
import Fastify from "fastify";
import { onTestFinished } from "vitest";
import { assetRoute } from "../../server/http/static-files.ts";
import { sendPrivatePage } from "../../server/page/send.ts";
import { findPageFile, pageFilesPath } from "../../server/payment-link/page/document.ts";
import { renderPlan, renderUnknownPlan } from "../../server/plan/page/page.ts";
import type { PartState, PartView, PlanView } from "../../server/plan/page-view.ts";
import { shop } from "./checkout.ts";

const receipts = ["SLK4H7R6T2", "SLM9Q2W8E1", "SLN3B5V7C4"];

/** Monthly instalments of KES 3,333 from January 2027 on, with these states. */
export const partsOf = (...states: PartState[]): PartView[] =>
  states.map((state, index) => ({
    n: index + 1,
    dueAt: new Date(Date.UTC(2027, index, 15, 6)).toISOString(),
    amountMinor: index === 0 ? 333_400 : 333_300,
    state,
    path: `../pay/token-${index + 1}`,
    ...(state === "paid" && {
      paidAt: new Date(Date.UTC(2027, index, 14, 9)).toISOString(),
      receipt: receipts[index % receipts.length] ?? "",
    }),
  }));

const sumOf = (parts: readonly PartView[], isPaid: boolean): number =>
  parts
    .filter(({ state }) => (state === "paid") === isPaid && state !== "cancelled")
    .reduce((sum, { amountMinor }) => sum + amountMinor, 0);

/** A plan with these instalments. `change` replaces parts of the view. */
export const planViewOf = (parts: readonly PartView[], change: Partial<PlanView> = {}): PlanView => ({
  shop,
  lang: "en",
  status: "active",
  description: "Phone, 128 GB, blue",
  currency: "KES",
  timeZone: "Africa/Nairobi",
  paidMinor: sumOf(parts, true),
  remainingMinor: sumOf(parts, false),
  count: parts.length,
  parts,
  isTest: false,
  actionPath: "token",
  nonce: "",
  ...change,
});

const many = (count: number, state: PartState): PartState[] => Array.from({ length: count }, () => state);

/** Of a plan without an end. */
const { remainingMinor: _remaining, count: _count, ...endless } = planViewOf(partsOf(...many(14, "paid"), "later"));

/** Every state of the page, by name. */
export const planStates: Readonly<Record<string, PlanView>> = {
  new: planViewOf(partsOf("dueToday", "later", "later"), { isTest: true }),
  started: planViewOf(partsOf("paid", "later", "later")),
  due: planViewOf(partsOf("paid", "dueToday", "later")),
  overdue: planViewOf(partsOf("paid", "overdue", "later")),
  "past-due": planViewOf(partsOf("paid", "overdue", "overdue", "later"), { status: "past_due" }),
  "in-progress": planViewOf(partsOf("paid", "inProgress", "later")),
  review: planViewOf(partsOf("paid", "review", "later")),
  "too-much": planViewOf(partsOf("paid", "later", "later", "later"), { isTooMuch: true }),
  paused: planViewOf(partsOf("paid", "overdue", "later"), { status: "paused" }),
  cancelled: planViewOf(partsOf("paid", "cancelled", "cancelled"), { status: "cancelled", remainingMinor: 0 }),
  completed: planViewOf(partsOf("paid", "paid", "paid"), { status: "completed" }),
  long: planViewOf(partsOf(...many(40, "paid"), ...many(80, "later")), { description: "Plot 7, Kitengela" }),
  "long-new": planViewOf(partsOf("dueToday", ...many(119, "later"))),
  "long-completed": planViewOf(partsOf(...many(120, "paid")), { status: "completed" }),
  endless: { ...endless, description: "Gym membership" },
  "endless-overdue": {
    ...endless,
    status: "past_due",
    parts: partsOf(...many(12, "paid"), "overdue", "overdue", "later"),
    description: "Gym membership",
  },
  nameless: planViewOf(partsOf("paid", "cancelled"), {
    status: "cancelled",
    description: undefined as never,
    remainingMinor: 0,
  }),
  keyless: planViewOf(partsOf("paid", "later").map(({ path: _path, ...part }) => part)),
};

export interface PlanServer {
  url: string;
  /** The view of a name. Default: the state of that name. */
  view: (name: string) => PlanView | undefined;
}

/** Serves the pages and their scripts. Closes when the test is over. */
export async function startPlanPages(): Promise<PlanServer> {
  const app = Fastify({ forceCloseConnections: true });
  const server: PlanServer = { url: "", view: (name) => planStates[name] };
  assetRoute(app, pageFilesPath, findPageFile);
  app.get<{ Params: { name: string }; Querystring: { lang?: PlanView["lang"] } }>("/plan/:name", (request, reply) => {
    const { lang = "en" } = request.query;
    const view = server.view(request.params.name);
    const page = { shop: { ...shop, ...view?.shop }, lang, nonce: randomBytes(16).toString("base64url") };
    const html = view ? renderPlan({ ...view, ...page }) : renderUnknownPlan(page);
    return sendPrivatePage(request, reply.code(view ? 200 : 404), { ...page, html });
  });
  await app.listen({ host: "127.0.0.1", port: 0 });
  onTestFinished(() => app.close());
  server.url = `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`;
  return server;
}
