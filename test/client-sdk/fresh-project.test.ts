/**
 * The packed SDK in fresh projects: each is installed from the registry, built, and run against a real node. The projects
 * are in `test/fixture/project/`; components of the SDK's README are copied into those with React.
 */
import { execFile, spawn } from "node:child_process";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { dirname, extname, join } from "node:path";
import { promisify } from "node:util";
import type { Browser, Page } from "playwright-core";
import { beforeAll, beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { blocksOf, root, textOf } from "../docs/markdown.ts";
import { openBrowserAndDatabase, openPage } from "../support/browser.ts";
import { pay, startNode } from "../support/node.ts";
import { machinePath, packSdk, type SdkPackage } from "../support/sdk-package.ts";

const exec = promisify(execFile);

/** Ten minutes, because an installation may have to load 200 MB. */
const projectMsMax = 600_000;

let browser: Browser;
let databaseUrl: string;
let sdk: SdkPackage;
beforeAll(async () => {
  const ground = await openBrowserAndDatabase();
  ({ browser, databaseUrl } = ground);
  sdk = await packSdk();
  return async () => {
    await sdk.remove();
    await ground.close();
  };
}, 300_000);

let order: { url: string; orderId: string; token: string };
beforeEach(async () => {
  const node = await startNode({ databaseUrl });
  const { order: started, watchToken } = await pay(node, { phone: "+254712345601" });
  order = { url: node.url, orderId: started.orderId, token: watchToken };
});

/** The environment of a fresh shell: without the settings that npm and Vitest give to the programs that they start. */
const environment = Object.fromEntries(
  Object.entries(process.env).filter(
    ([name]) =>
      !/^(npm_(package|lifecycle)_|npm_config_.*prefix|VITEST|NODE_ENV|NODE_OPTIONS|NODE_PATH|INIT_CWD)/.test(name),
  ),
);

interface Project {
  folder: string;
  /** Runs a JavaScript program of the project with this test's Node. Returns what it printed. */
  run(program: string, ...words: string[]): Promise<string>;
  env: NodeJS.ProcessEnv;
}

/** Copies a project and the README's components into a folder of its own, and installs it. */
async function open(name: string, components: Readonly<Record<string, string>> = {}): Promise<Project> {
  const folder = await mkdtemp(join(tmpdir(), `tukio-${name}-`));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  await cp(join(root, "test/fixture/project", name), folder, { recursive: true });
  await cp(sdk.tarball, join(folder, "tukio-client.tgz"));
  for (const [path, code] of Object.entries(components)) await writeFile(join(folder, path), inProject(code));
  const env = {
    ...environment,
    PATH: `${dirname(process.execPath)}:${machinePath}`,
    ORDER: JSON.stringify(order),
    CI: "1",
    NEXT_TELEMETRY_DISABLED: "1",
  };
  const options = { cwd: folder, env, maxBuffer: 2 ** 26 };
  await exec(
    "npm",
    ["install", "--ignore-scripts", "--no-package-lock", "--no-audit", "--no-fund", "--prefer-offline"],
    {
      ...options,
      // Without the workspace's Node: npm is the machine's.
      env: { ...env, PATH: machinePath },
    },
  );
  const run = async (program: string, ...words: string[]): Promise<string> => {
    const path = join(folder, "node_modules", program);
    const command = exec(process.execPath, [path, ...words], options);
    const { stdout, stderr } = await command.catch((error: { stdout: string; stderr: string }) => {
      throw new Error(`${program} failed:\n${error.stdout}\n${error.stderr}`);
    });
    return stdout + stderr;
  };
  return { folder, run, env };
}

const inProject = (code: string): string => code.replaceAll("https://pay.example.com", order.url);

/** The README's component with this text in it. */
function componentWith(text: string): string {
  const found = blocksOf(textOf("client-sdk/README.md")).find(
    ({ language, code }) => language === "tsx" && code.includes(text),
  );
  if (!found) throw new Error(`the README has no component with ${text}`);
  return found.code;
}

/** Compiles a project's sources with the workspace's TypeScript. */
async function compile(project: string): Promise<void> {
  const command = exec(process.execPath, [join(root, "node_modules/typescript/bin/tsc"), "-p", project]);
  await command.catch(({ stdout }: { stdout: string }) => expect.unreachable(stdout));
}

const types: Readonly<Record<string, string>> = { ".html": "text/html", ".js": "text/javascript" };

/** Serves the files of a folder. Returns its URL. */
async function serve(folder: string): Promise<string> {
  const server = createServer(async (request, response) => {
    const { pathname } = new URL(request.url ?? "/", "http://shop");
    if (pathname === "/favicon.ico") return response.writeHead(204).end();
    const name = pathname === "/" ? "index.html" : pathname;
    const body = await readFile(join(folder, name)).catch(() => undefined);
    return response.writeHead(body ? 200 : 404, { "content-type": types[extname(name)] ?? "text/plain" }).end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Opens the project's page for the order, and waits until the text and each element show that it is paid. */
async function expectPaid(origin: string): Promise<Page> {
  const { page, complaints } = await openPage(browser);
  const { orderId, token } = order;
  await page.goto(`${origin}/?${new URLSearchParams({ orderId, token })}`);
  await page.locator("main > p").filter({ hasText: "succeeded" }).waitFor();
  const elements = await page.locator("order-status").all();
  expect(elements).not.toEqual([]);
  for (const element of elements) await element.locator("[part=title]").filter({ hasText: "Paid" }).waitFor();
  expect(complaints).toEqual([]);
  return page;
}

/** Expects that the last element has the README's `refreshToken` and listener. */
async function expectListened(page: Page): Promise<void> {
  const [logged] = await Promise.all([
    page.waitForEvent("console"),
    page.evaluate(`{
      const element = [...document.querySelectorAll("order-status")].at(-1);
      element.dispatchEvent(new CustomEvent("statuschange", { detail: { status: typeof element.refreshToken } }));
    }`),
  ]);
  expect(logged.text()).toBe("function undefined");
}

describe("the packed SDK in a fresh project", () => {
  it(
    "runs in Node as an ES module and as a CommonJS module, and its types need no React",
    async () => {
      const { folder, env } = await open("node");
      for (const file of ["main.mjs", "main.cjs"]) {
        const { stdout } = await exec("node", [file], { cwd: folder, env: { ...env, PATH: machinePath } });
        expect(stdout.trim()).toBe("succeeded function");
      }
      // One after the other, because a program has the types of either kind of module.
      for (const kind of ["mts", "cts"]) await compile(join(folder, `tsconfig.${kind}.json`));
    },
    projectMsMax,
  );

  it(
    "runs in Jest without a configuration",
    async () => {
      const { run } = await open("jest");
      expect(await run("jest/bin/jest.js")).toMatch(/Tests: +2 passed/);
    },
    projectMsMax,
  );

  it(
    "is bundled by webpack without a configuration",
    async () => {
      const { folder, run } = await open("webpack", {
        "src/index.js": textOf("test/fixture/project/webpack/src/index.js"),
      });
      await run("webpack-cli/bin/cli.js", "--mode", "production");
      await cp(join(folder, "index.html"), join(folder, "dist/index.html"));
      await expectPaid(await serve(join(folder, "dist")));
    },
    projectMsMax,
  );

  it(
    "is bundled by Vite, with the hook, the element and their types in React 18",
    async () => {
      const { folder, run } = await open("vite", {
        "src/payment-status.tsx": componentWith("useOrderStatus("),
        "src/payment.tsx": componentWith("return <order-status url"),
        "src/payment-listened.tsx": componentWith("ref={element}"),
      });
      await compile(folder);
      await run("vite/bin/vite.js", "build");
      await expectListened(await expectPaid(await serve(join(folder, "dist"))));
    },
    projectMsMax,
  );

  it(
    "is built by Next.js, with the hook, the element and their types in React 19 and server components",
    async () => {
      const { folder, run, env } = await open("next", {
        "app/payment-status.tsx": componentWith("useOrderStatus("),
        "app/payment.tsx": componentWith("return <order-status url"),
        "app/payment-listened.tsx": componentWith("ref={element}"),
      });
      await run("next/dist/bin/next", "build");
      const program = join(folder, "node_modules/next/dist/bin/next");
      const server = spawn(process.execPath, [program, "start", "-p", "0", "-H", "127.0.0.1"], { cwd: folder, env });
      onTestFinished(() => void server.kill("SIGKILL"));
      let output = "";
      const origin = await new Promise<string>((resolve, reject) => {
        for (const stream of [server.stdout, server.stderr])
          stream.on("data", (chunk) => {
            output += chunk;
            const [url] = /http:\/\/127\.0\.0\.1:[1-9]\d*/.exec(output) ?? [];
            if (url && output.includes("Ready")) resolve(url);
          });
        server.once("exit", () => reject(new Error(`next start ended:\n${output}`)));
      });
      await expectListened(await expectPaid(origin));
    },
    projectMsMax,
  );
});
