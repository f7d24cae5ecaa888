/**
 * Sends mails: about live payments by the merchant's mail server, about all others to the sandbox's inbox, so that nothing of a test
 * leaves the process.
 *
 * A mail is sent at least once. All attempts of one request have the same `Message-ID`, by which mailboxes recognise a repeat.
 * Replies contain what the server answered, which may name the recipient; they never contain the user or the password.
 */
import { createTransport } from "nodemailer";
import type { MailConfig } from "../../config/mail.ts";
import type { Reply } from "../../delivery/receiver.ts";
import type { MailContent } from "./layout.ts";

/** The merchant's address in the sandbox's inbox if none is configured. */
export const sandboxAddress = "merchant@example.com";

export interface Mail extends MailContent {
  to: string;
  /** Without angle brackets and domain. */
  id: string;
  /** It is about money that does not move. */
  isSandbox: boolean;
}

/** Puts a mail into the sandbox's inbox. Rejects if no node took it; it may then be sent again. */
export type PostToInbox = (
  mail: Pick<Mail, "to" | "subject" | "html" | "text"> & { messageId: string },
) => Promise<void>;

export interface Mailer {
  /** Whether mails about such money are sent at all. */
  canSend(kind: Pick<Mail, "isSandbox">): boolean;
  /** An abort of `signal` ends the attempt as for every receiver. */
  send(mail: Mail, signal: AbortSignal): Promise<Reply>;
  close(): void;
}

export interface MailerOptions {
  /** Absent: mails about live payments are not sent. */
  mail?: MailConfig | undefined;
  /** Absent: there is no sandbox. */
  postToInbox?: PostToInbox | undefined;
  /** The domain of message ids without a sender: the host of the public URL. */
  host: () => string;
}

export function createMailer({ mail: config, postToInbox, host }: MailerOptions): Mailer {
  const transport = config && createSmtp(config);
  const domain = (): string => config?.from.address.split("@").at(-1) ?? host();
  return {
    canSend: ({ isSandbox }) => (isSandbox ? postToInbox : transport) !== undefined,
    send({ id, isSandbox, ...mail }, signal) {
      const named = { ...mail, messageId: `<${id}@${domain()}>` };
      return attempt(signal, async () => {
        if (!isSandbox && transport) return transport(named, signal);
        if (!isSandbox || !postToInbox) throw new Error("this node sends no such mail");
        await postToInbox(named);
        return "kept in the sandbox's inbox";
      });
    },
    close: () => transport?.close(),
  };
}

type NamedMail = Parameters<PostToInbox>[0];

interface Smtp {
  /** Returns the server's answer. */
  (mail: NamedMail, signal: AbortSignal): Promise<string>;
  close(): void;
}

/** Connections to the mail server. 8, because each attempt waits for one within its 15 s. */
export const connectionsMax = 8;

function createSmtp({ smtp, from }: MailConfig): Smtp {
  const transport = createTransport({
    ...smtp,
    pool: true,
    maxConnections: connectionsMax,
    // The schedule of deliveries repeats.
    maxRequeues: 0,
    // A text of a merchant or a payer must not name a file or a URL to attach.
    disableFileAccess: true,
    disableUrlAccess: true,
    // Each is shorter than an attempt (15 s).
    connectionTimeout: 5_000,
    greetingTimeout: 8_000,
    socketTimeout: 12_000,
  });
  const send = async ({ to, ...mail }: NamedMail, signal: AbortSignal): Promise<string> => {
    const sent = await transport.sendMail({
      ...mail,
      from: { ...from },
      // Not a text, because a text may be a list of addresses.
      to: { name: "", address: to },
      headers: { "Auto-Submitted": "auto-generated", "X-Auto-Response-Suppress": "All" },
      signal,
    });
    return sent.response;
  };
  return Object.assign(send, { close: () => transport.close() });
}

/** Makes one attempt, and turns every failure into a reply. */
async function attempt(signal: AbortSignal, send: () => Promise<string>): Promise<Reply> {
  const startedMs = performance.now();
  const took = () => ({ isGone: false, durationMs: performance.now() - startedMs });
  try {
    const answer = await send();
    return { ...took(), isDelivered: true, answer: shown(answer) };
  } catch (error) {
    const isTimeout = signal.aborted && signal.reason instanceof Error && signal.reason.name === "TimeoutError";
    if (signal.aborted && !isTimeout) throw error;
    if (isTimeout) return { ...took(), isDelivered: false, error: "the mail server did not answer in time" };
    return { ...took(), isDelivered: false, ...failureOf(error) };
  }
}

/** The first 1 KiB, as of every answer. */
const shown = (text: string): string => Buffer.from(text).subarray(0, 1_024).toString("utf8").toWellFormed();

/** The fields of nodemailer's errors that are read. */
interface SmtpFailure {
  code?: string;
  responseCode?: number;
  command?: string;
  response?: string;
}

/**
 * A 5xx about the recipient or the text is final. One about the connection, the login or the sender is the merchant's configuration,
 * which may be corrected within the schedule.
 */
function failureOf(error: unknown): Pick<Reply, "error" | "answer" | "isFinal"> {
  const { code, responseCode, command = "", response } = error as SmtpFailure;
  const isFinal = responseCode !== undefined && responseCode >= 500 && /^(RCPT TO|DATA)/.test(command);
  // Without an answer the message says why there is no connection.
  const said = responseCode === undefined && error instanceof Error ? error.message : `${command} ${responseCode}`;
  return {
    error: `${code ?? "failed"}: ${said}`,
    ...(response !== undefined && { answer: shown(response) }),
    ...(isFinal && { isFinal }),
  };
}
