import { setTimeout as wait } from "node:timers/promises";
import { cpuMsOf, type Generator, type Program } from "../machine.ts";
import type { Call } from "../message.ts";
import { quantile, spreadOf } from "../statistic.ts";
import { apiKey, nextOrderId, paymentOf, type Tukio } from "../target/tukio.ts";
import { type Bench, labelOf, type Phase, startTukios } from "./compare.ts";

/** A program under test and its label. */
type Variant = readonly [label: string, program: Program];

interface Run {
  bench: Bench;
  generator: Generator;
  tukios: readonly Tukio[];
  variants: readonly Variant[];
  ratePerS: number;
  /** Requests per burst. */
  count: number;
}

/** Measures the answer to a new payment beside bare routes, with a fast and with a slow provider. */
export const initiate: Phase = async (bench) => {
  const { machine, daraja, settings } = bench;
  const tukios = await startTukios(bench, "initiate");
  const variants: Variant[] = [
    ...tukios.map((one, index): Variant => [labelOf(index), one.program]),
    ["bare Fastify", await startBare(bench, "bare")],
    ["bare Fastify, an order", await startBare(bench, "bare_order", { WORK: "order" })],
    [
      "bare Fastify, all demanded",
      await startBare(bench, "bare_all", { WORK: "all", PROVIDER_URL: daraja.url, TUKIO_API_KEY: apiKey }),
    ],
  ];
  const ratePerS = settings.quick ? 50 : 100;
  const generator = machine.generator();
  const run: Run = { bench, generator, tukios, variants, ratePerS, count: ratePerS * 3 };
  await warmUp(run);
  for (const latencyMs of [0, 2_000]) {
    daraja.latencyMs = latencyMs;
    reportOn(run, latencyMs, await measure(run, latencyMs));
  }
  daraja.latencyMs = 0;
  await generator.stop();
  for (const [, program] of variants) await program.stop();
};

async function startBare({ machine }: Bench, name: string, env: Record<string, string> = {}): Promise<Program> {
  const { url } = await machine.database(name);
  return machine.start(`${import.meta.dirname}/../bare-initiate.ts`, { env: { DATABASE_URL: url, ...env } });
}

const headers = { authorization: `Bearer ${apiKey}`, "content-type": "application/json" };

const callsTo = (base: string, length: number): Call[] =>
  Array.from({ length }, (_, index) => ({
    url: `${base}/v1/payments`,
    headers,
    body: JSON.stringify(paymentOf(nextOrderId(), index)),
  }));

async function warmUp({ generator, tukios, variants, ratePerS, count }: Run): Promise<void> {
  for (const [label, program] of variants) {
    const warm = await generator.call({ calls: callsTo(program.url, 5 * count), ratePerS: 3 * ratePerS, seed: 7 });
    if (warm.refused > 0) throw new Error(`${label} refused ${warm.refused}`);
  }
  for (const one of tukios) await one.settle();
}

/** One burst. CPU in milliseconds per payment, including the push and its reply where there is one. */
interface Sample {
  p50Ms: number;
  ownCpuMs: number;
  postgresCpuMs: number;
}

async function measure(run: Run, latencyMs: number): Promise<Map<string, Sample[]>> {
  const { bench, tukios, variants } = run;
  const samples = new Map<string, Sample[]>();
  for (let round = 0; round < bench.settings.rounds; round += 1) {
    for (const [label, program] of round % 2 === 0 ? variants : variants.toReversed()) {
      const sample = await measureBurst(run, { program, latencyMs, seed: round + 1 });
      samples.set(label, [...(samples.get(label) ?? []), sample]);
      for (const one of tukios) await one.settle();
    }
  }
  return samples;
}

async function measureBurst(
  { bench: { machine }, generator, ratePerS, count }: Run,
  { program, latencyMs, seed }: { program: Program; latencyMs: number; seed: number },
): Promise<Sample> {
  const cpu = (): [number, number] => [cpuMsOf(program.pid), machine.postgresCpuMs()];
  const [before, beforePostgres] = cpu();
  const { answerMs } = await generator.call({ calls: callsTo(program.url, count), ratePerS, seed });
  await wait(latencyMs > 0 ? latencyMs : 200);
  const [after, afterPostgres] = cpu();
  return {
    p50Ms: quantile(answerMs, 0.5),
    ownCpuMs: (after - before) / count,
    postgresCpuMs: (afterPostgres - beforePostgres) / count,
  };
}

function reportOn({ bench: { report }, tukios, variants }: Run, latencyMs: number, samples: Map<string, Sample[]>) {
  const phase = `initiate, provider ${latencyMs} ms`;
  const valuesOf = (label: string, figure: keyof Sample): number[] =>
    (samples.get(label) ?? []).map((sample) => sample[figure]);
  const add = (label: string, what: string, figure: keyof Sample): void => {
    const value = spreadOf(valuesOf(label, figure)).median;
    report.facts.push({ phase, what: `${label}: ${what}`, value, unit: "ms" });
  };
  for (const [label] of variants) {
    add(label, "p50 of the answer", "p50Ms");
    add(label, "its own CPU", "ownCpuMs");
    add(label, "PostgreSQL's CPU", "postgresCpuMs");
  }
  const compare = (of: string, to: string, atMost?: number): void => {
    const others = valuesOf(to, "p50Ms");
    const spread = spreadOf(valuesOf(of, "p50Ms").map((one, round) => one / (others[round] ?? Number.NaN)));
    report.ratios.push({ phase, what: "p50 of the 202", of, to, spread, ...(atMost !== undefined && { atMost }) });
  };
  compare("tukio", "bare Fastify", 1.5);
  compare("bare Fastify, an order", "bare Fastify");
  compare("bare Fastify, all demanded", "bare Fastify");
  compare("tukio", "bare Fastify, all demanded");
  if (tukios.length > 1) compare("tukio", "before");
}
