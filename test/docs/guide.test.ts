/** The guides and the product agree: environments of providers, symptoms, alerts, and the start in a CI job. */
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { Webhook } from "standardwebhooks";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { parse } from "yaml";
import { readConfig } from "../../server/config/config.ts";
import { errorTable } from "../../server/errors.ts";
import { modeOf } from "../../server/provider/enabled.ts";
import { registry } from "../../server/provider/registry.ts";
import { createDatabase } from "../support/database.ts";
import { call, paymentBody } from "../support/node.ts";
import { startTestProcess } from "../support/process.ts";
import { blocksOf, exists, filesBelow, proseOf, textOf } from "./markdown.ts";

/** The variables of a production node without a provider. */
const production = {
  NODE_ENV: "production",
  PUBLIC_URL: "https://pay.example.com",
  DATABASE_URL: "postgres://tukio:password@127.0.0.1:5432/tukio",
  TUKIO_API_KEY: "a key of the test with enough characters",
  TUKIO_SECRET: "a secret of the test that has enough characters",
};

const assignments = (text: string): Record<string, string> =>
  Object.fromEntries(
    [...text.matchAll(/^(?:export )?([A-Z_]+)=(.*)$/gm)].map(([, name = "", value = ""]) => [name, value]),
  );

describe.each(Object.keys(registry))("docs/guide/%s.md", (name) => {
  const text = textOf(`docs/guide/${name}.md`);
  const environments = blocksOf(text)
    .filter(({ language }) => language === "ini")
    .map(({ code }) => assignments(code));

  it("shows environments that a production node accepts, live and of the provider's test environment", () => {
    const base = environments.find((one) => !Object.keys(one).some((variable) => variable.endsWith("_BASE_URL")));
    expect(environments.length).toBeGreaterThan(0);
    for (const environment of environments) {
      // A block of two lines is added to the one before it.
      const { enabledProviders } = readConfig({
        ...production,
        ...(Object.keys(environment).length < 3 && base),
        ...environment,
      });
      expect(enabledProviders.map((one) => one.name)).toEqual([name]);
      const isTest = `${name.toUpperCase()}_BASE_URL` in environment;
      expect(enabledProviders.map(modeOf)).toEqual([isTest ? "test" : "live"]);
    }
  });

  it("explains every required variable", () => {
    const prefix = `${name.toUpperCase()}_`;
    const shown = new Set(environments.flatMap(Object.keys));
    expect([...shown].every((variable) => variable.startsWith(prefix))).toBe(true);
    const prose = proseOf(text);
    const explained = [...shown].filter((variable) => !variable.endsWith("_BASE_URL"));
    expect(explained.filter((variable) => !prose.includes(`\`${variable}\``))).toEqual([]);
  });
});

