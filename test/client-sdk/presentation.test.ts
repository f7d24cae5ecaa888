/** The element's presentation of each state in each language, as data and without a browser. */
import { describe, expect, it } from "vitest";
import { type Countdown, countdownOf, formatDuration } from "../../client-sdk/element/countdown.ts";
import { chooseLanguage } from "../../client-sdk/element/language.ts";
import { nationalPhone } from "../../client-sdk/element/phone.ts";
import {
  type PageFacts,
  type Presentation,
  type PresentationOptions,
  presentationOf,
} from "../../client-sdk/element/presentation.ts";
import { WatchError } from "../../client-sdk/index.ts";
import { formatMoney } from "../../client-sdk/money.ts";
import type { Reason, StatusEvent } from "../../client-sdk/protocol.ts";
import { firstSnapshot, type Snapshot } from "../../client-sdk/snapshot.ts";
import { eventOf } from "../support/event.ts";

const languages = ["en", "sw", "bn"];

async function present(
  event: Partial<StatusEvent> = {},
  more: Partial<Snapshot> = {},
  lang = "en",
  options: Partial<PresentationOptions> = {},
): Promise<Presentation> {
  const { words, locale } = await chooseLanguage([lang]);
  const whole = eventOf({ id: "one", version: 2, ...event });
  const snapshot: Snapshot = { ...firstSnapshot, event: whole, connection: "open", skewMs: 0, ...more };
  return presentationOf(snapshot, { words, locale, timeZone: "Africa/Nairobi", ...options });
}

/** With facts from the page, at a time. */
const presentAt = (
  event: Partial<StatusEvent>,
  { time, ...page }: PageFacts & { time?: Partial<Countdown> },
  lang?: string,
) => present(event, {}, lang, { page, time: { elapsedMs: 0, totalMs: 120_000, sinceMs: 0, ...time } });

const payment = (more: Partial<StatusEvent["payment"]>): StatusEvent["payment"] => ({
  ...eventOf({ id: "one", version: 1 }).payment,
  ...more,
});

/** Waits for the payer's PIN. */
const prompted = { payment: payment({ action: { type: "prompt", phone: "+2547*****678" } }) };

const why: Record<"failed" | "expired" | "review" | "succeeded", Reason[]> = {
  failed: ["cancelled", "insufficient_funds", "wrong_pin", "declined", "limit", "busy", "provider_error", "rejected"],
  expired: ["no_response", "deadline"],
  review: ["amount_mismatch", "currency_mismatch", "receipt_reused"],
  succeeded: ["late", "paid_twice", "amount_mismatch"],
};

describe.each(languages)("presentation in %s", (lang) => {
  it("has a text of its own for each failure, and a button to try again", async () => {
    const presentations = await Promise.all(
      why.failed.map((reason) => presentAt({ status: "failed", settled: true, reason }, { canTryAgain: true }, lang)),
    );
    expect(new Set(presentations.map(({ title, text }) => `${title}: ${text}`)).size).toBe(why.failed.length);
    for (const [index, { tone, action }] of presentations.entries()) {
      const reason = why.failed[index];
      // The payer's own decision, an empty account and another request are no errors.
      const expected = index < 2 || reason === "busy" ? "neutral" : reason === "rejected" ? "caution" : "bad";
      expect([reason, tone]).toEqual([reason, expected]);
      expect(action).toEqual({ label: expect.any(String), href: undefined, isQuiet: reason === "rejected" });
    }
  });

  it("fills every placeholder in every state", async () => {
    for (const [status, reasons] of Object.entries(why)) {
      for (const reason of [undefined, ...reasons]) {
        const event = { status, settled: true, ...(reason && { reason }) } as Partial<StatusEvent>;
        const text = JSON.stringify([
          await present(event, {}, lang),
          await present({ ...event, payment: payment({ provider: "new" }) }, {}, lang),
          await presentAt(prompted, { time: { sinceMs: 25_000 } }, lang),
          await present(prompted, {}, lang, { isOffline: true }),
        ]);
        expect(text).not.toMatch(/[{}]\w+\}|undefined|NaN|""/);
      }
    }
  });
});

