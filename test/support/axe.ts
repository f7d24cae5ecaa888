/** Accessibility faults of a page that axe finds. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { Frame, Page } from "playwright-core";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

interface Violation {
  id: string;
  nodes: { html: string; failureSummary: string }[];
}

/** Returns the violations that axe finds in a page or a frame, light and dark. */
export async function violationsOf(page: Page, frame: Frame = page.mainFrame()): Promise<string[]> {
  const found: string[] = [];
  for (const colorScheme of ["light", "dark"] as const) {
    await page.emulateMedia({ colorScheme });
    const violations = (await frame.evaluate(
      `${axe}; axe.run(document, { iframes: false, resultTypes: ["violations"] }).then((result) => result.violations)`,
    )) as Violation[];
    for (const { id, nodes } of violations) {
      found.push(...nodes.map(({ html, failureSummary }) => `${colorScheme}: ${id}: ${html}: ${failureSummary}`));
    }
  }
  return found;
}
