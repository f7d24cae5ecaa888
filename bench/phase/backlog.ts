/**
 * A healthy endpoint beside a dead one with nothing, a hundred thousand and (without `--quick`) a million orders due: the way from a provider's webhook to the
 * healthy endpoint's handler, the answer to that webhook, and the start of a payment. The dead endpoint is enabled only while its own
 * database is measured; then it accepts connections and never answers, or it closes each one at once, so that attempts follow one
 * another.
 */

import type { AddressInfo, Socket } from "node:net";
import { createServer } from "node:net";
import type pg from "pg";
import { quantile, spreadOf } from "../statistic.ts";
import { apiKey, nextOrderId, paymentOf, startTukio, type Tukio } from "../target/tukio.ts";
import type { Bench, Phase } from "./compare.ts";
import { type Backend, createEndpoint, type Latencies, measure, startBackend } from "./endpoint.ts";

/** A node, its database, and its two endpoints. */
interface Subject {
  tukio: Tukio;
  pool: pg.Pool;
  backend: Backend;
  deadId: string;
}

interface Variant {
  label: string;
  subject: Subject;
  /** The dead endpoint; undefined: it is disabled. */
  dead?: Dead["how"];
  rounds: (Latencies & { paymentMs: number[] })[];
}

export const backlog: Phase = async (bench) => {
  const dead = await startDead();
  const subjects: Subject[] = [];
  const openWith = async (due: number): Promise<Subject> => {
    const subject = await open(bench, { name: `tukio_backlog_${due}`, due, deadUrl: dead.url });
    subjects.push(subject);
    return subject;
  };
  try {
    const [none, many] = [await openWith(0), await openWith(100_000)];
    const most = bench.settings.quick ? undefined : await openWith(1_000_000);
    const variants: Variant[] = [
      { label: "nothing due", subject: none, rounds: [] },
      { label: "100,000 due, no answer", subject: many, dead: "hangs", rounds: [] },
      { label: "100,000 due, closes", subject: many, dead: "closes", rounds: [] },
    ];
    if (most) variants.push({ label: "1,000,000 due, no answer", subject: most, dead: "hangs", rounds: [] });
    for (let round = 0; round <= bench.settings.rounds; round += 1) {
      for (const variant of variants) {
        dead.how = variant.dead ?? "hangs";
        await runRound(bench, variant, round + 1).catch((cause: unknown) => {
          throw new Error(`${variant.label}, round ${round}: ${String(cause)}`, { cause });
        });
      }
    }
    reportOn(bench, variants);
  } finally {
    dead.close();
    for (const { tukio, backend } of subjects) {
      backend.server.close();
      backend.server.closeAllConnections();
      await tukio.program.stop();
    }
  }
};

interface Dead {
  url: string;
  how: "hangs" | "closes";
  close(): void;
}

async function startDead(): Promise<Dead> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined);
    socket.once("close", () => sockets.delete(socket));
    if (dead.how === "closes") socket.destroy();
    else socket.resume();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const dead: Dead = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    how: "hangs",
    close() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
  return dead;
}

async function open(
  { machine, daraja, root }: Bench,
  { name, due, deadUrl }: { name: string; due: number; deadUrl: string },
): Promise<Subject> {
  // Outside production, because only there an endpoint may be on this machine.
  const tukio = await startTukio({ machine, daraja, root, name, env: { NODE_ENV: "development" } });
  const { pool } = await machine.database(name);
  const backend = await startBackend();
  await createEndpoint(tukio, backend.url);
  const deadId = await createEndpoint(tukio, deadUrl);
  await enable(tukio, deadId, false);
  await tukio.prepare(1, "websocket");
  await makeDue(pool, deadId, due);
  return { tukio, pool, backend, deadId };
}

