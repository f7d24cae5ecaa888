/** A time in the browser's zone; the title has it in UTC, as the API and the log have it. */
import type { ReactNode } from "react";
import { ago, clockTime, exactTime, shortTime } from "../word/time.ts";

const forms = { short: shortTime, exact: exactTime, clock: clockTime, ago };

export interface TimeProps {
  at: string;
  form?: keyof typeof forms;
}

export function Time({ at, form = "short" }: TimeProps): ReactNode {
  const date = new Date(at);
  if (Number.isNaN(date.getTime())) return at;
  return (
    <time dateTime={at} title={`${date.toISOString().replace("T", " ").replace("Z", "")} UTC`}>
      {forms[form](date)}
    </time>
  );
}
