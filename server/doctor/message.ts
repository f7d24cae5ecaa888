/** The checks of what sends messages: the mail server and the SMS gateway. A login and a read balance, and no message. */
import type { MailSettings } from "../config/mail.ts";
import type { SmsConfig } from "../config/sms.ts";
import { verifySmtp } from "../notification/mail/verify.ts";
import type { SmsGateway } from "../notification/sms/gateway.ts";
import { CallFailed } from "../provider/http-client.ts";
import type { Probe } from "../provider/provider.ts";
import { type Check, error, type Finding, ok, warning } from "./check.ts";
import { codeOf } from "./text.ts";

export interface MailCheckOptions extends MailSettings {
  /** Whether a provider moves money: other payments use no mail server. */
  hasLiveProvider: boolean;
}

export const mailCheck = ({ mail, merchantEmail, hasLiveProvider }: MailCheckOptions): Check => ({
  id: "mail",
  name: "Mail",
  async run(signal) {
    if (!mail) return withoutMail(hasLiveProvider);
    const { host, port } = mail.smtp;
    const server = `The mail server ${host}:${port}`;
    const found = await verifySmtp(mail.smtp, signal);
    if (!found.isOk) return explainMail(server, found);
    const login = mail.smtp.auth ? "accepts the login" : "answers";
    if (merchantEmail !== undefined) return ok(`${server} ${login}.`);
    return warning(
      `${server} ${login}, but MERCHANT_EMAIL is not set: nobody receives alerts.`,
      "Set MERCHANT_EMAIL to the address that receives them.",
    );
  },
});

function explainMail(server: string, { code, text }: { code: string; text: string }): Finding {
  const words = text === "" ? code : `${code}: ${text}`;
  if (code === "EAUTH")
    return error(
      `${server} refuses the login (${words}).`,
      "Compare the user and the password in SMTP_URL with the mail account; both are percent-encoded.",
    );
  if (code === "ETLS")
    return error(
      `${server} offers no TLS that can be used (${words}).`,
      "Use smtps:// with port 465, or a server that offers STARTTLS.",
    );
  return error(
    `${server} cannot be used (${words}).`,
    "Look whether this node reaches the host and port of SMTP_URL; many hosters block port 25.",
  );
}

const withoutMail = (hasLiveProvider: boolean): Finding =>
  hasLiveProvider
    ? warning(
        "No mail server is configured: payers get no receipts and you get no alerts by mail.",
        "Set SMTP_URL, MAIL_FROM and MERCHANT_EMAIL.",
      )
    : ok("No mail server is configured, and none is needed: mails about test payments stay in the sandbox's inbox.");

export interface SmsCheckOptions {
  sms: SmsConfig | undefined;
  /** The gateway of live payments. */
  gateway: SmsGateway | undefined;
}

const gatewayNames = { africastalking: "Africa's Talking", beem: "Beem", http: "The SMS gateway" } as const;

export const smsCheck = ({ sms, gateway }: SmsCheckOptions): Check => ({
  id: "sms",
  name: "SMS",
  async run(signal) {
    if (!sms || !gateway) return ok("No SMS gateway is configured: no SMS is sent.");
    const name = gatewayNames[sms.provider];
    if (!gateway.probe)
      return ok(
        `${name} at ${new URL(sms.url).host} was not checked, because only a text would show whether it takes one.`,
      );
    try {
      return explainGateway(name, await gateway.probe(signal));
    } catch (cause) {
      const code = cause instanceof CallFailed ? cause.code : codeOf(cause);
      return error(
        `${name} did not answer (${code}).`,
        `Look whether this node reaches ${new URL(sms.url).host}, and SMS_URL.`,
      );
    }
  },
});

function explainGateway(
  name: string,
  { status, isJson, text, balance }: Probe & { balance?: string | undefined },
): Finding {
  const words = `HTTP ${status}${text === "" ? "" : ` with ${text}`}`;
  if (status === 401 || status === 403)
    return error(
      `${name} refuses the credentials: it answered ${words}.`,
      "Compare SMS_API_KEY and SMS_USERNAME or SMS_API_SECRET with the gateway's portal.",
    );
  if (status >= 300 || !isJson)
    return warning(
      `${name} was not checked: it answered ${words}.`,
      "Send yourself an SMS by a small payment; run the doctor again later.",
    );
  const amount = balance === undefined ? "" : `; the balance is ${balance}`;
  return balance !== undefined && Number(balance.replace(/[^\d.-]/g, "")) <= 0
    ? warning(`${name} accepts the credentials${amount}.`, "Buy credit at the gateway: it refuses texts without it.")
    : ok(`${name} accepts the credentials${amount}.`);
}
