/** The mailer, with a mail server. */
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { readConfig } from "../../server/config/config.ts";
import type { NoAttempt, Reply } from "../../server/delivery/receiver.ts";
import { connectionsMax, createMailer, type Mail, type PostToInbox } from "../../server/notification/mail/mailer.ts";
import { type DrippingAnswer, startDrippingServer } from "../support/dripping-server.ts";
import { startMailbox } from "../support/mailbox.ts";

const mail: Mail = {
  id: "019f.receipt",
  to: "asha@example.com",
  subject: "Receipt",
  html: "<p>Paid</p>",
  text: "Paid",
  isSandbox: false,
};

function open(url: string | undefined, postToInbox?: PostToInbox) {
  const settings = readConfig(url === undefined ? {} : { SMTP_URL: url, MAIL_FROM: "Asha's Books <shop@example.com>" });
  const mailer = createMailer({ mail: settings.mail, postToInbox, host: () => "pay.example.com" });
  onTestFinished(() => mailer.close());
  return mailer;
}

/** The error of a mail server. */
const refusal = (responseCode: number, message = "no") => Object.assign(new Error(message), { responseCode });

const never = new AbortController().signal;

const asReply = (reply: Reply | NoAttempt): Reply => {
  if ("deferMs" in reply) throw new Error("nothing was attempted");
  return reply;
};

/** A mail server until the text of the mail has come. */
function dripAfterMail(text: string): DrippingAnswer {
  if (text === "") return "220 slow\r\n";
  if (/^(EHLO|MAIL|RCPT)/.test(text)) return "250 ok\r\n";
  return /^DATA/.test(text) ? "354 go\r\n" : { before: "25" };
}

