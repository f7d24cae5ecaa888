/**
 * Thousands of watchers lose their node at once, by a crash and by a deploy: how many come back, and how long they were
 * blind. Run by `npm run test:storm`; STORM_WATCHERS says how many (default 5,000).
 */
import { expect, it } from "vitest";
import { type Storm, storm } from "../support/storm.ts";

const watchers = Number(process.env.STORM_WATCHERS ?? 5_000);

it(`${watchers} watchers whose node is killed, and the next one replaced`, async () => {
  const { crash, deploy } = await storm(watchers, false);
  report("killed", crash);
  report("replaced", deploy);
  expect(crash).toMatchObject({ lost: watchers, back: watchers, shown: watchers });
  expect(deploy).toMatchObject({ exitCode: 0, back: deploy.lost, shown: watchers });
}, 1_800_000);

function report(what: string, { blindMs, blindMsOf, ...result }: Storm): void {
  const line = ([name, { p50, p95, max }]: [string, Storm["blindMs"]]): string =>
    `  blind, ${name.padEnd(12)} p50 ${p50} ms, p95 ${p95} ms, max ${max} ms`;
  const lines = [
    `${what}: ${result.back} of ${result.lost} who lost their node came back by themselves`,
    ...[["all", blindMs] as [string, Storm["blindMs"]], ...Object.entries(blindMsOf)].map(line),
    `  lost in ${result.slices} groups, the largest ${Math.round(100 * result.largestSlice)} %`,
    `  taking them in cost the other node ${result.cpuS.toFixed(1)} s of a processor`,
    `  a change that the bus does not know of: seen by ${result.shown} within ${result.shownMs} ms`,
  ];
  process.stdout.write(`${lines.join("\n")}\n`);
}
