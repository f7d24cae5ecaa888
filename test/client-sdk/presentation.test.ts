/** The element's presentation of each state in each language, as data and without a browser. */
import { describe, expect, it } from "vitest";
import { createCountdown, formatDuration } from "../../client-sdk/element/countdown.ts";
import { chooseLanguage } from "../../client-sdk/element/language.ts";
import { type Presentation, presentationOf } from "../../client-sdk/element/presentation.ts";
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
): Promise<Presentation> {
  const { words, locale } = await chooseLanguage([lang]);
  const whole = eventOf({ id: "one", version: 2, ...event });
  const snapshot: Snapshot = { ...firstSnapshot, event: whole, connection: "open", ...more };
  return presentationOf(snapshot, { words, locale, timeZone: "Africa/Nairobi" });
}

const payment = (more: Partial<StatusEvent["payment"]>): StatusEvent["payment"] => ({
  ...eventOf({ id: "one", version: 1 }).payment,
  ...more,
});

const why: Record<"failed" | "expired" | "review" | "succeeded", Reason[]> = {
  failed: ["cancelled", "insufficient_funds", "wrong_pin", "declined", "limit", "busy", "provider_error", "rejected"],
  expired: ["no_response", "deadline"],
  review: ["amount_mismatch", "currency_mismatch", "receipt_reused"],
  succeeded: ["late", "paid_twice", "amount_mismatch"],
};

describe.each(languages)("presentation in %s", (lang) => {
  it("has a text of its own for each failure, and a button to try again", async () => {
    const presentations = await Promise.all(
      why.failed.map((reason) => present({ status: "failed", settled: true, reason }, {}, lang)),
    );
    expect(new Set(presentations.map(({ title, text }) => `${title}: ${text}`)).size).toBe(why.failed.length);
    for (const { tone, action } of presentations)
      expect([tone, action]).toEqual(["bad", { label: expect.any(String) }]);
  });

  it("fills every placeholder in every state", async () => {
    for (const [status, reasons] of Object.entries(why)) {
      for (const reason of [undefined, ...reasons]) {
        const event = { status, settled: true, ...(reason && { reason }) } as Partial<StatusEvent>;
        const text = JSON.stringify([
          await present(event, {}, lang),
          await present({ ...event, payment: payment({ provider: "new" }) }, {}, lang),
        ]);
        expect(text).not.toMatch(/[{}]\w+\}|undefined|NaN|""/);
      }
    }
  });
});

describe("presentation", () => {
  it("tells the payer what to do on which phone", async () => {
    const action = { type: "prompt", phone: "+2547*****678" } as const;
    const { title, text, tone } = await present({ payment: payment({ action }) });
    expect({ title, text, tone }).toEqual({
      title: "Check your phone",
      text: "Enter your M\u2011Pesa PIN on +2547*****678.",
      tone: "waiting",
    });
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
    expect((await present({}, { connection: "closed", error })).note).toMatch(/reload/);
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

  it("uses the device's clock if the result is possible, and the server's times otherwise", () => {
    const day = 86_400_000;
    for (const [now, elapsedMs] of [
      [startedAt + 30_000, 30_000],
      [startedAt + 130_000, 130_000],
      [startedAt - day, 10_000],
      [startedAt + day, 10_000],
    ] as const) {
      expect(createCountdown(() => now)(event)).toEqual({ elapsedMs, totalMs: 120_000 });
    }
  });

  it("restarts with another attempt", () => {
    let now = startedAt + 30_000;
    const countdown = createCountdown(() => now);
    countdown(event);
    now += 100_000;
    const again = {
      ...event.payment,
      id: "two",
      startedAt: new Date(now - 1_000).toISOString(),
      expiresAt: new Date(now + 9_000).toISOString(),
    };
    expect(countdown({ ...event, payment: again }).elapsedMs).toBe(1_000);
  });

  it("is formatted in the digits of the language", () => {
    expect([65_999, 0, -5, 3_600_000].map((ms) => formatDuration(ms, "en"))).toEqual(["1:05", "0:00", "0:00", "60:00"]);
    expect(formatDuration(65_000, "bn")).toBe("১:০৫");
  });
});
