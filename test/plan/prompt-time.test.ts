/** When plans prompt: properties over time zones, changes of the clocks, and nodes that look late. */
import fc from "fast-check";
import { DateTime } from "luxon";
import { describe, expect, it } from "vitest";
import { type Asking, dayAfter, dayOf, firstLookAt, nextPromptAt } from "../../server/plan/prompt-time.ts";

const zone = "Africa/Nairobi";
const at = (text: string, timeZone = zone): Date => DateTime.fromISO(text, { zone: timeZone }).toJSDate();
const localOf = (time: Date | undefined, timeZone = zone): string | undefined =>
  time && DateTime.fromJSDate(time, { zone: timeZone }).toFormat("yyyy-MM-dd HH:mm");

const asking = (fields: Partial<Asking> = {}): Asking => ({
  timeZone: zone,
  promptAt: "09:00",
  dueDays: ["2026-12-01"],
  promptedOn: undefined,
  ...fields,
});

describe("nextPromptAt", () => {
  it.each([
    ["before the due day", "2026-11-20T10:00", {}, "2026-12-01 09:00"],
    ["early on the due day", "2026-12-01T03:00", {}, "2026-12-01 09:00"],
    ["late on the due day", "2026-12-01T19:59", {}, "2026-12-01 19:59"],
    ["at 20:00", "2026-12-01T20:00", {}, "2026-12-02 09:00"],
    ["after the day's prompt", "2026-12-01T09:00", { promptedOn: "2026-12-01" }, "2026-12-02 09:00"],
    [
      "after a prompt of a later day, because the clock went back",
      "2026-12-01T10:00",
      { promptedOn: "2026-12-03" },
      "2026-12-04 09:00",
    ],
    ["on the 14th day", "2026-12-14T10:00", {}, "2026-12-14 10:00"],
    ["on the 15th day", "2026-12-15T10:00", {}, undefined],
    [
      "on the 15th day with another instalment",
      "2026-12-15T10:00",
      { dueDays: ["2026-12-01", "2027-01-01"] },
      "2027-01-01 09:00",
    ],
    ["without an open instalment", "2026-12-01T10:00", { dueDays: [] }, undefined],
  ])("returns the first time %s", (_when, now, fields, expected) => {
    expect(localOf(nextPromptAt(at(now), asking(fields)))).toBe(expected);
  });

  it("leaves out a day that the zone does not have", () => {
    const apia = { timeZone: "Pacific/Apia", dueDays: ["2011-12-29"] };
    const next = nextPromptAt(at("2011-12-29T12:00", "Pacific/Apia"), asking({ ...apia, promptedOn: "2011-12-29" }));
    expect(localOf(next, "Pacific/Apia")).toBe("2011-12-31 09:00");
  });

  const zones = [
    "Africa/Nairobi",
    "Asia/Dhaka",
    "Europe/London",
    "America/New_York",
    "Africa/Cairo",
    "Africa/Casablanca",
  ];
  const manyZones = fc.constantFrom(
    ...zones,
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "America/St_Johns",
    "Asia/Gaza",
    "UTC",
  );
  const time = fc.date({ min: new Date("2009-01-01"), max: new Date("2032-01-01"), noInvalidDate: true });
  const promptAt = fc
    .record({ hour: fc.integer({ min: 8, max: 18 }), minute: fc.integer({ min: 0, max: 59 }) })
    .map(({ hour, minute }) => `${String(hour).padStart(2, "0")}:${String(minute).padStart(2, "0")}`);
  const gaps = fc.array(fc.integer({ min: 0, max: 45 }), { maxLength: 8 });

  const cases = fc.record({ timeZone: manyZones, now: time, promptAt, gaps }).map(({ gaps: days, ...one }) => {
    const dueDays: string[] = [];
    for (const gap of days) dueDays.push(dayAfter(dueDays.at(-1) ?? dayOf(one.now, one.timeZone), gap));
    return { ...one, dueDays };
  });

  it("is never in the past, at night, before promptAt, twice a day, or on a day without a due instalment", () => {
    fc.assert(
      fc.property(cases, fc.integer({ min: -2, max: 40 }), ({ now, ...one }, shift) => {
        const promptedOn = dayAfter(dayOf(now, one.timeZone), shift);
        for (const known of [undefined, promptedOn]) {
          const next = nextPromptAt(now, { ...one, promptedOn: known });
          if (!next) continue;
          const local = DateTime.fromJSDate(next, { zone: one.timeZone });
          const day = dayOf(next, one.timeZone);
          expect(next.getTime()).toBeGreaterThanOrEqual(now.getTime());
          expect(local.hour).toBeGreaterThanOrEqual(8);
          expect(local.hour).toBeLessThan(20);
          // A clock that jumps over promptAt makes it later only.
          expect(local.toFormat("HH:mm") >= one.promptAt).toBe(true);
          if (known !== undefined) expect(day > known).toBe(true);
          expect(one.dueDays.some((due) => due <= day && day < dayAfter(due, 14))).toBe(true);
        }
      }),
      { numRuns: 2_000 },
    );
  });

  it("prompts on each asked day once, however often and late nodes look and however the clock jumps", () => {
    const looks = fc.array(fc.integer({ min: 1, max: 3 * 1_440 }), { minLength: 20, maxLength: 120 });
    fc.assert(
      fc.property(cases, looks, fc.nat(119), ({ now, ...one }, minutes, back) => {
        let promptedOn: string | undefined;
        const prompts: string[] = [];
        let clock = now;
        for (const [index, wait] of minutes.entries()) {
          // A clock that is set back once.
          clock = new Date(clock.getTime() + (index === back ? -wait : wait) * 60_000);
          const next = nextPromptAt(clock, { ...one, promptedOn });
          if (next?.getTime() !== clock.getTime()) continue;
          promptedOn = dayOf(clock, one.timeZone);
          prompts.push(promptedOn);
        }
        expect(prompts).toEqual([...new Set(prompts)].toSorted());
      }),
      { numRuns: 500 },
    );
  });

  it("reaches every asked day of a zone without changes of the clocks, if a node looks when it is told to", () => {
    fc.assert(
      fc.property(time, promptAt, gaps, (now, daily, days) => {
        const dueDays: string[] = [];
        for (const gap of days) dueDays.push(dayAfter(dueDays.at(-1) ?? dayOf(now, zone), gap));
        const start = at(`${dayOf(now, zone)}T00:00`);
        const seen: string[] = [];
        let next = nextPromptAt(start, { timeZone: zone, promptAt: daily, dueDays, promptedOn: undefined });
        while (next) {
          const promptedOn = dayOf(next, zone);
          seen.push(promptedOn);
          next = nextPromptAt(next, { timeZone: zone, promptAt: daily, dueDays, promptedOn });
        }
        const asked = dueDays.flatMap((due) => Array.from({ length: 14 }, (_, index) => dayAfter(due, index)));
        expect(seen).toEqual([...new Set(asked)].toSorted());
      }),
      { numRuns: 300 },
    );
  });
});

describe("firstLookAt", () => {
  it("is the next promptAt, not the present", () => {
    const calendar = { timeZone: zone, promptAt: "09:00" };
    expect(localOf(firstLookAt(at("2026-12-01T08:00"), calendar))).toBe("2026-12-01 09:00");
    expect(localOf(firstLookAt(at("2026-12-01T09:00"), calendar))).toBe("2026-12-02 09:00");
    expect(localOf(firstLookAt(at("2026-12-01T14:00"), calendar))).toBe("2026-12-02 09:00");
  });
});
