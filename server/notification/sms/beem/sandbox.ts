/**
 * The sandbox of Beem: the request for SMS, and the delivery report to the URL that a merchant enters in the dashboard. The success is a
 * recorded answer, the codes are Beem's (adapter.ts); the HTTP statuses of errors are unverified.
 */
import { randomInt } from "node:crypto";
import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { isSame } from "../../../auth/keys.ts";
import { Fault, handleFaults, parseEveryBodyAsJson } from "../../../sandbox/fault.ts";
import type { IsMerchant, Sandbox, SandboxContext } from "../../../sandbox/server.ts";
import { createSmsRunner, smsScenarioOf } from "../../../sandbox/sms.ts";
import { isGsm } from "../parts.ts";

const account = (secretOf: (variable: string) => string) => ({
  API_KEY: secretOf("API_KEY"),
  SECRET_KEY: secretOf("SECRET_KEY"),
});

type BeemAccount = ReturnType<typeof account>;

/** `reportUrl`: where the delivery reports go. */
export const beemSandbox = (reportUrl: () => URL) =>
  ({
    account,
    serve: (app, context) => serve(app, context, reportUrl),
  }) satisfies Sandbox<BeemAccount>;

const fault = (status: number, code: number, message: string): Fault => new Fault(status, { code, message });

const requestBody = z.object({
  source_addr: z.string().min(1).max(15),
  encoding: z.union([z.literal(0), z.literal("0")]),
  schedule_time: z.literal("").optional(),
  message: z.string(),
  recipients: z.array(z.object({ recipient_id: z.union([z.number(), z.string()]), dest_addr: z.string() })).length(1),
});

function serve(app: FastifyInstance, context: SandboxContext<BeemAccount>, reportUrl: () => URL): IsMerchant {
  const { API_KEY, SECRET_KEY } = context.account;
  const basic = `Basic ${Buffer.from(`${API_KEY}:${SECRET_KEY}`).toString("base64")}`;
  const isMerchant: IsMerchant = ({ headers }) => isSame(headers.authorization ?? "", basic);
  const runSms = createSmsRunner(app, context);
  handleFaults(app, {
    notFound: () => fault(404, 113, "Invalid request format"),
    internal: () => fault(500, 103, "Network timeout"),
  });
  parseEveryBodyAsJson(app);

  app.post("/v1/send", async (request, reply) => {
    if (!request.headers.authorization) throw fault(401, 107, "No authorization headers");
    if (!isMerchant(request)) throw fault(401, 120, "Invalid Authentication Parameters");
    const { source_addr, message, recipients } = parseFields(request.body);
    const [recipient = { recipient_id: "", dest_addr: "" }] = recipients;
    const { recipient_id, dest_addr } = recipient;
    if (!/^\d{8,15}$/.test(dest_addr) || smsScenarioOf(dest_addr) === "refused") {
      throw fault(400, 101, "Invalid phone number");
    }
    const request_id = randomInt(10_000_000, 100_000_000);
    await runSms({
      sms: { phone: dest_addr, from: source_addr, text: message },
      reply,
      report: (status) => ({
        url: reportUrl().href,
        body: JSON.stringify({
          ...{ request_id, recipient_id, dest_addr },
          Status: status === "delivered" ? "DELIVERED" : "UNDELIVERED",
        }),
      }),
    });
    return {
      ...{ successful: true, request_id, code: 100, message: "Message Submitted Successfully" },
      ...{ valid: 1, invalid: 0, duplicates: 0 },
    };
  });
  return isMerchant;
}

function parseFields(body: unknown): z.infer<typeof requestBody> {
  const parsed = requestBody.safeParse(body);
  if (!parsed.success) throw fault(400, 104, "Please provide all required parameters");
  const { message } = parsed.data;
  if (message === "") throw fault(400, 109, "Invalid Message");
  if (!isGsm(message)) {
    throw fault(400, 110, "Enter a plain text message only. Special characters(Unicode) are not supported.");
  }
  return parsed.data;
}
