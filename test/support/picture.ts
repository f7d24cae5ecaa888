/**
 * Makes the picture in the README: `npx node test/support/picture.ts [file]`, docs/demo.png by default. Starts the product,
 * pays in the demo shop, types the PIN on the phone beside it, and takes a screenshot of the paid order with its ticket.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { Page } from "playwright-core";
import { launchBrowser } from "./browser.ts";

const root = join(import.meta.dirname, "../..");

/** Wide enough for the shop, the phone and the events side by side, and high enough for the ticket with its code. */
const viewport = { width: 1440, height: 960 };

async function main(file: string): Promise<void> {
  const dataDir = await mkdtemp(join(tmpdir(), "tukio-picture-"));
  const node = spawn(process.execPath, ["server/main.ts"], {
    cwd: root,
    env: { ...process.env, NODE_ENV: "development", PORT: "0", HOST: "127.0.0.1", DATA_DIR: dataDir },
    stdio: ["ignore", "pipe", "inherit"],
  });
  try {
    const url = await addressOf(node.stdout);
    const browser = await launchBrowser();
    try {
      await takePicture(await browser.newPage({ viewport, colorScheme: "light", reducedMotion: "reduce" }), url, file);
    } finally {
      await browser.close();
    }
  } finally {
    node.kill();
    if (node.exitCode === null) await once(node, "exit");
    await rm(dataDir, { recursive: true, force: true });
  }
}

/** Resolves with the address that the product prints when it listens. */
async function addressOf(output: AsyncIterable<Buffer>): Promise<string> {
  let text = "";
  for await (const chunk of output) {
    text += chunk.toString();
    const found = /Tukio listens on (http:\S+)/.exec(text)?.[1];
    if (found !== undefined) return found;
  }
  throw new Error(`the product ended before it listened:\n${text}`);
}

async function takePicture(page: Page, url: string, file: string): Promise<void> {
  await page.goto(url);
  await page.locator("#pay:enabled").waitFor();
  // The payer of a number that ends in 00 answers on the phone beside the shop.
  await page.selectOption("#payer", "00");
  await page.click("#pay");
  const phone = page.frameLocator("iframe");
  for (const digit of "1234") await phone.getByRole("button", { name: digit, exact: true }).click();
  await phone.getByRole("button", { name: "Send", exact: true }).click();
  await page.getByRole("heading", { name: "Paid", exact: true }).waitFor();
  await page.locator("order-status [part=qr] svg").waitFor();
  await page.locator("#delay").waitFor();
  await phone.getByRole("heading", { name: "Sent", exact: true }).waitFor();
  await page.screenshot({ path: file });
}

await main(resolve(process.argv[2] ?? join(root, "docs/demo.png")));
