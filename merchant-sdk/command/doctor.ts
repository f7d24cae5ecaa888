/** `tukio doctor`: prints what the server found out about itself and what it depends on, the worst first. */
import type { DoctorReport } from "../model.ts";
import type { Command } from "./command.ts";
import { type Colour, type Output, plain } from "./output.ts";

type Finding = DoctorReport["data"][number];

const colours: Readonly<Record<string, Colour>> = { ok: "green", warning: "yellow", error: "red" };

/** From worst to best. */
const order = ["error", "warning", "ok"];

export const doctor: Command = {
  name: "doctor",
  summary: "Examines the server and what it depends on",
  words: [],
  options: {},
  details: `Prints what the server finds, the worst first, and what to do about it. The server fetches an
access token of each provider, logs in to the mail server, and looks at PostgreSQL, Redis, its disk,
PUBLIC_URL, your endpoints and the other nodes. It takes up to 10 s. With --json it prints the answer
of GET /v1/doctor. The exit code is 1 if there is an error; warnings alone are no failure.

Example:
  tukio doctor`,

  prepare:
    () =>
    async ({ output, tukio, signal }) => {
      const report = await tukio.doctor({ signal });
      output.json(report);
      for (const line of linesOf(report, output)) output.line(line);
      return report.status === "error" ? 1 : 0;
    },
};

function linesOf({ node, checkedAt, data }: DoctorReport, output: Output): string[] {
  const sorted = [...data].sort((one, other) => order.indexOf(one.status) - order.indexOf(other.status));
  const counts = order.map((status) => [status, data.filter((one) => one.status === status).length] as const);
  const nounOf = (status: string, count: number): string => (status === "ok" || count === 1 ? status : `${status}s`);
  const sum = counts
    .filter(([, count]) => count > 0)
    .map(([status, count]) => output.paint(colours[status] ?? "bold", `${count} ${nounOf(status, count)}`));
  return [
    `${output.paint("bold", plain(node))}  ${output.paint("dim", plain(checkedAt.replace("T", " ").replace(/(\.\d+)?Z$/, " UTC")))}`,
    "",
    ...sorted.flatMap((one) => findingLines(one, output)),
    "",
    sum.join(", "),
  ];
}

/** The width of the longest status, and two spaces. */
const indent = 9;

function findingLines({ name, status, message, action }: Finding, output: Output): string[] {
  const { paint } = output;
  const mark = paint(colours[status] ?? "bold", plain(status).padEnd(indent));
  return [
    `${mark}${paint("bold", plain(name))}  ${plain(message)}`,
    ...(action === undefined ? [] : [`${" ".repeat(indent)}→ ${plain(action)}`]),
  ];
}
