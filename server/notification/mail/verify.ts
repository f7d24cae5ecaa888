/** Whether the mail server takes the login now. Sends nothing. */
import { createTransport } from "nodemailer";
import type { MailConfig } from "../../config/mail.ts";

export type VerifiedSmtp =
  | { isOk: true }
  | {
      isOk: false;
      /** A code of nodemailer or of the system, such as `EAUTH` or `ECONNREFUSED`. */
      code: string;
      /** What the server or the system answered, without the user and the password, cut to 200 characters; "" without an answer. */
      text: string;
    };

const textLengthMax = 200;

/** Connects, begins TLS if the server offers it, and logs in. Ends within 8 s. */
export async function verifySmtp(smtp: MailConfig["smtp"], signal: AbortSignal): Promise<VerifiedSmtp> {
  const transport = createTransport({
    ...smtp,
    connectionTimeout: 3_000,
    greetingTimeout: 3_000,
    socketTimeout: 7_000,
  });
  const close = (): void => transport.close();
  signal.addEventListener("abort", close, { once: true });
  try {
    await transport.verify();
    return { isOk: true };
  } catch (error) {
    const { code = "failed", response, message = "" } = error as { code?: string; response?: string; message?: string };
    // Without an answer, the system's reason, such as ECONNREFUSED.
    const [reason = ""] = /\bE[A-Z]{4,}\b/.exec(message) ?? [];
    return { isOk: false, code, text: masked(response ?? reason, smtp.auth).slice(0, textLengthMax) };
  } finally {
    signal.removeEventListener("abort", close);
    close();
  }
}

/** Masks the login, also as the protocol encodes it, and control characters. */
function masked(text: string, auth: MailConfig["smtp"]["auth"]): string {
  const { user = "", pass = "" } = auth ?? {};
  const base64 = [user, pass, `\0${user}\0${pass}`].map((one) => Buffer.from(one).toString("base64"));
  return [pass, user, ...base64]
    .filter(({ length }) => length >= 4)
    .reduce((shown, secret) => shown.replaceAll(secret, "***"), text)
    .replace(/\p{Cc}+/gu, " ")
    .toWellFormed();
}
