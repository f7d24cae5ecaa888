/** A parser for Prometheus' text format that enforces the rules of `promtool check metrics`. */
import assert from "node:assert/strict";

export interface Sample {
  name: string;
  labels: Record<string, string>;
  value: number;
}

export interface Family {
  name: string;
  type: string;
  help: string;
  samples: Sample[];
}

const metricName = "[a-zA-Z_:][a-zA-Z0-9_:]*";
const sampleLine = new RegExp(
  `^(?<name>${metricName})(?:\\{(?<labels>.*)\\})? (?<value>[+-]?(?:\\d[\\d.e+-]*|Inf|NaN))$`,
  "i",
);
const labelPair = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(?:,|$)/y;
const suffixes: Record<string, string[]> = {
  histogram: ["_bucket", "_sum", "_count"],
  summary: ["", "_sum", "_count"],
};

/** Returns the metric families of a scrape by name. Throws when Prometheus would reject or warn about the text. */
export function parseExposition(text: string): Map<string, Family> {
  assert(text.endsWith("\n"), "the last line ends with a newline");
  const families = new Map<string, Family>();
  let family: Family | undefined;
  for (const line of text.split("\n")) {
    const [, keyword, name = "", rest = ""] = /^# (HELP|TYPE) (\S+) (.+)$/.exec(line) ?? [];
    if (keyword === "HELP") {
      assert(!families.has(name), `${name} is declared once`);
      family = { name, type: "untyped", help: rest, samples: [] };
      families.set(name, family);
    } else if (keyword === "TYPE") {
      assert(family?.name === name && family.samples.length === 0, `${name} has its TYPE after its HELP`);
      family.type = rest;
    } else if (line !== "") {
      assert(family, `a family is declared before ${line}`);
      family.samples.push(readSample(line, family));
    }
  }
  for (const one of families.values()) checkFamily(one);
  return families;
}

function readSample(line: string, { name: family, type }: Family): Sample {
  const { name = "", labels = "", value = "" } = sampleLine.exec(line)?.groups ?? {};
  assert(name, `parses: ${line}`);
  assert(
    (suffixes[type] ?? [""]).some((suffix) => family + suffix === name),
    `${name} belongs to ${family}`,
  );
  return { name, labels: readLabels(labels), value: Number(value.replace(/inf$/i, "Infinity")) };
}

function readLabels(text: string): Record<string, string> {
  const labels: Record<string, string> = {};
  for (labelPair.lastIndex = 0; labelPair.lastIndex < text.length; ) {
    const [pair, name = "", value = ""] = labelPair.exec(text) ?? [];
    assert(pair !== undefined, `labels parse: ${text}`);
    assert(!(name in labels), `${name} occurs once: ${text}`);
    labels[name] = value;
  }
  return labels;
}

function checkFamily({ name, type, help, samples }: Family): void {
  assert(help.length > 0, `${name} has a help text`);
  assert(["counter", "gauge", "histogram", "summary"].includes(type), `${name} has a known type`);
  // Only Tukio's metrics, because prom-client has gauges that end in `_total`.
  if (name.startsWith("tukio_"))
    assert.equal(name.endsWith("_total"), type === "counter", `${name} ends in _total if and only if it is a counter`);
  assert(!/_(ms|millis|milliseconds|minutes|kilobytes)(_|$)/.test(name), `${name} uses base units`);
  const keys = samples.map(({ name: sample, labels }) => sample + JSON.stringify(Object.entries(labels).sort()));
  assert.equal(new Set(keys).size, keys.length, `${name} has no duplicate series`);
  if (type === "counter")
    assert(
      samples.every(({ value }) => value >= 0),
      `${name} has no negative value`,
    );
  if (type === "histogram") checkHistogram(name, samples);
}

/** Buckets must be cumulative and end with `+Inf`, which equals the count. */
function checkHistogram(name: string, samples: readonly Sample[]): void {
  const series = Map.groupBy(samples, ({ labels: { le: _, ...rest } }) => JSON.stringify(rest));
  for (const [labels, some] of series) {
    const buckets = some.filter((sample) => sample.name === `${name}_bucket`);
    const count = some.find((sample) => sample.name === `${name}_count`);
    assert(
      some.some((sample) => sample.name === `${name}_sum`),
      `${name}${labels} has a sum`,
    );
    assert.equal(buckets.at(-1)?.labels.le, "+Inf", `${name}${labels} ends at +Inf`);
    assert.equal(buckets.at(-1)?.value, count?.value, `${name}${labels} has its count in the +Inf bucket`);
    for (const [index, { value }] of buckets.entries()) {
      assert(value >= (buckets[index - 1]?.value ?? 0), `${name}${labels} is cumulative`);
    }
  }
}
