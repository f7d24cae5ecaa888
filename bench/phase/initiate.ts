import { setTimeout as wait } from "node:timers/promises";
import { cpuMsOf, type Generator, type Program } from "../machine.ts";
import type { Fired } from "../plan.ts";
import { quantile, spreadOf } from "../statistic.ts";
import { apiKey, nextOrderId, paymentOf } from "../target/tukio.ts";
import { labelOf, type Phase, startOnes } from "./compare.ts";

/** Initiating, answered: beside a bare route with one commit, with a provider that is quick and one that is slow. */
export const initiate: Phase = async (bench) => {
  const { machine, daraja, report, settings } = bench;
  const ones = await startOnes(bench, "initiate");
  const start = async (name: string, env: Record<string, string> = {}): Promise<Program> => {
    const { url } = await machine.database(name);
    return machine.start(`${import.meta.dirname}/../bare-initiate.ts`, { env: { DATABASE_URL: url, ...env } });
  };
  const bare = await start("bare");
  const order = await start("bare_order", { DOES: "order" });
  const all = await start("bare_all", { DOES: "all", ASKS: daraja.url, TUKIO_API_KEY: apiKey });
  const ratePerS = settings.quick ? 50 : 100;
  const count = ratePerS * 3;
  const lanes = [
    ...ones.map((one, index) => [labelOf(index), one.program] as const),
    ["bare Fastify", bare] as const,
    ["bare Fastify, an order", order] as const,
    ["bare Fastify, all demanded", all] as const,
  ];
  const headers = { authorization: `Bearer ${apiKey}`, "content-type": "application/json" };
  const generator: Generator = machine.generator();
  const callsTo = (base: string, length = count) =>
    Array.from({ length }, (_, index) => ({
      url: `${base}/v1/payments`,
      headers,
      body: JSON.stringify(paymentOf(nextOrderId(), index)),
    }));
  for (const [label, program] of lanes) {
    const warm = await generator.call({ calls: callsTo(program.url, 5 * count), ratePerS: 3 * ratePerS, seed: 7 });
    if (warm.refused > 0) throw new Error(`${label} refused ${warm.refused}`);
  }
  for (const one of ones) await one.settle();
  for (const latencyMs of [0, 2_000]) {
    daraja.latencyMs = latencyMs;
    const found = new Map<string, Fired[]>();
    /** Milliseconds for each payment begun: of the program, of PostgreSQL. With the asking and its reply, where there is any. */
    const cpuMs = new Map<string, [number, number][]>();
    for (let round = 0; round < settings.rounds; round += 1) {
      for (const [label, program] of round % 2 === 0 ? lanes : lanes.toReversed()) {
        const cpu = (): [number, number] => [cpuMsOf(program.pid), machine.postgresCpuMs()];
        const [before, beforePostgres] = cpu();
        const fired = await generator.call({ calls: callsTo(program.url), ratePerS, seed: round + 1 });
        found.set(label, [...(found.get(label) ?? []), fired]);
        await wait(latencyMs > 0 ? latencyMs : 200);
        const [after, afterPostgres] = cpu();
        const taken: [number, number] = [(after - before) / count, (afterPostgres - beforePostgres) / count];
        cpuMs.set(label, [...(cpuMs.get(label) ?? []), taken]);
        for (const one of ones) await one.settle();
      }
    }
    const p50s = (label: string): number[] => (found.get(label) ?? []).map(({ answerMs }) => quantile(answerMs, 0.5));
    const phase = `initiate, provider ${latencyMs} ms`;
    for (const [label] of lanes) {
      report.facts.push({
        phase,
        what: `${label}: p50 of the answer`,
        value: spreadOf(p50s(label)).median,
        unit: "ms",
      });
      for (const [index, of] of ["its own", "PostgreSQL's"].entries()) {
        const taken = (cpuMs.get(label) ?? []).map((both) => both[index] ?? Number.NaN);
        report.facts.push({ phase, what: `${label}: ${of} CPU`, value: spreadOf(taken).median, unit: "ms" });
      }
    }
    const compare = (of: string, to: string, atMost?: number): void => {
      const spread = spreadOf(p50s(of).map((one, round) => one / (p50s(to)[round] ?? Number.NaN)));
      report.ratios.push({ phase, what: "p50 of the 202", of, to, spread, ...(atMost !== undefined && { atMost }) });
    };
    compare("tukio", "bare Fastify", 1.5);
    compare("bare Fastify, an order", "bare Fastify");
    compare("bare Fastify, all demanded", "bare Fastify");
    compare("tukio", "bare Fastify, all demanded");
    if (ones.length > 1) compare("tukio", "before");
  }
  daraja.latencyMs = 0;
  await generator.stop();
  for (const [, program] of lanes) await program.stop();
};
