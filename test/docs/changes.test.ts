/** The program of docs/api.md that follows all orders, over several pages and runs. command.test.ts runs it once more as the page does. */
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, it, onTestFinished } from "vitest";
import { createDatabase } from "../support/database.ts";
import { apiKey, asMerchant, paymentBody, startNode, type TestNode } from "../support/node.ts";
import { blocksOf, textOf } from "./markdown.ts";

const exec = promisify(execFile);

const program = blocksOf(textOf("docs/api.md")).find(({ info }) => info === "changes.mjs")?.code ?? "";

/** Opens an order whose payer never answers, and waits until the provider has accepted it. Returns its id. */
async function open(node: TestNode): Promise<string> {
  const { body } = await asMerchant(node, "/v1/payments", paymentBody(), { prefer: "wait=15" });
  const { order } = body;
  expect(order.status).toBe("processing");
  return order.orderId;
}

it("the program in docs/api.md prints each state once, over pages and runs, and misses none", async () => {
  const { url: databaseUrl, drop } = await createDatabase();
  onTestFinished(drop);
  const node = await startNode({ databaseUrl });
  const folder = await mkdtemp(join(tmpdir(), "tukio-changes-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  const pagesOfTwo = program.replaceAll("http://localhost:3000", node.url).replace('limit: "200"', 'limit: "2"');
  await writeFile(join(folder, "changes.mjs"), pagesOfTwo);
  const run = async (): Promise<string[]> => {
    const { stdout } = await exec(process.execPath, ["changes.mjs"], { cwd: folder, env: { KEY: apiKey } });
    return stdout.trim().split("\n");
  };

  expect(await run()).toEqual(["0 changed, 0 repeated"]);
  const ids: string[] = [];
  for (let nth = 0; nth < 5; nth += 1) ids.push(await open(node));
  expect(await run()).toEqual([...ids.map((id) => `${id} 2 processing`), "5 changed, 0 repeated"]);
  expect(await run()).toEqual(["0 changed, 5 repeated"]);

  // An order changes that the program has seen, and another one is new.
  const [first = ""] = ids;
  const prompts = `${node.url}/sandbox/phone`;
  const { prompts: shown } = (await (await fetch(`${prompts}/254712345600/prompts`)).json()) as {
    prompts: { id: string }[];
  };
  const answer = { method: "POST", headers: { "content-type": "application/json" }, body: '{"answer":"approve"}' };
  expect((await fetch(`${prompts}/prompts/${shown[0]?.id}`, answer)).ok).toBe(true);
  await asMerchant(node, `/v1/orders/${first}/wait`);
  const other = await open(node);
  expect(await run()).toEqual([`${first} 3 succeeded`, `${other} 2 processing`, "2 changed, 4 repeated"]);

  // A run that fails before its last page stores nothing.
  const stored = await readFile(join(folder, "changes.json"), "utf8");
  await writeFile(join(folder, "changes.mjs"), pagesOfTwo.replace(/const \{ data, nextCursor \} = .*/, "throw 1;"));
  await expect(run()).rejects.toThrow();
  expect(await readFile(join(folder, "changes.json"), "utf8")).toBe(stored);
});
