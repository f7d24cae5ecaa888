/** The shop's mails. */
import { createTransport } from "nodemailer";
import qrcode from "qrcode";
import { html } from "./page.js";

const { SMTP_URL, MAIL_FROM = "Events Shop <tickets@events.example>" } = process.env;

/** Without SMTP_URL, for a try, it only prints which mails it would send. */
const transport = createTransport(
  SMTP_URL ? { url: SMTP_URL, connectionTimeout: 10_000, socketTimeout: 10_000 } : { jsonTransport: true },
);

/** The same Message-ID each time, so that a mail program shows a repeated mail once. */
async function send({ id, email }, name, content) {
  await transport.sendMail({ ...content, from: MAIL_FROM, to: email, messageId: `<${id}.${name}@events.example>` });
  if (!SMTP_URL) console.log(`Mail to ${email}: ${content.subject}`);
}

export const sendWelcome = (order) =>
  send(order, "welcome-mail", {
    subject: "Welcome to the Events Shop",
    text: "Thank you for your first order. Your tickets come in a mail of their own.",
  });

export async function sendTickets(order, tickets, url) {
  // Attached files, because Gmail shows no images in `data:` URLs.
  const attachments = await Promise.all(
    tickets.map(async ({ number, code }) => ({
      filename: `ticket-${number}.png`,
      cid: `ticket-${number}`,
      content: await qrcode.toBuffer(code),
    })),
  );
  const list = tickets.map(({ number, show_name, code }) => `${number}. ${show_name}: ${code}`);
  const images = tickets.map(
    ({ number, show_name, code }) =>
      html`<p>${number}. ${show_name}<br><img src="cid:ticket-${number}" alt="${code}" width="200"></p>`,
  );
  const receipt = order.receipt ? `M-Pesa receipt: ${order.receipt}` : "";
  await send(order, "ticket-mail", {
    subject: `Your tickets: ${tickets.length}`,
    text: [...list, receipt, `All tickets: ${url}`].join("\n"),
    html: html`${images}<p>${receipt}</p><p><a href="${url}">All tickets</a></p>`,
    attachments,
  });
}