/** Paid orders, as many as $2, each due at the endpoint $1. */
const dueRows = `
  with paid as (
    insert into "order" (id, order_id, amount_minor, currency, version, status, attempt, payment, opened_at, changed_at)
    select gen_random_uuid(), 'DUE-' || n, amount_minor, currency, 1, 'succeeded', attempt, payment, opened_at, changed_at
    from (select amount_minor, currency, attempt, payment, opened_at, changed_at from "order" limit 1) model, generate_series(1, $2::int) n
    returning id, status, payment, also_paid, changed_at
  ),
  history as (
    insert into event (order_uuid, version, status, payment, also_paid, occurred_at, xid)
    select id, 1, status, payment, also_paid, changed_at, null from paid
  )
  insert into delivery (endpoint_id, kind, subject_id, due_version, attempt_at)
  select $1, 'order', id, 1, now() - interval '1 minute' from paid`;

/** Foreign keys are not checked, because that takes most of the time. */
async function makeDue(pool: pg.Pool, deadId: string, due: number): Promise<void> {
  const client = await pool.connect();
  try {
    await client.query("set session_replication_role = replica");
    await client.query(dueRows, [deadId, due]);
    await client.query("vacuum (analyze)");
  } finally {
    client.release(true);
  }
}

async function enable({ program }: Tukio, id: string, enabled: boolean): Promise<void> {
  const response = await fetch(`${program.url}/v1/endpoints/${id}`, {
    method: "PATCH",
    headers: { authorization: `Bearer ${apiKey}`, "content-type": "application/json" },
    body: JSON.stringify({ enabled }),
  });
  if (!response.ok) throw new Error(`endpoint: ${response.status} ${await response.text()}`);
}

async function runRound(bench: Bench, { subject, dead, rounds }: Variant, seed: number): Promise<void> {
  const { tukio, backend, deadId, pool } = subject;
  // Everything due at once again, because attempts that failed in earlier rounds are put off.
  await pool.query(
    "update delivery set attempts = 0, attempt_at = now() where endpoint_id = $1 and claim is null and attempts > 0",
    [deadId],
  );
  if (dead) await enable(tukio, deadId, true);
  const latencies = await measure(bench, { tukio, backend, seed });
  const paymentMs = await startPayments(tukio);
  if (dead) await enable(tukio, deadId, false);
  // The first round warms up.
  if (seed > 1) rounds.push({ ...latencies, paymentMs });
}

/** 100 payments, one after another. */
async function startPayments({ program, settle }: Tukio): Promise<number[]> {
  const took: number[] = [];
  for (let index = 0; index < 100; index += 1) {
    const startedMs = performance.now();
    const response = await fetch(`${program.url}/v1/payments`, {
      method: "POST",
      headers: { authorization: `Bearer ${apiKey}`, "content-type": "application/json" },
      body: JSON.stringify(paymentOf(nextOrderId(), index)),
    });
    if (response.status !== 202) throw new Error(`initiate: ${response.status} ${await response.text()}`);
    await response.arrayBuffer();
    took.push(performance.now() - startedMs);
  }
  await settle();
  return took;
}

const figures = {
  handlerMs: "webhook → handler",
  answerMs: "webhook → answer",
  paymentMs: "start of a payment",
} as const;

function reportOn({ report }: Bench, variants: readonly Variant[]): void {
  const [base] = variants;
  if (!base) return;
  for (const [figure, what] of Object.entries(figures) as [keyof typeof figures, string][]) {
    for (const share of [0.5, 0.99]) {
      const name = `${what}, p${share * 100}`;
      const each = ({ rounds }: Variant): number[] => rounds.map((round) => quantile(round[figure], share));
      const bases = each(base);
      for (const variant of variants) {
        const { median, min, max } = spreadOf(each(variant));
        const range = `${min.toFixed(1)}–${max.toFixed(1)}`;
        report.facts.push({
          phase: "backlog",
          what: `${name}, ${variant.label} (${range})`,
          value: median,
          unit: "ms",
        });
        if (variant === base) continue;
        const spread = spreadOf(each(variant).map((value, round) => value / (bases[round] ?? Number.NaN)));
        report.ratios.push({ phase: "backlog", what: name, of: variant.label, to: base.label, spread });
      }
    }
  }
}
