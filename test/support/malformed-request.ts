import { expect } from "vitest";
import type { RunningExample } from "./example.ts";

/** Expects an example to refuse what neither a browser's form nor Tukio sends, without a stack trace. `fields`: those of its order form. */
export async function expectMalformedRefused(
  shop: Pick<RunningExample, "url" | "output">,
  fields: Record<string, string>,
): Promise<void> {
  const post = (path: string, body?: string, type = "application/x-www-form-urlencoded"): Promise<Response> =>
    fetch(shop.url + path, { method: "POST", ...(body !== undefined && { headers: { "content-type": type }, body }) });
  const form = String(new URLSearchParams(fields));
  const answers = [
    await post("/orders"),
    ...(await Promise.all(Object.keys(fields).map((name) => post("/orders", `${form}&${name}=2`)))),
    await post("/orders", form, "text/plain"),
    await fetch(`${shop.url}/orders/%E0%A4%A`),
    await post("/hooks/tukio"),
    await post("/hooks/tukio", "{}", "text/plain"),
  ];
  const fieldCount = Object.keys(fields).length;
  expect(answers.map(({ status }) => status)).toEqual([400, ...Array(fieldCount).fill(400), 400, 400, 401, 401]);
  for (const answer of answers) expect(await answer.text()).not.toContain("node_modules");
  expect(shop.output()).not.toContain("    at ");
}