describe("presentation", () => {
  it("tells the payer what to do on which phone", async () => {
    const { title, text, tone, help } = await present(prompted);
    expect({ title, text, tone, help }).toEqual({
      title: "Check your phone",
      text: "Enter your M\u2011Pesa PIN on 07••\u00a0•••\u00a0678.",
      tone: "waiting",
      help: undefined,
    });
    expect((await presentAt(prompted, { phone: "0712345678" })).text).toContain("0712\u00a0•••\u00a0678");
  });

  it("tells the payer what to do if no prompt has arrived after 20 s, until the time is up", async () => {
    const helpAt = async (sinceMs: number, elapsedMs = sinceMs): Promise<string | undefined> =>
      (await presentAt(prompted, { time: { sinceMs, elapsedMs } })).help;
    expect(await helpAt(19_999)).toBeUndefined();
    expect(await helpAt(20_000)).toMatch(/^No request yet\? .* M\u2011Pesa/);
    expect(await helpAt(120_000)).toBeUndefined();
    const redirect = { payment: payment({ action: { type: "redirect", url: "https://bkash.example/" } }) };
    expect((await presentAt(redirect, { time: { sinceMs: 25_000 } })).help).toBeUndefined();
  });

  it("shows at once that the device is offline, and still what to do", async () => {
    const { title, text, help, note } = await present(prompted, { connection: "waiting" }, "en", { isOffline: true });
    expect(title).toBe("You are offline");
    expect(text).toMatch(/^Enter your M\u2011Pesa PIN/);
    expect([help, note]).toEqual(["The result shows here when you are online again.", undefined]);
    const settled = await present({ status: "succeeded", settled: true }, {}, "en", { isOffline: true });
    expect(settled.title).toBe("Paid");
    const { words, locale } = await chooseLanguage([]);
    expect(presentationOf(firstSnapshot, { words, locale, isOffline: true }).title).toBe("You are offline");
  });

  it("offers another try only if the page can do it, by a link or a button", async () => {
    const failed = { status: "failed", settled: true } as const;
    expect((await presentAt(failed, {})).action).toBeUndefined();
    expect((await presentAt(failed, { canTryAgain: true })).action).toMatchObject({ href: undefined, isQuiet: false });
    const { action } = await presentAt(failed, { retryUrl: "https://shop.example/pay", canTryAgain: true });
    expect(action).toMatchObject({ label: "Try again", href: "https://shop.example/pay" });
    expect((await presentAt({}, { canTryAgain: true })).action).toBeUndefined();
  });

  it("asks for 30 s after the time is up whether the payer entered a PIN, with a quiet button", async () => {
    const expired = { status: "expired", settled: true, reason: "deadline" } as const;
    const at = (sinceMs: number, event: Partial<StatusEvent> = expired) =>
      presentAt(event, { canTryAgain: true, time: { sinceMs } });
    expect(await at(29_999)).toMatchObject({
      help: expect.stringMatching(/^Did you enter your PIN/),
      action: { isQuiet: true },
    });
    expect(await at(30_000)).toMatchObject({ help: undefined, action: { isQuiet: false } });
    // The provider knows that the payer has not answered.
    expect((await at(0, { ...expired, reason: "no_response" })).action?.isQuiet).toBe(false);
  });

  it("asks so too while the server's time is unknown, as it is for a remembered state", async () => {
    const remembered = { skewMs: undefined, connection: "connecting" } as const;
    const at = (reason: Reason) =>
      present({ status: "expired", settled: true, reason }, remembered, "en", { page: { canTryAgain: true } });
    expect(await at("deadline")).toMatchObject({
      help: expect.stringMatching(/^Did you enter your PIN/),
      action: { isQuiet: true },
    });
    expect(await at("no_response")).toMatchObject({ help: undefined, action: { isQuiet: false } });
  });

  it("shows the contact and a quiet button for a payment that a person rejected, because its money may have arrived", async () => {
    const rejected = {
      status: "failed",
      settled: true,
      reason: "rejected",
      payment: payment({ receipt: "NLJ7RT61SV", amountPaidMinor: 10_000 }),
    } as const;
    expect(await presentAt(rejected, { canTryAgain: true, contact: "+254 700 000 000" })).toMatchObject({
      tone: "caution",
      action: { isQuiet: true },
      contact: { href: "tel:+254700000000" },
    });
    expect(
      (await presentAt({ ...rejected, reason: "declined" }, { contact: "+254 700 000 000" })).contact,
    ).toBeUndefined();
  });

  it("shows the merchant, the item, and the contact of a merchant who has to act", async () => {
    const page = { merchant: "Mama Njeri", item: "2 tickets", contact: "+254 700 000 000" };
    expect(await presentAt({}, page)).toMatchObject({ merchant: "Mama Njeri", item: "2 tickets", contact: undefined });
    const review = { status: "review", settled: true } as const;
    const linkOf = async (contact: string) => (await presentAt(review, { contact })).contact;
    expect(await linkOf(page.contact)).toMatchObject({ text: page.contact, href: "tel:+254700000000" });
    expect((await linkOf("help@shop.example"))?.href).toBe("mailto:help@shop.example");
    expect((await linkOf("https://shop.example/help"))?.href).toBe("https://shop.example/help");
    expect(await linkOf("javascript:alert(1)")).toMatchObject({ text: "javascript:alert(1)", href: undefined });
    expect((await presentAt(review, {})).contact).toBeUndefined();
  });

  it("offers to share or print the receipt of a paid order", async () => {
    const paid = { status: "succeeded", settled: true } as const;
    expect((await presentAt(paid, { canShare: true })).save).toBe("Share receipt");
    expect((await presentAt(paid, {})).save).toBe("Print receipt");
    expect((await presentAt({ status: "failed", settled: true }, {})).save).toBeUndefined();
  });

  it("never contradicts a refusal with a remembered state", async () => {
    const error = new WatchError("token_invalid");
    const refused = { error, connection: "closed", skewMs: undefined } as const;
    for (const event of [prompted, { status: "failed", settled: true } as const]) {
      const shown = await present(event, refused);
      expect(shown.title).toBe("Payment cannot be shown");
      expect([shown.amount, shown.action, shown.note]).toEqual([undefined, undefined, undefined]);
    }
    // A success is never taken back. A settled state from the server is true, but no longer updates.
    const paid = await present({ status: "succeeded", settled: true }, refused);
    expect([paid.title, paid.note]).toEqual(["Paid", undefined]);
    const failed = await present({ status: "failed", settled: true }, { ...refused, skewMs: 0 });
    expect([failed.title, failed.note]).toEqual(["Payment failed", expect.stringMatching(/reload/)]);
    expect((await present(prompted, { ...refused, skewMs: 0 })).title).toBe("Payment cannot be shown");
  });

  it("shows the receipt, the time in its zone, and the received amount if it differs", async () => {
    const paid = await present({ status: "succeeded", settled: true, payment: payment({ receipt: "NLJ7RT61SV" }) });
    expect(paid.detail).toEqual([
      ["Receipt", "NLJ7RT61SV"],
      ["Order", "ORD-one"],
      ["Time", expect.stringMatching(/^Nov 21, 2026, 12:00\sAM$/)],
    ]);
    const other = await present({ status: "review", settled: true, payment: payment({ amountPaidMinor: 10_000 }) });
    expect(other.detail[0]).toEqual(["Received", expect.stringMatching(/^KES\s100\.00$/)]);
  });

  it("says whether money was taken, and what happens to money that arrived", async () => {
    const textOf = async (status: "failed" | "expired", reason: Reason): Promise<string> =>
      (await present({ status, settled: true, reason, payment: payment({ provider: "new" }) })).text;
    for (const reason of why.failed.filter((one) => one !== "rejected")) {
      expect([reason, await textOf("failed", reason)]).toEqual([
        reason,
        expect.stringContaining("No money was taken."),
      ]);
    }
    expect(await textOf("failed", "rejected")).toContain("If money was taken, ask the shop to return it.");
    expect(await textOf("expired", "no_response")).toMatch(/^No payment has arrived\./);
    expect(await textOf("failed", "declined")).toMatch(/^Your mobile money account declined the payment\./);
    const twice = await presentAt(
      { status: "succeeded", settled: true, alsoPaid: ["two"] },
      { contact: "0712 345678" },
    );
    expect([twice.text, twice.contact?.text]).toEqual([
      expect.stringContaining("Ask the shop to return it."),
      "0712 345678",
    ]);
  });

  it("lets a long amount break after its currency", async () => {
    expect((await present({ amountMinor: 123_456_789, currency: "UGX" })).amount).toBe("UGX 123,456,789");
  });

  it("shows a late success and a second payment as paid", async () => {
    expect((await present({ status: "succeeded", settled: true, reason: "late" })).text).toMatch(
      /do not need to pay again/,
    );
    const twice = await present({ status: "succeeded", settled: true, alsoPaid: ["two"] });
    expect([twice.tone, twice.title]).toEqual(["good", "Paid more than once"]);
  });

  it("accepts unknown statuses, reasons, actions and providers", async () => {
    const future = {
      status: "refunded",
      reason: "why",
      payment: payment({ provider: "x", action: { type: "beam" } as never }),
    };
    expect((await present({ ...future, settled: true } as never)).title).toBe("News about your payment");
    expect((await present({ ...future, settled: false } as never)).title).toBe("Waiting for your payment");
    expect((await present({ status: "failed", settled: true, reason: "eclipse" as never })).title).toBe(
      "Payment failed",
    );
  });

  it("shows a notice for the sandbox and for a connection that is not open", async () => {
    expect((await present({ live: false })).test).toMatch(/^Test payment/);
    expect((await present({ live: true })).test).toBeUndefined();
    expect((await present({}, { connection: "waiting" })).note).toBe("Reconnecting…");
    expect((await present()).note).toBeUndefined();
    const error = new WatchError("token_expired");
    const { words, locale } = await chooseLanguage([]);
    expect(presentationOf({ ...firstSnapshot, error }, { words, locale }).title).toBe("Payment cannot be shown");
  });
});

