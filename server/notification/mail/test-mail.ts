/** The mail by which a merchant tests the mail server before the first payment. */
import { randomUUID } from "node:crypto";
import { z } from "zod";
import { fieldError } from "../../errors.ts";
import type { Language } from "../../order/order.ts";
import { html } from "../../page/html.ts";
import { fillIn } from "../../page/language.ts";
import type { ShopView } from "../../page/shop.ts";
import { notificationWordsOf } from "../language.ts";
import type { TestResult } from "../notification.ts";
import * as layout from "./layout.ts";
import { type Mailer, sandboxAddress } from "./mailer.ts";

export function testMail({ shop, lang }: { shop: ShopView; lang: Language }): layout.MailContent {
  const { title, text, why } = notificationWordsOf(lang).testMail;
  const subject = layout.oneLine(`${title} – ${shop.name}`);
  const sentence = fillIn(text, { shop: shop.name });
  const main = html`${layout.heading(title, 24)}
${layout.paragraph(sentence)}`;
  return {
    subject,
    html: layout.mailDocument({ lang, shop, subject, main, notes: [why] }),
    text: layout.plainText([[title, sentence], [why]]),
  };
}

export interface TestMailOptions {
  mailer: Mailer;
  shop: () => ShopView;
  merchantEmail: string | undefined;
}

const address = z.email().max(254);

/** Sends a mail to the address, or to the merchant. Throws `body_invalid`, naming `to`. */
export async function sendTestMail(
  { mailer, shop, merchantEmail }: TestMailOptions,
  to: string | undefined,
  signal: AbortSignal,
): Promise<TestResult> {
  const isLive = mailer.canSend({ isSandbox: false });
  const recipient = to ?? merchantEmail ?? (isLive ? undefined : sandboxAddress);
  if (recipient === undefined) throw fieldError("body_invalid", "to", "is required, because MERCHANT_EMAIL is not set");
  if (!address.safeParse(recipient).success) throw fieldError("body_invalid", "to", "must be an email address");
  const content = testMail({ shop: shop(), lang: "en" });
  const reply = await mailer.send(
    { ...content, to: recipient, id: `test.${randomUUID()}`, isSandbox: !isLive },
    signal,
  );
  return { reply, isLive };
}
