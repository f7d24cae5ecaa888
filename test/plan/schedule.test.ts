/** The calendar of plans: examples with a known answer, and properties over random schedules and time zones. */
import fc from "fast-check";
import { DateTime } from "luxon";
import { describe, expect, it } from "vitest";
import { daysAfter, dueAtOf, type Every, indexAfter, isTimeZone, splitTotal } from "../../server/plan/schedule.ts";

/** Local dates and times of the first instalments. */
function localTimes(first: string, every: Every, count: number, timeZone = "Africa/Nairobi"): string[] {
  const firstDueAt = DateTime.fromISO(first, { zone: timeZone }).toJSDate();
  return Array.from({ length: count }, (_, index) =>
    DateTime.fromJSDate(dueAtOf({ firstDueAt, every, timeZone }, index), { zone: timeZone }).toFormat(
      "yyyy-MM-dd HH:mm",
    ),
  );
}

const datesOf = (...given: Parameters<typeof localTimes>): string[] =>
  localTimes(...given).map((time) => time.slice(0, 10));

describe("a schedule of months", () => {
  it.each([
    ["2027-01-31T09:00", ["2027-01-31", "2027-02-28", "2027-03-31", "2027-04-30", "2027-05-31"]],
    ["2028-01-31T09:00", ["2028-01-31", "2028-02-29", "2028-03-31", "2028-04-30", "2028-05-31"]],
    ["2027-01-30T09:00", ["2027-01-30", "2027-02-28", "2027-03-30", "2027-04-30", "2027-05-30"]],
    ["2027-02-28T09:00", ["2027-02-28", "2027-03-31", "2027-04-30", "2027-05-31", "2027-06-30"]],
    ["2028-02-28T09:00", ["2028-02-28", "2028-03-28", "2028-04-28", "2028-05-28", "2028-06-28"]],
    ["2027-11-15T00:00", ["2027-11-15", "2027-12-15", "2028-01-15", "2028-02-15", "2028-03-15"]],
  ])("from %s is due on the same day of the month, or on its last", (first, dates) => {
    expect(datesOf(first, { months: 1 }, 5)).toEqual(dates);
  });

  it("of a year from 29 February stays at the end of February", () => {
    expect(datesOf("2028-02-29T09:00", { months: 12 }, 5)).toEqual([
      "2028-02-29",
      "2029-02-28",
      "2030-02-28",
      "2031-02-28",
      "2032-02-29",
    ]);
  });

  it("takes the day of the month from the time zone", () => {
    // 31 January in Dhaka, and 30 January in UTC.
    const firstDueAt = new Date("2027-01-30T20:00:00Z");
    const dueIn = (timeZone: string) => dueAtOf({ firstDueAt, every: { months: 1 }, timeZone }, 2).toISOString();
    expect(dueIn("Asia/Dhaka")).toBe("2027-03-30T20:00:00.000Z");
    expect(dueIn("UTC")).toBe("2027-03-30T20:00:00.000Z");
    expect(dueAtOf({ firstDueAt, every: { months: 1 }, timeZone: "Asia/Dhaka" }, 1).toISOString()).toBe(
      "2027-02-27T20:00:00.000Z",
    );
    expect(dueAtOf({ firstDueAt, every: { months: 1 }, timeZone: "UTC" }, 1).toISOString()).toBe(
      "2027-02-28T20:00:00.000Z",
    );
  });
});

describe("a change of the clocks", () => {
  it("keeps the local time of later instalments", () => {
    expect(localTimes("2027-03-26T09:00", { days: 1 }, 4, "Europe/Berlin").map((time) => time.slice(11))).toEqual([
      "09:00",
      "09:00",
      "09:00",
      "09:00",
    ]);
    expect(localTimes("2027-10-30T09:00", { weeks: 1 }, 2, "Europe/Berlin")[1]).toBe("2027-11-06 09:00");
  });

  it("moves a local time that it skips, on that day only", () => {
    expect(localTimes("2027-03-27T02:30", { days: 1 }, 3, "Europe/Berlin")).toEqual([
      "2027-03-27 02:30",
      "2027-03-28 03:30",
      "2027-03-29 02:30",
    ]);
  });

  it("does not move the month's end to another day", () => {
    expect(localTimes("2030-02-28T02:30", { months: 1 }, 3, "Europe/Berlin")).toEqual([
      "2030-02-28 02:30",
      "2030-03-31 03:30",
      "2030-04-30 02:30",
    ]);
  });
});

