/**
 * A node that sends a receipt and an SMS for each paid order, beside one that sends neither: the answer to the provider's webhook, and
 * the ways to the watcher and to the merchant's handler. The mail server and the SMS gateway accept everything at once.
 */
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { SMTPServer } from "smtp-server";
import { quantile, spreadOf } from "../statistic.ts";
import { startTukio, type Tukio } from "../target/tukio.ts";
import type { Bench, Phase } from "./compare.ts";
import { type Backend, createEndpoint, type Latencies, measure, startBackend } from "./endpoint.ts";

interface Variant {
  label: string;
  tukio: Tukio;
  backend: Backend;
  rounds: Latencies[];
}

export const notification: Phase = async (bench) => {
  const [mails, texts] = [await startMailServer(), await startGateway()];
  const variants: Variant[] = [];
  try {
    variants.push(await open(bench, "off", {}));
    variants.push(
      await open(bench, "on", {
        SMTP_URL: `smtp://127.0.0.1:${(mails.server.server.address() as AddressInfo).port}`,
        MAIL_FROM: "shop@example.com",
        SMS_PROVIDER: "http",
        SMS_API_KEY: "key",
        SMS_URL: `http://127.0.0.1:${(texts.server.address() as AddressInfo).port}/`,
      }),
    );
    for (let round = 0; round <= bench.settings.rounds; round += 1) {
      for (const { tukio, backend, rounds } of variants) {
        const latencies = await measure(bench, { tukio, backend, seed: round + 1 });
        // The first round warms up.
        if (round > 0) rounds.push(latencies);
      }
    }
    reportOn(bench, variants);
    bench.report.facts.push({ phase: "notification", what: "mails", value: mails.count(), unit: "" });
    bench.report.facts.push({ phase: "notification", what: "SMS", value: texts.count(), unit: "" });
  } finally {
    for (const { tukio, backend } of variants) {
      backend.server.close();
      backend.server.closeAllConnections();
      await tukio.program.stop();
    }
    mails.server.close();
    texts.server.close();
    texts.server.closeAllConnections();
  }
};

async function open(
  { machine, daraja, root }: Bench,
  label: string,
  variables: Record<string, string>,
): Promise<Variant> {
  // Outside production, because only there an endpoint or a gateway may be on this machine.
  const env = { NODE_ENV: "development", ...variables };
  const customer = { email: "payer@example.com" };
  const tukio = await startTukio({ machine, daraja, root, name: `tukio_notification_${label}`, env, customer });
  const backend = await startBackend();
  await createEndpoint(tukio, backend.url);
  return { label, tukio, backend, rounds: [] };
}

async function startMailServer(): Promise<{ server: SMTPServer; count: () => number }> {
  let mails = 0;
  const server = new SMTPServer({
    authOptional: true,
    disabledCommands: ["STARTTLS"],
    onData(stream, _session, done) {
      stream.resume();
      stream.once("end", () => {
        mails += 1;
        done();
      });
    },
  });
  server.on("error", () => undefined);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", () => resolve()));
  return { server, count: () => mails };
}

async function startGateway(): Promise<{ server: Server; count: () => number }> {
  let texts = 0;
  const server = createServer((request, response) => {
    request.resume();
    request.once("end", () => {
      texts += 1;
      response.setHeader("content-type", "application/json").end('{"accepted":true}');
    });
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  return { server, count: () => texts };
}

const figures = {
  answerMs: "webhook → answer",
  watcherMs: "webhook → watcher",
  handlerMs: "webhook → handler",
} as const;

function reportOn({ report }: Bench, [off, on]: readonly Variant[]): void {
  if (!off || !on) return;
  for (const [figure, what] of Object.entries(figures) as [keyof typeof figures, string][]) {
    for (const share of [0.5, 0.99]) {
      const name = `${what}, p${share * 100}`;
      const [offMs = [], onMs = []] = [off, on].map(({ rounds }) => rounds.map((one) => quantile(one[figure], share)));
      report.ratios.push({
        phase: "notification",
        what: name,
        of: on.label,
        to: off.label,
        spread: spreadOf(onMs.map((value, round) => value / (offMs[round] ?? Number.NaN))),
      });
      const { median } = spreadOf(offMs);
      report.facts.push({ phase: "notification", what: `${name}, off`, value: median, unit: "ms" });
    }
  }
}
