/** Times in the browser's zone. */

export const timeZone: string = Intl.DateTimeFormat().resolvedOptions().timeZone;

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const exactClock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const dayOfYear = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric" });
const weekday = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });

/** `2026-11-30`, in the browser's zone, as `<input type=date>` has it. */
export const dateOf = (at: Date): string =>
  `${at.getFullYear()}-${String(at.getMonth() + 1).padStart(2, "0")}-${String(at.getDate()).padStart(2, "0")}`;

/** The beginning of a day in the browser's zone, `days` later. Undefined if the text is no date. */
export function startOfDay(date: string, days = 0): Date | undefined {
  const [year, month, number] = date.split("-").map(Number);
  if (year === undefined || month === undefined || number === undefined) return undefined;
  const at = new Date(year, month - 1, number + days);
  return Number.isNaN(at.getTime()) ? undefined : at;
}

export const isToday = (at: Date): boolean => dateOf(at) === dateOf(new Date());

export function shortTime(at: Date): string {
  if (isToday(at)) return clock.format(at);
  const days = at.getFullYear() === new Date().getFullYear() ? day : dayOfYear;
  return `${days.format(at)}, ${clock.format(at)}`;
}

export const exactTime = (at: Date): string => `${dayOfYear.format(at)}, ${exactClock.format(at)}`;

export const clockTime = (at: Date): string => clock.format(at);

export const dayName = (at: Date): string => weekday.format(at);

export const shortDay = (at: Date): string => day.format(at);

const span = (number: number, unit: string): string => `${number} ${unit}${number === 1 ? "" : "s"}`;

/** `3 minutes`. */
export function duration(ms: number): string {
  const seconds = Math.round(ms / 1_000);
  if (seconds < 60) return span(seconds, "second");
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return span(minutes, "minute");
  const hours = Math.round(minutes / 60);
  return hours < 48 ? span(hours, "hour") : span(Math.round(hours / 24), "day");
}

/** `3 minutes ago`. */
export const ago = (at: Date): string => `${duration(Math.max(0, Date.now() - at.getTime()))} ago`;
