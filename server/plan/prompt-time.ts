/**
 * When a plan asks for money. Pure. Days are those of the plan's time zone, as text such as `2026-12-01`, so that a change of the clocks
 * neither skips nor repeats one.
 */
import { DateTime } from "luxon";

/** The calendar of a plan. */
export interface Calendar {
  timeZone: string;
  /** The time of day of prompts and reminders. */
  promptAt: string;
}

/** An instalment is asked for on the day on which it is due and the 13 days after it, because a payer who ignores 14 prompts ignores more. */
export const askedDays = 14;

/** Nobody is asked for money before or after these hours. */
const [firstHour, lastHour] = [8, 20];

const local = (at: Date, timeZone: string): DateTime => DateTime.fromJSDate(at, { zone: timeZone });

export const dayOf = (at: Date, timeZone: string): string => local(at, timeZone).toISODate() ?? "";

/** In UTC, which has every day. */
export const dayAfter = (day: string, days: number): string =>
  DateTime.fromISO(day, { zone: "utc" }).plus({ days }).toISODate() ?? "";

const isDaytime = (at: Date, timeZone: string): boolean => {
  const { hour } = local(at, timeZone);
  return hour >= firstHour && hour < lastHour;
};

/** A minute before the end of the hours, because at 20:00 they are over. */
const latest = "19:59";

/** The time of prompts on a day. A time that a change of the clocks skips is as much later, perhaps on the next day. */
const timeOn = (day: string, { promptAt, timeZone }: Calendar): Date =>
  DateTime.fromISO(`${day}T${promptAt < latest ? promptAt : latest}`, { zone: timeZone }).toJSDate();

/** The first time of prompts after a time: of a plan that begins now, so that its customer can pay on the page first. */
export function firstLookAt(now: Date, calendar: Calendar): Date {
  const today = dayOf(now, calendar.timeZone);
  const at = timeOn(today, calendar);
  return at > now ? at : timeOn(dayAfter(today, 1), calendar);
}

export interface Asking extends Calendar {
  /** The days on which the open instalments are due, in their order. */
  dueDays: readonly string[];
  /** The day of the last prompt. */
  promptedOn: string | undefined;
}

/**
 * The first time from `now` on at which the plan may prompt: once a day, from `promptAt` until 20:00. Undefined: it has nothing to ask for.
 */
export function nextPromptAt(now: Date, { promptedOn, dueDays, ...calendar }: Asking): Date | undefined {
  const { timeZone } = calendar;
  const today = dayOf(now, timeZone);
  const start = promptedOn !== undefined && promptedOn >= today ? dayAfter(promptedOn, 1) : today;
  for (let day = askedDay(start, dueDays); day !== undefined; day = askedDay(dayAfter(day, 1), dueDays)) {
    const from = timeOn(day, calendar);
    const at = from > now ? from : now;
    if (dayOf(at, timeZone) === day && isDaytime(at, timeZone)) return at;
  }
  return undefined;
}

/** The first day from `day` on that is at most 13 days after one on which an open instalment is due. */
function askedDay(day: string, dueDays: readonly string[]): string | undefined {
  const last = dueDays.findLast((due) => due <= day);
  if (last !== undefined && day < dayAfter(last, askedDays)) return day;
  return dueDays.find((due) => due > day);
}
