/** `npx node bench/document.ts bench/out/bench.json` prints the tables of a run in Markdown, for docs/performance.md. */
import { readFileSync } from "node:fs";
import { factTable, markdown, type Report, ratioTable, rowTable } from "./report.ts";

const [path = "bench/out/bench.json"] = process.argv.slice(2);
const report = JSON.parse(readFileSync(path, "utf8")) as Report;
const { commit, command, startedAt, machine, settings, skipped } = report;
const lines = [
  `\`${command}\`, commit \`${commit}\`, ${startedAt}, ${machine.cpuCount} × ${machine.cpus}, Node ${machine.node}, load average ${machine.loadAtStart.toFixed(1)} at the start and ${machine.loadAtEnd?.toFixed(1)} at the end; settings ${JSON.stringify(settings)}.`,
  ...[rowTable(report.rows), ratioTable(report.ratios), factTable(report.facts)].map(markdown),
  ...skipped.map((line) => `Not measured: ${line}`),
];
process.stdout.write(`${lines.join("\n\n")}\n`);
