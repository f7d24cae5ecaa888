/**
 * The commands of the documentation, run as a reader would run them: the blocks of one page in order, in one shell, against a
 * started product. Two things differ from the text: the port (`localhost:3000` is the product's own), and the folder, which
 * has the product's `.tukio` and the repository's `node_modules`. A stream is cut after two seconds.
 *
 * A block that cannot be run has the comment `<!-- not run: reason -->` above it, and stands in `notRun` below.
 */
import { execFile } from "node:child_process";
import { mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { createDatabase } from "../support/database.ts";
import { ensureProgram } from "../support/debian.ts";
import { startTestProcess } from "../support/process.ts";
import { type Block, blocksOf, documents, examples, filesBelow, root, textOf } from "./markdown.ts";

const exec = promisify(execFile);

/** Blocks that no test runs as they are written, by document and first line. */
const notRun = [
  ["CONTRIBUTING.md", "npm ci"],
  ["CONTRIBUTING.md", 'npx vitest run --configLoader native test/api-docs/openapi.test.ts -u -t "is the one in docs"'],
  [
    "README.md",
    "npm ci && npm start      # http://localhost:3000, with PostgreSQL and a sandbox of every provider included",
  ],
  ["docs/operating.md", "cp deploy/tukio@.service /etc/systemd/system/"],
  [
    "docs/operating.md",
    "podman build -f deploy/Containerfile --ignorefile deploy/Containerfile.dockerignore -t tukio .",
  ],
  ["docs/operating.md", `psql "$DATABASE_URL" -c 'select start_epoch()'`],
  ["docs/desk.md", "npm start      # then open http://localhost:3000/desk"],
  ["docs/guide/ci.md", "npm ci --omit=dev"],
  ["docs/guide/deploy.md", "apt-get update && apt-get install --yes git nodejs npm postgresql redis-server nginx curl"],
  ["docs/guide/deploy.md", ". ./tukio.env"],
  ["docs/guide/deploy.md", "install -m 600 tukio.env /etc/tukio.env"],
  ["docs/guide/deploy.md", "cp deploy/nginx-main.conf /etc/nginx/nginx.conf"],
  ["docs/guide/deploy.md", "docker compose --env-file tukio.env -f deploy/compose.yaml up --build --detach"],
  [
    "docs/guide/deploy.md",
    "podman build -f deploy/Containerfile --ignorefile deploy/Containerfile.dockerignore -t tukio .",
  ],
  ["docs/guide/deploy.md", "kubectl create secret generic tukio --from-env-file=tukio.env"],
  ["docs/guide/go-live.md", "npm start"],
  ["docs/guide/mtn.md", "API_USER=$(node -p 'crypto.randomUUID()')"],
  ["docs/guide/operate.md", `journalctl -u 'tukio@*' -o cat --since today | grep '"event":"provider.token.denied"'`],
  ["docs/guide/recover.md", "cd /opt/tukio && git fetch --tags && git checkout v0.1.0 && npm ci --omit=dev"],
  ["docs/provider.md", "npm run check"],
  ["examples/django-laundry/README.md", "sudo apt install python3-django"],
  ["examples/django-laundry/README.md", "npx tukio listen --forward-to localhost:4000/hooks/tukio"],
  ["examples/events-shop/README.md", "npx tukio listen --forward-to localhost:4000/hooks/tukio"],
  ["examples/express-shop/README.md", "npx tukio listen --forward-to localhost:4000/hooks/tukio"],
  ["examples/nextjs-course/README.md", "npm --prefix ../.. run build:sdk"],
  ["examples/nextjs-course/README.md", "npx tukio listen --forward-to localhost:4000/hooks/tukio"],
  ["examples/php/README.md", "sudo apt install php-cli php-sqlite3"],
  ["examples/php/README.md", "npx tukio listen --forward-to localhost:4000/hooks/tukio"],
  ["examples/wifi-portal/README.md", "sudo apt install postgresql freeradius freeradius-postgresql freeradius-utils"],
  ["examples/wifi-portal/README.md", "npx tukio listen --forward-to localhost:4000/hooks/tukio"],
  ["docs/events.md", "S=$(npx tukio listen --print-secret) && WEBHOOK_SECRET=$S npx node handler.mjs"],
  ["docs/events.md", "npm pack --workspace merchant-sdk"],
  ["docs/events.md", "npx tukio listen --forward-to localhost:4000/hooks/tukio"],
  ["docs/events.md", "npx tukio trigger succeeded"],
  ["docs/events.md", "WEBHOOK_SECRET=whsec_… python3 handler.py"],
  ["docs/events.md", "WEBHOOK_SECRET=whsec_… php -S localhost:4000 handler.php"],
];

/** Documents whose commands another test runs. */
const elsewhere: Readonly<Record<string, string>> = {
  "docs/clients.md": "test/transport/foreign.test.ts",
  "docs/guide/recover.md": "test/docs/recover.test.ts",
};

/** The tests in `test/examples/` run the commands of the examples, each in a folder of its own. */
const isExample = (document: string): boolean => document.startsWith("examples/");

/** Fails on an HTTP error, and takes a stream that was cut for a success. */
const prelude = `
curl() {
  case " $* " in *" -N "* | *" -sN "*) set -- --max-time 2 "$@" ;; esac
  command curl --fail-with-body "$@" || [ $? = 28 ]
}
`;

const separator = "=== next block ===";

const commandsOf = (document: string): Block[] =>
  blocksOf(textOf(document)).filter(({ language }) => language === "sh");
const isRun = ({ reason }: Block): boolean => reason === undefined;

const run = documents.filter(
  (document) => !elsewhere[document] && !isExample(document) && commandsOf(document).some(isRun),
);

beforeAll(() => ensureProgram("curl", "curl"), 300_000);

/** A reader's folder, with the files that the document shows, and a product that keeps its data there. */
async function openFolder(document: string): Promise<{ folder: string; address: string }> {
  const folder = await mkdtemp(join(tmpdir(), "tukio-docs-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  // Of its own, because the products have different secrets, and those of one database compare theirs.
  const database = await createDatabase();
  onTestFinished(database.drop);
  const env = { DATABASE_URL: database.url, DATA_DIR: join(folder, ".tukio"), TUKIO_API_KEY: "", TUKIO_SECRET: "" };
  const { url } = await startTestProcess(env);
  const address = new URL(url).host;
  await symlink(join(root, "node_modules"), join(folder, "node_modules"));
  for (const { info, code } of blocksOf(textOf(document))) {
    if (/^[\w-]+\.\w+$/.test(info)) await writeFile(join(folder, info), code.replaceAll("localhost:3000", address));
  }
  return { folder, address };
}

/** Runs the blocks in one shell; returns what each printed. */
async function runBlocks(blocks: readonly Block[], folder: string, address: string): Promise<string[]> {
  const text = blocks
    .map(({ code }) => code.replaceAll("localhost:3000", address))
    .join(`\necho; echo '${separator}'\n`);
  const env = {
    ...process.env,
    PATH: `${dirname(process.execPath)}:${process.env.PATH}`,
    // The command `tukio` has the address of the text as its default.
    TUKIO_URL: `http://${address}`,
  };
  const { stdout } = await exec("bash", ["-euc", prelude + text], { cwd: folder, env, timeout: 50_000 });
  return stdout.split(`\n${separator}\n`);
}

/** Words of the API stay; what differs from run to run is named by its type. */
function shapeOf(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(shapeOf);
  if (typeof value === "string") return /^[a-z_]+$/.test(value) ? value : "text";
  if (typeof value !== "object" || value === null) return typeof value;
  const entries = Object.entries(value).toSorted(([a], [b]) => a.localeCompare(b));
  return Object.fromEntries(entries.map(([name, inner]) => [name, shapeOf(inner)]));
}

const lastLine = (text: string): string => text.trim().split("\n").at(-1) ?? "";

/** A line of text with receipts named by their form. */
const lineShape = (line: string): string => line.replace(/\b[A-Z0-9]{10}\b/g, "RECEIPT");

describe.each(run)("the commands of %s", (document) => {
  it("run in order, and print what the page shows", async () => {
    const blocks = commandsOf(document).filter(isRun);
    const { folder, address } = await openFolder(document);
    const printed = await runBlocks(blocks, folder, address);
    for (const [nth, { prints }] of blocks.entries()) {
      if (!prints) continue;
      const line = lastLine(printed[nth] ?? "");
      const shown = lastLine(prints.code);
      if (prints.language === "json") expect(shapeOf(JSON.parse(line))).toEqual(shapeOf(JSON.parse(shown)));
      else expect(lineShape(line)).toBe(lineShape(shown));
    }
  });
});

describe("the commands that this test does not run", () => {
  it("are marked with a reason, and listed", () => {
    const marked = documents.flatMap((document) =>
      commandsOf(document)
        .filter((block) => !isRun(block))
        .map(({ code }) => [document, code.split("\n", 1)[0]]),
    );
    expect(marked.toSorted()).toEqual(notRun.toSorted());
  });

  it.each(Object.entries(elsewhere))("in %s are run by %s", (document, test) => {
    const source = textOf(test);
    expect(source).toContain(document);
    for (const nth of commandsOf(document).keys()) expect(source).toContain(`commands[${nth}]`);
  });

  it.each(examples)("in examples/%s are run by a test in test/examples", (name) => {
    const tests = filesBelow("test/examples", /\.test\.ts$/).map(textOf);
    expect(tests.filter((source) => source.includes(`"${name}"`))).toHaveLength(1);
  });
});
