/** The script that makes the README's picture. */
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, it, onTestFinished } from "vitest";
import { createDatabase } from "../support/database.ts";
import { root } from "./markdown.ts";

const exec = promisify(execFile);

/** The first bytes of a PNG file, in hexadecimal. */
const pngStart = "89504e470d0a1a0a";

it("npx node test/support/picture.ts makes a picture of a paid order", { timeout: 300_000 }, async () => {
  const folder = await mkdtemp(join(tmpdir(), "tukio-picture-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  const { url, drop } = await createDatabase();
  onTestFinished(drop);
  const file = join(folder, "demo.png");
  await exec(process.execPath, ["test/support/picture.ts", file], {
    cwd: root,
    env: { ...process.env, DATABASE_URL: url },
  });
  const picture = await readFile(file);
  expect(picture.subarray(0, 8).toString("hex")).toBe(pngStart);
  expect(picture.length).toBeGreaterThan(50_000);
});
