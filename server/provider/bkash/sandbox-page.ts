/**
 * bKash's page for the payer. The payer enters the wallet, then the code that bKash sends, then the PIN, and may cancel at
 * each step. Each step is a plain form on its own page, so reload and back are harmless. At the end the payer's browser
 * returns to the merchant. No money moves here.
 *
 * The wallets, the code and the PIN are the published ones of bKash's own sandbox. Any other wallet is a test number.
 */
import type { FastifyInstance, FastifyReply } from "fastify";
import { z } from "zod";
import { scenarioOf } from "../../sandbox/phone.ts";
import type { PaymentFacts } from "../../sandbox/prompt-view.ts";
import { type Checkout, type Ending, endings, failure, returnTarget } from "./sandbox-checkout.ts";
import { pagePolicy, type Shown, showPage } from "./sandbox-view.ts";

export interface PageOptions {
  /** Finds the payment of this page token. */
  find(token: string): Checkout | undefined;
  /** Ends the payer's visit. */
  end(checkout: Checkout, ending: Ending): void;
  /** Reads the merchant's order. */
  factsOf(checkout: Checkout): Promise<PaymentFacts | undefined>;
}

/** The progress of one payer. */
interface Visit {
  wallet?: string;
  isCodeRight?: boolean;
  /** Wrong codes or PINs in this step. */
  wrongCount: number;
  /** The error message of the last entry. */
  problem?: string;
}

const code = "123456";
const pin = "12121";
const wrongCountMax = 3;

/** bKash's demo wallets that cannot pay, with the ending of each. */
const walletsThatCannotPay: ReadonlyMap<string, Ending> = new Map([
  ["01823074817", endings.insufficient_funds],
  ["01823074818", { visit: "success", executeCode: "2037" }],
]);

const form = z.object({
  token: z.string(),
  do: z.enum(["go", "cancel", "fail"]).catch("go"),
  value: z.string().max(64).catch(""),
});

export function servePage(app: FastifyInstance, { find, end, factsOf }: PageOptions): void {
  const visits = new WeakMap<Checkout, Visit>();

  const visitOf = (checkout: Checkout): Visit => {
    const visit = visits.get(checkout) ?? { wrongCount: 0 };
    visits.set(checkout, visit);
    return visit;
  };

  app.register(async (scope) => {
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser("application/x-www-form-urlencoded", { parseAs: "string" }, (_request, text, done) =>
      done(null, Object.fromEntries(new URLSearchParams(String(text)))),
    );
    scope.addHook("onRequest", async (_request, reply) => {
      reply.headers({ "cache-control": "no-store", "content-security-policy": pagePolicy });
    });
    const show = (reply: FastifyReply, status: number, shown: Shown): FastifyReply =>
      reply.code(status).type("text/html; charset=utf-8").send(showPage(shown));

    scope.get<{ Querystring: { token?: unknown } }>("/redirect/", async ({ query }, reply) => {
      const checkout = find(String(query.token));
      if (!checkout) return show(reply, 404, { step: "unknown" });
      const { ending } = checkout;
      const known = { checkout, facts: await factsOf(checkout) };
      if (ending) return show(reply, 200, { step: "over", ...known, onward: returnTarget(checkout, ending.visit) });
      const { wallet, isCodeRight, problem } = visitOf(checkout);
      const step = wallet === undefined ? "wallet" : isCodeRight ? "pin" : "code";
      return show(reply, 200, { step, ...known, problem, wallet });
    });

    scope.post("/redirect/", async ({ body }, reply) => {
      const { success, data } = form.safeParse(body);
      const checkout = success ? find(data.token) : undefined;
      if (!success || !checkout) return show(reply, 404, { step: "unknown" });
      const here = `?token=${encodeURIComponent(data.token)}`;
      if (checkout.ending) return reply.redirect(here, 303);
      const given = { cancel: endings.cancel, fail: failure, go: undefined }[data.do];
      const ending = given ?? readEntry(visitOf(checkout), data.value);
      if (!ending) return reply.redirect(here, 303);
      end(checkout, ending);
      return reply.redirect(returnTarget(checkout, ending.visit), 302);
    });
  });
}

/** Reads the entry of the current step. Returns the ending if the visit ends now. */
function readEntry(visit: Visit, value: string): Ending | undefined {
  delete visit.problem;
  const entry = value.replace(/[\s-]/g, "");
  if (visit.wallet === undefined) {
    readWallet(visit, entry);
    return undefined;
  }
  const isRight = entry === (visit.isCodeRight ? pin : code);
  if (isRight && visit.isCodeRight) return endingOf(visit.wallet);
  if (isRight) {
    Object.assign(visit, { isCodeRight: true, wrongCount: 0 });
    return undefined;
  }
  visit.wrongCount += 1;
  const left = wrongCountMax - visit.wrongCount;
  visit.problem = `This is wrong. ${left === 1 ? "One try" : `${left} tries`} left.`;
  return left > 0 ? undefined : failure;
}

function readWallet(visit: Visit, entry: string): void {
  const wallet = entry.replace(/^(\+?88)(?=01)/, "");
  if (/^01[3-9]\d{8}$/.test(wallet)) visit.wallet = wallet;
  else visit.problem = "This is not a wallet number. Enter eleven digits, such as 01770618575.";
}

function endingOf(wallet: string): Ending {
  const ending = endings[scenarioOf(wallet).answer?.as ?? "approve"];
  return { ...(walletsThatCannotPay.get(wallet) ?? ending), wallet };
}
