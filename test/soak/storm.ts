/**
 * A reconnect storm of thousands of watchers after a crash and after a deploy: how many reconnect, and the length of their
 * outages. `npm run test:storm` runs it; STORM_WATCHERS sets the number of watchers (default 5,000).
 */
import { expect, it } from "vitest";
import { type Storm, storm } from "../support/storm.ts";

const watchers = Number(process.env.STORM_WATCHERS ?? 5_000);

it(`reconnects ${watchers} watchers after a crash and after a deploy`, async () => {
  const { crash, deploy } = await storm(watchers, false);
  report("killed", crash);
  report("replaced", deploy);
  expect(crash).toMatchObject({ lost: watchers, back: watchers, shown: watchers });
  expect(deploy).toMatchObject({ exitCode: 0, back: deploy.lost, shown: watchers });
}, 1_800_000);

function report(what: string, { blindMs, blindMsOf, ...result }: Storm): void {
  const line = ([name, { p50, p95, max }]: [string, Storm["blindMs"]]): string =>
    `  outage, ${name.padEnd(12)} p50 ${p50} ms, p95 ${p95} ms, max ${max} ms`;
  const lines = [
    `${what}: ${result.back} of ${result.lost} watchers that lost their node reconnected`,
    ...[["all", blindMs] as [string, Storm["blindMs"]], ...Object.entries(blindMsOf)].map(line),
    `  lost in ${result.slices} groups, the largest ${Math.round(100 * result.largestSlice)} %`,
    `  CPU time of the other node during the reconnects: ${result.cpuS.toFixed(1)} s`,
    `  a change without a publication: received by ${result.shown} within ${result.shownMs} ms`,
  ];
  process.stdout.write(`${lines.join("\n")}\n`);
}
