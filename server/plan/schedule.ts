/**
 * When the instalments of a plan are due, and how a total is split over them. Pure. Dates are computed in the calendar of the plan's time
 * zone, always from the first one, so that a shortened month or a change of the clocks moves no later instalment.
 */
import { DateTime, IANAZone } from "luxon";

/** One of the three, a positive whole number. */
export interface Every {
  days?: number | undefined;
  weeks?: number | undefined;
  months?: number | undefined;
}

export interface Recurrence {
  firstDueAt: Date;
  every: Every;
  timeZone: string;
}

/**
 * When the instalment with this place in the schedule, from 0, is due: at the local time of the first one. A local time that a change of
 * the clocks skips becomes as much later as it skips. A schedule of months that begins on the last day of a month stays there.
 */
export function dueAtOf({ firstDueAt, every, timeZone }: Recurrence, index: number): Date {
  if (index === 0) return firstDueAt;
  // On the wall clock, because a local time that does not exist on one day must not move the next one.
  const first = DateTime.fromJSDate(firstDueAt, { zone: timeZone }).setZone("utc", { keepLocalTime: true });
  const { days = 0, weeks = 0, months = 0 } = every;
  const due = first.plus({ days: days * index, weeks: weeks * index, months: months * index });
  const staysAtEnd = months > 0 && first.day === first.daysInMonth;
  const wall = staysAtEnd ? due.endOf("month").set(timeOf(first)) : due;
  return wall.setZone(timeZone, { keepLocalTime: true }).toJSDate();
}

const timeOf = ({ hour, minute, second, millisecond }: DateTime) => ({ hour, minute, second, millisecond });

/** The first place in the schedule from `from` on that is due after a time. */
export function indexAfter(recurrence: Recurrence, time: Date, from: number): number {
  let index = from;
  while (dueAtOf(recurrence, index) <= time) index += 1;
  return index;
}

/** The same local time so many days later. */
export const daysAfter = (time: Date, days: number, timeZone: string): Date =>
  DateTime.fromJSDate(time, { zone: timeZone }).plus({ days }).toJSDate();

/**
 * Splits a total into `count` amounts that are multiples of `stepMinor`, as equal as that allows, the larger ones first. The total must be
 * a multiple of `stepMinor`, and at least `count` of them.
 */
export function splitTotal(totalMinor: number, count: number, stepMinor: number): number[] {
  const steps = totalMinor / stepMinor;
  const [least, larger] = [Math.floor(steps / count), steps % count];
  return Array.from({ length: count }, (_, index) => (least + (index < larger ? 1 : 0)) * stepMinor);
}

/** Whether this names a time zone, such as `Africa/Nairobi` or `UTC`, and no fixed difference from UTC. */
export const isTimeZone = (name: string): boolean => /^[A-Za-z][\w+/-]*$/.test(name) && IANAZone.isValidZone(name);

/** Of the capital, or the largest city. A currency of several countries has the zone of one of them. */
const zones: Readonly<Record<string, string>> = {
  BDT: "Asia/Dhaka",
  GHS: "Africa/Accra",
  GNF: "Africa/Conakry",
  KES: "Africa/Nairobi",
  LRD: "Africa/Monrovia",
  RWF: "Africa/Kigali",
  SZL: "Africa/Mbabane",
  TZS: "Africa/Dar_es_Salaam",
  UGX: "Africa/Kampala",
  XAF: "Africa/Douala",
  XOF: "Africa/Abidjan",
  ZAR: "Africa/Johannesburg",
  ZMW: "Africa/Lusaka",
};

/** The time zone of a plan that names none. */
export const timeZoneOf = (currency: string): string => zones[currency] ?? "UTC";