describe("language", () => {
  it("is the first supported one, with its region for numbers, or English", async () => {
    const localeFor = async (...tags: string[]): Promise<string> => (await chooseLanguage(tags)).locale;
    expect(await localeFor("fr", "sw-KE", "en")).toBe("sw-KE");
    expect(await localeFor("BN-bd")).toBe("BN-bd");
    expect(await localeFor("fr")).toBe("en");
    expect(await localeFor("en-")).toBe("en");
    expect(await localeFor()).toBe("en");
    // The page's language has no region, so the visitor's decides the form of dates.
    expect((await chooseLanguage(["en"], ["fr", "en-GB"])).locale).toBe("en-GB");
    expect((await chooseLanguage(["en-US"], ["en-GB"])).locale).toBe("en-US");
    expect((await chooseLanguage(["bn"], ["en-GB"])).locale).toBe("bn");
  });
});

describe("formatMoney", () => {
  it("formats an amount exactly, with the digits of its currency", () => {
    const plain = (...args: Parameters<typeof formatMoney>): string => formatMoney(...args).replace(/\s/g, " ");
    expect(plain(15_000, "KES", "en")).toBe("KES 150.00");
    expect(plain(5, "TZS", "en")).toBe("TZS 0.05");
    expect(plain(1_234_567, "UGX", "en")).toBe("UGX 1,234,567");
    expect(plain(150_000, "BDT", "bn")).toBe("১,৫০০.০০৳");
    expect(plain(Number.MAX_SAFE_INTEGER, "KES", "en")).toBe("KES 90,071,992,547,409.91");
    expect(plain(-250, "KES", "en")).toBe("-KES 2.50");
    expect(plain(1_000, "nonsense", "en")).toBe("nonsense 10.00");
  });
});

