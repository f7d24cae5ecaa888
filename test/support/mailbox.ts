/** A mail server that keeps what it receives. */
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { SMTPServer, type SMTPServerOptions } from "smtp-server";
import { onTestFinished } from "vitest";

export interface Mail {
  messageId: string;
  to: string;
  subject: string;
  /** The whole mail, with its headers. */
  source: string;
}

export interface Mailbox {
  /** For `SMTP_URL`. */
  url: string;
  mails: Mail[];
  /** Called before a mail is kept. If it rejects, the mail is neither kept nor answered. */
  beforeAccept: (mail: Mail) => Promise<void> | void;
  /** Called after a mail was kept, and before the answer. If it rejects, there is no answer. */
  afterAccept: (mail: Mail) => Promise<void> | void;
}

/** `options`: of the server, such as what it refuses. */
export async function startMailbox(options: SMTPServerOptions = {}): Promise<Mailbox> {
  const server = new SMTPServer({
    authOptional: true,
    disabledCommands: ["STARTTLS"],
    onData(stream, _session, callback) {
      void keep(stream).then(
        () => callback(),
        () => undefined,
      );
    },
    ...options,
  });
  const keep = async (stream: NodeJS.ReadableStream): Promise<void> => {
    const mail = toMail(await text(stream));
    await mailbox.beforeAccept(mail);
    mailbox.mails.push(mail);
    await mailbox.afterAccept(mail);
  };
  // A client that is killed resets its connection.
  server.on("error", () => undefined);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => new Promise<void>((resolve) => server.close(() => resolve())));
  const { port } = server.server.address() as AddressInfo;
  const mailbox: Mailbox = {
    url: `smtp://127.0.0.1:${port}`,
    mails: [],
    beforeAccept: () => undefined,
    afterAccept: () => undefined,
  };
  return mailbox;
}

const toMail = (source: string): Mail => {
  // A long header continues on the next line.
  const [headers = ""] = source.replace(/\r?\n[ \t]+/g, " ").split(/\r?\n\r?\n/, 1);
  const headerOf = (name: string): string => new RegExp(`^${name}: +(.*)$`, "im").exec(headers)?.[1]?.trim() ?? "";
  return { messageId: headerOf("Message-ID"), to: headerOf("To"), subject: headerOf("Subject"), source };
};

/** The attached picture with this Content-ID. */
export function pictureIn({ source }: Mail, contentId: string): Buffer {
  const part = source.split(/^--.*$/m).find((one) => one.includes(`Content-ID: <${contentId}>`));
  return Buffer.from(part?.split("\r\n\r\n")[1] ?? "", "base64");
}
