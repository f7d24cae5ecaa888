/**
 * bKash's page for the payer: wallet, then the code that bKash sends to it, then the PIN; cancel at any time. Plain forms,
 * no script; every step is a page of its own, so that reload and back do no harm. The payer's browser then goes back to the
 * merchant, which is all that it does: no money moves here.
 *
 * Wallets, code and PIN are those that bKash publishes for its own sandbox. Any other wallet does as its last two digits
 * say, as a phone does.
 */
import type { FastifyInstance, FastifyReply } from "fastify";
import { z } from "zod";
import { scenarioOf } from "../../sandbox/phone.ts";
import { type Checkout, type Ending, endings, failure, returnTarget } from "./sandbox-checkout.ts";
import { pagePolicy, type Shown, showPage } from "./sandbox-view.ts";

export interface PageOptions {
  /** The payment whose page this token opens. */
  find(token: string): Checkout | undefined;
  /** Ends the payer's visit. */
  end(checkout: Checkout, ending: Ending): void;
}

/** What the payer has got right so far, and what was wrong just now. */
interface Visit {
  wallet?: string;
  isCodeRight?: boolean;
  wrongCount: number;
  problem?: string;
}

const code = "123456";
const pin = "12121";
const wrongCountMax = 3;

/** bKash's demo wallets that cannot pay. */
const unable: ReadonlyMap<string, Ending> = new Map([
  ["01823074817", endings.insufficient_funds],
  ["01823074818", { visit: "success", verdict: "2037" }],
]);

const form = z.object({
  token: z.string(),
  do: z.enum(["go", "cancel", "fail"]).catch("go"),
  value: z.string().max(64).catch(""),
});

export function servePage(app: FastifyInstance, { find, end }: PageOptions): void {
  const visits = new WeakMap<Checkout, Visit>();

  const visitOf = (checkout: Checkout): Visit => {
    const visit = visits.get(checkout) ?? { wrongCount: 0 };
    visits.set(checkout, visit);
    return visit;
  };

  /** Takes what was typed. Returns how the visit ends, if it does now. */
  const take = (visit: Visit, value: string): Ending | undefined => {
    delete visit.problem;
    const typed = value.replace(/[\s-]/g, "");
    if (visit.wallet === undefined) {
      const wallet = typed.replace(/^(\+?88)(?=01)/, "");
      if (/^01[3-9]\d{8}$/.test(wallet)) visit.wallet = wallet;
      else visit.problem = "This is not a wallet: eleven digits, such as 01770618575.";
      return undefined;
    }
    const isRight = typed === (visit.isCodeRight ? pin : code);
    if (isRight && visit.isCodeRight) return endingOf(visit.wallet);
    if (isRight) {
      Object.assign(visit, { isCodeRight: true, wrongCount: 0 });
      return undefined;
    }
    visit.wrongCount += 1;
    const left = wrongCountMax - visit.wrongCount;
    visit.problem = `That is not right. ${left === 1 ? "One try" : `${left} tries`} left.`;
    return left > 0 ? undefined : failure;
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
      if (ending) return show(reply, 200, { step: "over", checkout, onward: returnTarget(checkout, ending.visit) });
      const { wallet, isCodeRight, problem } = visitOf(checkout);
      const step = wallet === undefined ? "wallet" : isCodeRight ? "pin" : "code";
      return show(reply, 200, { step, checkout, problem, wallet });
    });

    scope.post("/redirect/", async ({ body }, reply) => {
      const { success, data } = form.safeParse(body);
      const checkout = success ? find(data.token) : undefined;
      if (!success || !checkout) return show(reply, 404, { step: "unknown" });
      const here = `?token=${encodeURIComponent(data.token)}`;
      if (checkout.ending) return reply.redirect(here, 303);
      const given = { cancel: endings.cancel, fail: failure, go: undefined }[data.do];
      const ending = given ?? take(visitOf(checkout), data.value);
      if (!ending) return reply.redirect(here, 303);
      end(checkout, ending);
      return reply.redirect(returnTarget(checkout, ending.visit), 302);
    });
  });
}

function endingOf(wallet: string): Ending {
  const asked = endings[scenarioOf(wallet).answer?.as ?? "approve"];
  return { ...(unable.get(wallet) ?? asked), wallet };
}
