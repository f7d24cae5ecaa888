/**
 * The sandbox of Africa's Talking: the request for SMS, and the delivery report to the URL that a merchant enters in the dashboard. The
 * answers are recorded ones (test/fixture/africastalking); the texts for missing fields are invented, and so is the cost. An answer is
 * JSON whatever `Accept` asks for.
 */
import { randomBytes } from "node:crypto";
import type { FastifyInstance } from "fastify";
import { isSame } from "../../../auth/keys.ts";
import { Fault, handleFaults } from "../../../sandbox/fault.ts";
import type { IsMerchant, Sandbox, SandboxContext } from "../../../sandbox/server.ts";
import { createSmsRunner, smsScenarioOf } from "../../../sandbox/sms.ts";
import { partsOf } from "../parts.ts";

const account = (secretOf: (variable: string) => string) => ({ USERNAME: "sandbox", API_KEY: secretOf("API_KEY") });

type AfricasTalkingAccount = ReturnType<typeof account>;

/** `reportUrl`: where the delivery reports go. */
export const africasTalkingSandbox = (reportUrl: () => URL) =>
  ({
    account,
    serve: (app, context) => serve(app, context, reportUrl),
  }) satisfies Sandbox<AfricasTalkingAccount>;

/** The sender if the merchant has none of its own. */
const defaultSender = "AFRICASTKNG";

interface Recipient {
  statusCode: number;
  number: string;
  status: string;
  cost: string;
  messageId: string;
  messageParts?: number;
}

const answerOf = (recipient: Recipient): object => {
  const isSent = recipient.statusCode === 101;
  return {
    SMSMessageData: {
      Message: `Sent to ${isSent ? 1 : 0}/1 Total Cost: ${recipient.cost}`,
      Recipients: [recipient],
    },
  };
};

function serve(app: FastifyInstance, context: SandboxContext<AfricasTalkingAccount>, reportUrl: () => URL): IsMerchant {
  const { USERNAME, API_KEY } = context.account;
  const isMerchant: IsMerchant = ({ headers }) => isSame(String(headers.apikey ?? ""), API_KEY);
  const runSms = createSmsRunner(app, context);
  handleFaults(app, { notFound: () => new Fault(404), internal: () => new Fault(500) });
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("*", { parseAs: "string" }, (_request, text, done) => done(null, String(text)));

  app.post("/version1/messaging", async (request, reply) => {
    const form = new URLSearchParams(typeof request.body === "string" ? request.body : "");
    if (!isMerchant(request) || form.get("username") !== USERNAME) {
      return reply.code(401).type("text/plain").send("The supplied authentication is invalid");
    }
    const missing = ["to", "message"].find((name) => !form.get(name));
    if (missing !== undefined) return reply.code(400).type("text/plain").send(`Must have ${missing} in your request`);
    const number = form.get("to") ?? "";
    const text = form.get("message") ?? "";
    const refused = (statusCode: number, status: string): object =>
      answerOf({ statusCode, number, status, cost: "0", messageId: "None" });
    reply.code(201);
    if (!/^\+\d{8,15}$/.test(number)) return refused(403, "InvalidPhoneNumber");
    if (smsScenarioOf(number) === "refused") return refused(406, "UserInBlacklist");
    const messageId = `ATXid_${randomBytes(16).toString("hex")}`;
    await runSms({
      sms: { phone: number, from: form.get("from") ?? defaultSender, text },
      reply,
      report: (status) => reportOf(reportUrl(), { messageId, number, status }),
    });
    const { parts } = partsOf(text);
    const cost = `KES ${(0.8 * parts).toFixed(4)}`;
    return answerOf({ statusCode: 101, number, status: "Success", cost, messageId, messageParts: parts });
  });
  return isMerchant;
}

function reportOf(
  url: URL,
  { messageId, number, status }: { messageId: string; number: string; status: "delivered" | "failed" },
) {
  const fields = {
    id: messageId,
    status: status === "delivered" ? "Success" : "Failed",
    phoneNumber: number,
    // "Athena", Africa's Talking's own sandbox.
    networkCode: "99999",
    retryCount: "0",
    ...(status === "failed" && { failureReason: "DeliveryFailure" }),
  };
  const headers = { "content-type": "application/x-www-form-urlencoded" };
  return { url: url.href, headers, body: new URLSearchParams(fields).toString() };
}