describe("mailer", () => {
  it("sends a mail in HTML and text with its own id, from the sender", async () => {
    const mailbox = await startMailbox();
    expect(await open(mailbox.url).send(mail, never)).toMatchObject({
      isDelivered: true,
      answer: expect.stringMatching(/^250/),
    });
    const [received] = mailbox.mails;
    expect(received).toMatchObject({
      messageId: "<019f.receipt@example.com>",
      to: "asha@example.com",
      subject: "Receipt",
    });
    for (const part of ["<p>Paid</p>", "\r\nPaid\r\n", "Auto-Submitted: auto-generated", "Asha's Books"]) {
      expect(received?.source).toContain(part);
    }
  });

  it.each([
    [550, "refuses the recipient for good", true],
    [450, "refuses the recipient for now", undefined],
  ])("after %i, which %s, reports whether another attempt is of use", async (code, _meaning, isFinal) => {
    const mailbox = await startMailbox({
      onRcptTo: (_address, _session, done) => done(refusal(code, "no such mailbox")),
    });
    const reply = asReply(await open(mailbox.url).send(mail, never));
    expect(reply).toMatchObject({ isDelivered: false, answer: `${code} no such mailbox` });
    expect(reply.isFinal).toBe(isFinal);
    expect(reply.error).toContain(String(code));
  });

  it("ends with a text that the server refuses for good", async () => {
    const mailbox = await startMailbox({
      onData(stream, _session, done) {
        stream.resume().on("end", () => done(refusal(554, "spam")));
      },
    });
    expect(await open(mailbox.url).send(mail, never)).toMatchObject({ isDelivered: false, isFinal: true });
  });

  it("tries again after a refused sender or login, and names no password", async () => {
    const sender = await startMailbox({ onMailFrom: (_address, _session, done) => done(refusal(550)) });
    const login = await startMailbox({ authOptional: false, onAuth: (_auth, _session, done) => done(refusal(535)) });
    const withLogin = login.url.replace("//", "//shop:hunter2-secret@");
    for (const url of [sender.url, withLogin]) {
      const reply = asReply(await open(url).send(mail, never));
      expect(reply).toMatchObject({ isDelivered: false });
      expect(reply.isFinal).toBeUndefined();
      expect(JSON.stringify(reply)).not.toContain("hunter2");
    }
  });

  it("fails when no server answers, and at its deadline when the server is silent", async () => {
    const dead = asReply(await open("smtp://127.0.0.1:1").send(mail, never));
    expect(dead).toMatchObject({ isDelivered: false, error: expect.stringContaining("ECONNREFUSED") });
    const deadline = new AbortController();
    const mailbox = await startMailbox();
    mailbox.beforeAccept = () => {
      deadline.abort(new DOMException("late", "TimeoutError"));
      return new Promise(() => undefined);
    };
    expect(await open(mailbox.url).send(mail, deadline.signal)).toMatchObject({
      isDelivered: false,
      error: "the mail server did not answer in time",
    });
  });

  it.each([
    ["the greeting", () => ({ before: "" })],
    ["the answer to a mail", dripAfterMail],
  ])(
    "closes its connections at the deadline of a server that drips %s, and sends the next mail",
    async (_at, answer) => {
      const server = await startDrippingServer(answer);
      const mailer = open(`smtp://127.0.0.1:${server.port}`);
      const deadline = new AbortController();
      const all = Array.from({ length: connectionsMax }, (_, n) =>
        mailer.send({ ...mail, id: `drip.${n}` }, deadline.signal),
      );
      await vi.waitUntil(() => server.dripping === connectionsMax, { timeout: 10_000 });
      deadline.abort(new DOMException("late", "TimeoutError"));
      expect(await Promise.all(all)).toEqual(
        Array(connectionsMax).fill(
          expect.objectContaining({ isDelivered: false, error: expect.stringMatching(/in time$/) }),
        ),
      );
      await vi.waitUntil(() => server.closed === connectionsMax, { timeout: 10_000 });
      // Another connection is free for it.
      const next = new AbortController();
      const sent = mailer.send({ ...mail, id: "next" }, next.signal);
      await vi.waitUntil(() => server.dripping === connectionsMax + 1, { timeout: 10_000 });
      next.abort(new DOMException("late", "TimeoutError"));
      await sent;
    },
  );

  it("throws when the process ends during an attempt, because its result is unknown", async () => {
    const end = new AbortController();
    const mailbox = await startMailbox();
    mailbox.beforeAccept = () => {
      end.abort();
      return new Promise(() => undefined);
    };
    await expect(open(mailbox.url).send(mail, end.signal)).rejects.toThrow();
  });

  it("takes no list of addresses, and adds no header, for what an order has as its address", async () => {
    const mailbox = await startMailbox();
    const mailer = open(mailbox.url);
    await mailer.send({ ...mail, to: "asha@example.com, other@example.com" }, never);
    await mailer.send({ ...mail, subject: "One\r\nBcc: other@example.com" }, never);
    expect(mailbox.mails.map(({ source }) => /^(Bcc|To: .*other)/im.test(source))).not.toContain(true);
  });

  it("keeps mails of test payments in the sandbox, and sends none without one", async () => {
    const mailbox = await startMailbox();
    const kept: object[] = [];
    const test = { ...mail, isSandbox: true };
    const mailer = open(mailbox.url, async (one) => void kept.push(one));
    expect(await mailer.send(test, never)).toMatchObject({ isDelivered: true });
    expect(kept).toMatchObject([
      { to: mail.to, messageId: "<019f.receipt@example.com>", html: mail.html, text: mail.text },
    ]);
    expect(mailbox.mails).toEqual([]);
    expect([mailer.canSend(test), mailer.canSend(mail)]).toEqual([true, true]);
    const other = open(undefined, async () => undefined);
    expect([other.canSend(test), other.canSend(mail)]).toEqual([true, false]);
    expect(await other.send(mail, never)).toMatchObject({ isDelivered: false });
    expect([open(mailbox.url).canSend(test), open(mailbox.url).canSend(mail)]).toEqual([false, true]);
  });

  it("fails when the inbox takes no mail", async () => {
    const mailer = open(undefined, async () => Promise.reject(new Error("the sandbox's inbox answered 503")));
    expect(await mailer.send({ ...mail, isSandbox: true }, never)).toMatchObject({
      isDelivered: false,
      error: "failed: the sandbox's inbox answered 503",
    });
  });
});
