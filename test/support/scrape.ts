/** Reads a node's metrics as Prometheus does. */

import { type Family, parseExposition } from "./exposition.ts";
import type { TestNode } from "./node.ts";

export interface Scrape {
  text: string;
  families: Map<string, Family>;
  /** The sum of all series with this name and these labels; undefined when there is none. */
  value(name: string, labels?: Record<string, string>): number | undefined;
}

export async function scrape(node: Pick<TestNode, "url">): Promise<Scrape> {
  const response = await fetch(`${node.url}/metrics`);
  const text = await response.text();
  if (response.status !== 200) throw new Error(`the scrape was refused: ${response.status} ${text}`);
  return valuesOf(text);
}

/** Parses the text of a scrape. */
export function valuesOf(text: string): Scrape {
  const families = parseExposition(text);
  const samples = [...families.values()].flatMap((family) => family.samples);
  return {
    text,
    families,
    value(name, labels = {}) {
      const fitting = samples.filter(
        (sample) =>
          sample.name === name && Object.entries(labels).every(([label, value]) => sample.labels[label] === value),
      );
      return fitting.length === 0 ? undefined : fitting.reduce((sum, { value }) => sum + value, 0);
    },
  };
}
