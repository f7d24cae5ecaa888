/** The sandbox of the HTTP gateway: a program of the merchant's, as docs/notifications.md describes it. */
import { randomUUID } from "node:crypto";
import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { isSame } from "../../../auth/keys.ts";
import { Fault, handleFaults, parseEveryBodyAsJson } from "../../../sandbox/fault.ts";
import type { IsMerchant, Sandbox, SandboxContext } from "../../../sandbox/server.ts";
import { createSmsRunner, smsScenarioOf } from "../../../sandbox/sms.ts";
import { partsOf } from "../parts.ts";

const account = (secretOf: (variable: string) => string) => ({ API_KEY: secretOf("API_KEY") });

type HttpAccount = ReturnType<typeof account>;

/** `reportUrl`: where the delivery reports go. */
export const httpGatewaySandbox = (reportUrl: () => URL) =>
  ({
    account,
    serve: (app, context) => serve(app, context, reportUrl),
  }) satisfies Sandbox<HttpAccount>;

const refusal = (status: number, error: string, permanent = false): Fault =>
  new Fault(status, { accepted: false, error, permanent });

const requestBody = z.object({
  id: z.uuid(),
  to: z.string().regex(/^\+\d{8,15}$/),
  text: z.string().min(1),
  from: z.string().optional(),
});

function serve(app: FastifyInstance, context: SandboxContext<HttpAccount>, reportUrl: () => URL): IsMerchant {
  const isMerchant: IsMerchant = ({ headers }) =>
    isSame(headers.authorization ?? "", `Bearer ${context.account.API_KEY}`);
  const runSms = createSmsRunner(app, context);
  handleFaults(app, { notFound: () => refusal(404, "not found"), internal: () => new Fault(500) });
  parseEveryBodyAsJson(app);

  app.post("", async (request, reply) => {
    if (!isMerchant(request)) throw refusal(401, "the key is wrong");
    const parsed = requestBody.safeParse(request.body);
    if (!parsed.success) throw refusal(400, "a field is missing or wrong");
    const { id, to, text, from = "SHOP" } = parsed.data;
    if (smsScenarioOf(to) === "refused") throw refusal(422, "the number is barred", true);
    await runSms({
      sms: { phone: to, from, text },
      reply,
      report: (status) => ({ url: reportUrl().href, body: JSON.stringify({ id, status }) }),
    });
    return { accepted: true, id: randomUUID(), parts: partsOf(text).parts };
  });
  return isMerchant;
}
