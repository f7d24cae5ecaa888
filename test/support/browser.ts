/** A real browser, and a merchant's page under a strict Content Security Policy. */
import { existsSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core";
import { onTestFinished } from "vitest";
import { type BundledFile, bundle } from "../../client-sdk/build/bundle.ts";
import { createDatabase } from "./database.ts";
import { canInstall, installPackages } from "./debian.ts";

const paths = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

/** Starts the machine's Chromium. Without one, installs Debian's. */
export async function launchBrowser(): Promise<Browser> {
  const executablePath = process.env.CHROMIUM ?? paths.find(existsSync) ?? (await installChromium());
  return chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
}

/** A browser and a database for the tests of one file. */
export async function openBrowserAndDatabase(): Promise<{
  browser: Browser;
  databaseUrl: string;
  close(): Promise<void>;
}> {
  const browser = await launchBrowser();
  const { url, drop } = await createDatabase();
  return {
    browser,
    databaseUrl: url,
    async close() {
      await browser.close();
      await drop();
    },
  };
}

async function installChromium(): Promise<string> {
  if (!canInstall()) {
    throw new Error(
      "The browser tests need Chromium. Set CHROMIUM to its path, or install it (Debian, as root): apt-get install chromium fonts-liberation fonts-noto-core",
    );
  }
  await installPackages(["chromium", "fonts-liberation", "fonts-noto-core"]);
  return "/usr/bin/chromium";
}

export interface MerchantPage {
  origin: string;
  /** The HTML inside `<main>`. */
  body: string;
  lang: string;
  /** The policy allows a `<style>` with this nonce. Default: none. */
  nonce?: string;
  /** Answers every other request; default: 404. */
  answer?: (request: IncomingMessage, response: ServerResponse) => void;
}

/** Serves one page with the SDK's browser file (or other files) under a strict Content Security Policy. */
export async function startMerchantPage(connect: string, files?: BundledFile[]): Promise<MerchantPage> {
  const scripts = new Map((files ?? (await bundle())).map(({ name, code }) => [`/sdk/${name}`, code]));
  const policy = (): string =>
    `default-src 'none'; script-src 'self'; style-src 'self' ${page.nonce ? `'nonce-${page.nonce}'` : ""}; connect-src 'self' ${connect} ${connect.replace("http", "ws")}`;
  const page: MerchantPage = { origin: "", body: "", lang: "en" };
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? "/", "http://shop");
    const script = scripts.get(pathname);
    if (script !== undefined) return response.writeHead(200, { "content-type": "text/javascript" }).end(script);
    if (pathname === "/favicon.ico") return response.writeHead(204).end();
    if (pathname !== "/") return page.answer ? page.answer(request, response) : response.writeHead(404).end();
    const head = `<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Shop</title>`;
    response.writeHead(200, { "content-type": "text/html", "content-security-policy": policy() });
    return response.end(
      `<!doctype html><html lang="${page.lang}"><head>${head}</head><body><main><h1>Shop</h1>${page.body}</main><script type="module" src="/sdk/tukio.js"></script></body></html>`,
    );
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  page.origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return page;
}

/** Opens a page. `complaints` collects the errors and warnings of its console. */
export async function openPage(
  browser: Browser,
  options: BrowserContextOptions = {},
): Promise<{ page: Page; complaints: string[] }> {
  const context = await browser.newContext({ reducedMotion: "reduce", ...options });
  onTestFinished(() => context.close());
  const page = await context.newPage();
  const complaints: string[] = [];
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") complaints.push(message.text());
  });
  page.on("pageerror", ({ message }) => complaints.push(message));
  return { page, complaints };
}