describe("countdown", () => {
  const startedAt = Date.parse("2026-11-20T21:00:00.000Z");
  const event = eventOf({ id: "one", version: 1, occurredAt: "2026-11-20T21:00:10.000Z" });

  it("counts by the server's clock, however wrong the device's clock is", () => {
    for (const skewMs of [0, 86_400_000, -86_400_000]) {
      expect(countdownOf(event, skewMs, startedAt + 30_000 + skewMs)).toEqual({
        elapsedMs: 30_000,
        totalMs: 120_000,
        sinceMs: 20_000,
      });
    }
  });

  it("is unknown without the server's time and with unreadable times", () => {
    expect(countdownOf(event, undefined, startedAt)).toBeUndefined();
    expect(countdownOf({ ...event, payment: payment({ startedAt: "soon" }) }, 0, startedAt)).toBeUndefined();
  });

  it("is formatted in the digits of the language", () => {
    expect([65_999, 0, -5, 3_600_000].map((ms) => formatDuration(ms, "en"))).toEqual(["1:05", "0:00", "0:00", "60:00"]);
    expect(formatDuration(65_000, "bn")).toBe("১:০৫");
  });
});

describe("phone number", () => {
  const plain = (masked: string, known?: string): string => nationalPhone(masked, known).replace(/\u00a0/g, " ");

  it("has the form in which its owner writes it, and does not break", () => {
    expect(nationalPhone("+2547*****678")).toBe("07••\u00a0•••\u00a0678");
    expect(plain("+2567*****678")).toBe("07•• ••• 678");
    expect(plain("+8801******678")).toBe("01••• ••• 678");
    expect(plain("+2332*****678")).toBe("02• ••• •678");
    expect(plain("+4670****678")).toBe("+4670••••678");
    expect(plain("nonsense")).toBe("nonsense");
    expect(plain("+((*678")).toBe("+((•678");
  });

  it("shows more if the page knows more and both are the same number", () => {
    for (const known of ["0712345678", "+254 712 345 678", "00254712345678", "0712 *** 678", "0712•••678"])
      expect(plain("+2547*****678", known)).toBe("0712 ••• 678");
    for (const known of [
      "712345678",
      "+254 (0) 712 345 678",
      "+2540712345678",
      "٠٧١٢٣٤٥٦٧٨",
      "۰۷۱۲ ۳۴۵ ۶۷۸",
      "০৭১২৩৪৫৬৭৮",
      "０７１２３４５６７８",
    ])
      expect(plain("+2547*****678", known)).toBe("0712 ••• 678");
    for (const other of [
      "0712345679",
      "071234567",
      "0112345678",
      "someone",
      "12345678",
      "255712345678",
      "+254 (0) 112 345 678",
      "",
    ])
      expect(plain("+2547*****678", other)).toBe("07•• ••• 678");
    expect(plain("+8801******678", "01770618678")).toBe("01770 ••• 678");
  });
});