describe("a random schedule", () => {
  const zones = fc.constantFrom(...Intl.supportedValuesOf("timeZone"), "UTC");
  const firstDueAt = fc.date({ min: new Date("2026-01-01"), max: new Date("2040-01-01"), noInvalidDate: true });
  const every = fc.oneof(
    fc.record({ days: fc.integer({ min: 1, max: 366 }) }),
    fc.record({ weeks: fc.integer({ min: 1, max: 52 }) }),
    fc.record({ months: fc.integer({ min: 1, max: 12 }) }),
  );
  const recurrence = fc.record({ firstDueAt, every, timeZone: zones });

  it("begins at its first time and only rises", () => {
    fc.assert(
      fc.property(recurrence, fc.integer({ min: 0, max: 130 }), (one, index) => {
        expect(dueAtOf(one, 0)).toEqual(one.firstDueAt);
        expect(dueAtOf(one, index + 1).getTime()).toBeGreaterThan(dueAtOf(one, index).getTime());
      }),
      { numRuns: 500 },
    );
  });

  it("is due on the calendar day that an independent computation finds", () => {
    fc.assert(
      fc.property(recurrence, fc.integer({ min: 1, max: 130 }), (one, index) => {
        expect(localDate(dueAtOf(one, index), one.timeZone)).toBe(expectedDate(one, index));
      }),
      { numRuns: 500 },
    );
  });

  it("keeps the local time, unless the clocks skip it", () => {
    fc.assert(
      fc.property(recurrence, fc.integer({ min: 1, max: 130 }), (one, index) => {
        const [first, due] = [one.firstDueAt, dueAtOf(one, index)].map((at) => secondsOfDay(at, one.timeZone));
        const later = (Number(due) - Number(first)) / 60;
        expect([0, 20, 30, 60]).toContain(later);
      }),
      { numRuns: 500 },
    );
  });

  it("has one next instalment after any time, and none between it and that time", () => {
    fc.assert(
      fc.property(
        recurrence,
        fc.integer({ min: 0, max: 40 }),
        fc.integer({ min: 0, max: 86_400_000 }),
        (one, index, ms) => {
          const now = new Date(dueAtOf(one, index).getTime() + ms);
          const next = indexAfter(one, now, 0);
          expect(dueAtOf(one, next).getTime()).toBeGreaterThan(now.getTime());
          expect(next === 0 || dueAtOf(one, next - 1) <= now).toBe(true);
        },
      ),
      { numRuns: 100 },
    );
  });

  /** Without Luxon: with the day number of the calendar for days and weeks, and by counting months. */
  function expectedDate(
    { firstDueAt: at, every: step, timeZone }: { firstDueAt: Date; every: Every; timeZone: string },
    index: number,
  ) {
    const [year = 0, month = 0, day = 0] = localDate(at, timeZone).split("-").map(Number);
    if (step.months === undefined) {
      const days = (step.days ?? 0) + 7 * (step.weeks ?? 0);
      return new Date(Date.UTC(year, month - 1, day + days * index)).toISOString().slice(0, 10);
    }
    const months = month - 1 + step.months * index;
    const lastDayOf = (number: number): number => new Date(Date.UTC(year, number + 1, 0)).getUTCDate();
    const isAtEnd = day === lastDayOf(month - 1);
    const dueDay = isAtEnd ? lastDayOf(months) : Math.min(day, lastDayOf(months));
    return new Date(Date.UTC(year, months, dueDay)).toISOString().slice(0, 10);
  }

  const localDate = (at: Date, timeZone: string): string => new Intl.DateTimeFormat("sv-SE", { timeZone }).format(at);

  function secondsOfDay(at: Date, timeZone: string): number {
    const text = new Intl.DateTimeFormat("sv-SE", { timeZone, timeStyle: "medium" }).format(at);
    const [hours = 0, minutes = 0, seconds = 0] = text.split(":").map(Number);
    return (hours * 60 + minutes) * 60 + seconds;
  }
});

describe("daysAfter", () => {
  it("counts days of the calendar, not of 24 hours", () => {
    const at = new Date("2027-03-27T08:00:00Z");
    expect(daysAfter(at, 2, "Europe/Berlin").toISOString()).toBe("2027-03-29T07:00:00.000Z");
    expect(daysAfter(at, 0, "Europe/Berlin")).toEqual(at);
  });
});

describe("splitTotal", () => {
  it.each([
    [10_000, 3, 100, [3_400, 3_300, 3_300]],
    [10_000, 3, 1, [3_334, 3_333, 3_333]],
    [9_000, 3, 100, [3_000, 3_000, 3_000]],
    [300, 3, 100, [100, 100, 100]],
  ])("splits %i over %i in steps of %i", (total, count, step, amounts) => {
    expect(splitTotal(total, count, step)).toEqual(amounts);
  });

  it("loses no minor unit, and differs by one step at most", () => {
    const total = fc.record({
      count: fc.integer({ min: 1, max: 120 }),
      step: fc.constantFrom(1, 5, 100),
      extra: fc.integer({ min: 0, max: 10_000_000_000 }),
    });
    fc.assert(
      fc.property(total, ({ count, step, extra }) => {
        const totalMinor = (count + extra) * step;
        const amounts = splitTotal(totalMinor, count, step);
        expect(amounts.reduce((sum, amount) => sum + amount, 0)).toBe(totalMinor);
        expect(amounts).toHaveLength(count);
        expect(amounts.every((amount) => amount > 0 && amount % step === 0)).toBe(true);
        expect(Math.max(...amounts) - Math.min(...amounts)).toBeLessThanOrEqual(step);
        expect(amounts).toEqual(amounts.toSorted((one, other) => other - one));
      }),
    );
  });
});

describe("isTimeZone", () => {
  it.each(["Africa/Nairobi", "America/Argentina/Buenos_Aires", "UTC", "Etc/GMT+3"])("accepts %s", (name) => {
    expect(isTimeZone(name)).toBe(true);
  });

  it.each(["", "Nairobi", "+03:00", "Africa/Nairobi ", "GMT+3", "Africa/../Nairobi"])("refuses %s", (name) => {
    expect(isTimeZone(name)).toBe(false);
  });
});