describe("docs/guide/troubleshoot.md", () => {
  const text = textOf("docs/guide/troubleshoot.md");
  const source = filesBelow("server", /\.ts$/).map(textOf).join();
  const words = [...text.matchAll(/`([a-z_]+(?:\.[a-z_]+)*)`/g)].map(([, word = ""]) => word);

  it("names existing log events", () => {
    const events = words.filter((word) => word.includes("."));
    expect(events.length).toBeGreaterThan(15);
    // A file that the page names.
    expect(events.filter((event) => event !== "nginx.conf" && !source.includes(`event: "${event}"`))).toEqual([]);
  });

  it("names existing error codes, statuses and reasons", () => {
    const values = words.filter((word) => /^[a-z]+_[a-z_]+$/.test(word) && !word.startsWith("tukio_"));
    expect(values.length).toBeGreaterThan(10);
    expect(
      values.filter((value) => !(value in errorTable) && !source.includes(`"${value}"`) && !source.includes(value)),
    ).toEqual([]);
  });

  it("quotes messages that the node prints", () => {
    const quoted = [
      ...(text
        .split("## The node does not start")[1]
        ?.split("\n## ")[0]
        ?.matchAll(/^\| `([^`]+)` \|/gm) ?? []),
    ].map(([, one = ""]) => one);
    expect(quoted.length).toBeGreaterThan(4);
    const printed = source.replaceAll("\\n", "");
    expect(quoted.filter((one) => !one.split(": ").every((part) => printed.includes(part)))).toEqual([]);
  });
});

describe("deploy/prometheus-rules.yml", () => {
  interface Rule {
    alert: string;
    expr: string;
    for?: string;
    labels: { severity: string };
    annotations: { summary: string };
  }
  const { groups } = parse(textOf("deploy/prometheus-rules.yml")) as { groups: { rules: Rule[] }[] };
  const rules = groups.flatMap((group) => group.rules);
  const metricsIn = (expression: string): string[] => expression.match(/\btukio_[a-z_]+/g) ?? [];

  it("has a rule for each metric of the table in docs/operating.md", () => {
    const table = textOf("docs/operating.md").split("| metric | alert when |")[1]?.split("\n\n")[0] ?? "";
    const listed = [...table.matchAll(/^\| (`[^|]+`)/gm)].flatMap(([, cell = ""]) => metricsIn(cell));
    expect(listed.length).toBeGreaterThan(10);
    expect(listed.filter((metric) => !rules.some(({ expr }) => metricsIn(expr).includes(metric)))).toEqual([]);
  });

  it("uses existing metrics, and the two severities of docs/guide/operate.md", () => {
    const metrics = filesBelow("server/metrics", /\.ts$/).flatMap((file) => textOf(file).match(/\btukio_\w+/g) ?? []);
    const page = textOf("docs/guide/operate.md");
    for (const { alert, expr, labels, annotations } of rules) {
      for (const metric of metricsIn(expr)) expect(metrics, alert).toContain(metric.replace(/_count$/, ""));
      expect(["page", "ticket"], alert).toContain(labels.severity);
      expect(annotations.summary, alert).not.toBe("");
    }
    const named = [...page.matchAll(/`(Tukio[A-Z]\w+)`/g)].map(([, name = ""]) => name);
    const rows = [...page.matchAll(/^\| `(page|ticket)` \|.*\|(.*)\|$/gm)];
    expect(rows).toHaveLength(2);
    for (const [, severity, examples = ""] of rows) {
      const ofRow = named.filter((name) => examples.includes(name));
      expect(ofRow.length).toBeGreaterThan(2);
      for (const name of ofRow) expect(rules.find(({ alert }) => alert === name)?.labels.severity, name).toBe(severity);
    }
  });
});

it("the start of docs/guide/ci.md sends the shop a signed event with the chosen key and secret", async () => {
  const { PATH: _, DATA_DIR: __, ...given } = assignments(blocksOf(textOf("docs/guide/ci.md"))[0]?.code ?? "");
  const { ENDPOINT_SECRET = "", TUKIO_API_KEY = "" } = given;
  const received: { type: string; data: { order: { orderId: string } } }[] = [];
  const shop = createServer(async (request, response) => {
    let text = "";
    for await (const chunk of request) text += chunk;
    const headers = Object.fromEntries(Object.entries(request.headers).map(([name, value]) => [name, String(value)]));
    received.push(new Webhook(ENDPOINT_SECRET).verify(text, headers) as (typeof received)[number]);
    response.writeHead(204).end();
  });
  shop.listen(0, "127.0.0.1");
  await once(shop, "listening");
  onTestFinished(() => void shop.close().closeAllConnections());
  const database = await createDatabase();
  onTestFinished(database.drop);
  const url = given.ENDPOINT_URL?.replace("4000", String((shop.address() as AddressInfo).port)) ?? "";
  const node = await startTestProcess({ ...given, DATABASE_URL: database.url, ENDPOINT_URL: url });
  const body = paymentBody({ phone: "0712345601" });
  const headers = { authorization: `Bearer ${TUKIO_API_KEY}`, "content-type": "application/json" };
  const started = await call(`${node.url}/v1/payments`, { method: "POST", headers, body: JSON.stringify(body) });
  expect(started.status).toBe(202);
  await vi.waitUntil(() =>
    received.some(({ type, data }) => type === "order.succeeded" && data.order.orderId === body.orderId),
  );
});

describe.each(filesBelow(".github/ISSUE_TEMPLATE", /\.yml$/).filter((file) => !file.endsWith("config.yml")))(
  "%s",
  (file) => {
    it("has the form of an issue form, with one id for each question, and names existing files and providers", () => {
      interface Form {
        name: string;
        description: string;
        body: { type: string; id?: string; attributes: { label?: string; value?: string; options?: string[] } }[];
      }
      const text = textOf(file);
      const form = parse(text) as Form;
      expect([form.name, form.description].every((one) => one.length > 5)).toBe(true);
      const questions = form.body.filter(({ type }) => type !== "markdown");
      expect(questions.length).toBeGreaterThan(1);
      for (const { type, attributes } of questions) {
        expect(["input", "textarea", "dropdown"]).toContain(type);
        expect(attributes.label).toEqual(expect.any(String));
        expect(attributes.options !== undefined).toBe(type === "dropdown");
      }
      expect(new Set(questions.map(({ id }) => id)).size).toBe(questions.length);
      expect((text.match(/\bdocs\/[\w/-]+\.md|\bSECURITY\.md/g) ?? []).filter((path) => !exists(path))).toEqual([]);
      const options = questions.find(({ id }) => id === "provider")?.attributes.options;
      expect(options ?? Object.keys(registry)).toEqual(Object.keys(registry));
    });
  },
);
