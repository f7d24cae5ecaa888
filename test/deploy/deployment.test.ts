/**
 * The deployments of docs/guide/deploy.md without their engines: each form's commands run as processes, with the environment that it gives
 * them, on a server's PostgreSQL and a Redis, behind the deployed nginx. A payment is paid and watched through nginx. Replaced are only
 * the addresses of PostgreSQL, Redis and the nodes, which are free ports of this machine. The file system is read-only where the form
 * says so and the machine allows a test to make it so.
 */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { parse, parseAllDocuments } from "yaml";
import { blocksOf, root, textOf } from "../docs/markdown.ts";
import { createCleanups } from "../support/deployment.ts";
import { buildImage, image } from "../support/image.ts";
import { startNginx } from "../support/nginx.ts";
import { call, nodeAt, paymentBody } from "../support/node.ts";
import { startedUrl } from "../support/process.ts";
import { freePort, startRedis } from "../support/redis.ts";
import { startScriptedDaraja } from "../support/scripted-daraja.ts";
import { ensurePostgres, type ServerPostgres, startServerPostgres } from "../support/server-postgres.ts";
import { watch } from "../support/watch.ts";

const exec = promisify(execFile);

vi.setConfig({ testTimeout: 120_000 });

type Env = Record<string, string>;

/** How a form runs one node. */
interface NodeSpec {
  command: readonly string[];
  env: Env;
  cwd: string;
  isReadOnly: boolean;
}

let server: ServerPostgres;
let imageFolder: string;
beforeAll(async () => {
  await ensurePostgres();
  const cleanups = createCleanups();
  server = await startServerPostgres(cleanups.add);
  const { folder, remove } = await buildImage();
  imageFolder = folder;
  cleanups.add(remove);
  return cleanups.runAll;
}, 300_000);

/** `tukio.env` as the command of the guide creates it. */
async function createEnvironmentFile(): Promise<Env> {
  const folder = await mkdtemp(join(tmpdir(), "tukio-env-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  const [create] = blocksOf(textOf("docs/guide/deploy.md"));
  const env = { PATH: `${dirname(process.execPath)}:${process.env.PATH}` };
  await exec("bash", ["-euc", create?.code ?? ""], { cwd: folder, env });
  return variablesOf(await readFile(join(folder, "tukio.env"), "utf8"));
}

const variablesOf = (text: string): Env =>
  Object.fromEntries([...text.matchAll(/^([A-Z_]+)=(.*)$/gm)].map(([, name = "", value = ""]) => [name, value]));

const interpolate = (value: string, env: Env): string =>
  value.replace(/\$\{(\w+)(?::\?[^}]*)?\}/g, (_, name: string) => env[name] ?? "");

const ofImage = { command: image.command, cwd: "", isReadOnly: true };

const forms: Record<string, (file: Env) => NodeSpec[]> = {
  "deploy/compose.yaml": (file) => {
    const { services } = parse(textOf("deploy/compose.yaml"), { merge: true }) as {
      services: Record<string, { environment: Env; read_only?: boolean }>;
    };
    return ["node-1", "node-2"].map((name) => {
      const { environment = {}, read_only: isReadOnly = false } = services[name] ?? {};
      const own = Object.entries(environment).map(([variable, value]) => [variable, interpolate(value, file)]);
      return { ...ofImage, isReadOnly, env: { ...image.env, ...file, ...Object.fromEntries(own) } };
    });
  },
  "deploy/kubernetes.yaml": (file) => {
    interface Container {
      env: { name: string; value: string }[];
      securityContext: { readOnlyRootFilesystem: boolean };
    }
    const manifests = parseAllDocuments(textOf("deploy/kubernetes.yaml")).map((one) => one.toJS());
    const set = manifests.find(({ kind }) => kind === "StatefulSet");
    const container: Container = set.spec.template.spec.containers[0];
    const own = container.env.map(({ name, value }) => [name, value]);
    const env = { ...image.env, ...file, ...Object.fromEntries(own) };
    const isReadOnly = container.securityContext.readOnlyRootFilesystem;
    return Array.from({ length: set.spec.replicas }, () => ({ ...ofImage, isReadOnly, env }));
  },
  "deploy/tukio@.service": (file) =>
    ["1", "2"].map((instance) => {
      const unit = textOf("deploy/tukio@.service").replaceAll("%i", instance);
      const [, command = ""] = /^ExecStart=(.*)$/m.exec(unit) ?? [];
      const [, own = ""] = /^Environment=(.*)$/m.exec(unit) ?? [];
      const [program = "", ...rest] = command.split(" ");
      expect(program).toBe("/opt/tukio/node_modules/.bin/node");
      const env = { ...file, ...variablesOf(own.replaceAll(" ", "\n")) };
      return { command: ["node", ...rest], cwd: root, isReadOnly: false, env };
    }),
};

/** Whether this machine lets a test mount: as root, outside of most containers. */
const canMount = (): Promise<boolean> =>
  exec("unshare", ["-m", "mount", "-o", "remount,ro,bind", "/"]).then(
    () => true,
    () => false,
  );

interface Running {
  url: string;
  env: Env;
  cwd: string;
  process: ChildProcess;
  output(): string;
}

async function run({ command, env, cwd, isReadOnly }: NodeSpec): Promise<Running> {
  const dataDir = await mkdtemp(join(tmpdir(), "tukio-data-"));
  onTestFinished(() => rm(dataDir, { recursive: true, force: true }));
  const all = { ...env, PORT: String(await freePort()), DATA_DIR: dataDir, PATH: dirname(process.execPath) };
  const folder = cwd === "" ? imageFolder : cwd;
  const readOnly = `/usr/bin/mount --bind "$DATA_DIR" "$DATA_DIR" && /usr/bin/mount -o remount,ro,bind / && exec "$@"`;
  const wrap = isReadOnly && (await canMount()) ? ["unshare", "-m", "/bin/sh", "-euc", readOnly, "sh"] : [];
  const [file = "", ...rest] = [...wrap, ...command];
  const program = file === "node" ? process.execPath : `/usr/bin/${file}`;
  const child = spawn(program, rest, { cwd: folder, env: all, stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk: Buffer) => (output += chunk.toString()));
  onTestFinished(() => void child.kill("SIGKILL"));
  const url = await vi.waitUntil(
    () => {
      if (child.exitCode !== null) throw new Error(`the node exited:\n${output}`);
      return startedUrl(output);
    },
    { timeout: 55_000 },
  );
  return { url: url.replace("0.0.0.0", "127.0.0.1"), env: all, cwd: folder, process: child, output: () => output };
}

describe.each(Object.keys(forms))("the nodes of %s", (name) => {
  it("take a payment through the deployed nginx, deliver its states, and end in time", async () => {
    const database = await server.createDatabase(`d_${Object.keys(forms).indexOf(name)}`);
    const redis = await startRedis();
    onTestFinished(redis.stop);
    const daraja = await startScriptedDaraja();
    const file = { ...(await createEnvironmentFile()), ...daraja.env };
    const specs = forms[name]?.(file) ?? [];
    expect(specs).toHaveLength(2);
    for (const spec of specs) {
      // The names of the servers in the environment, as the form gives them.
      expect(spec.env.DATABASE_URL).toMatch(/^postgres:\/\/tukio:[0-9a-f]{48}@(127\.0\.0\.1|postgres):5432\/tukio$/);
      expect(spec.env.REDIS_URL).toMatch(/^redis:\/\/(127\.0\.0\.1|redis):6379$/);
    }
    const replaced = { DATABASE_URL: database, REDIS_URL: redis.url };
    const nodes = await Promise.all(specs.map((spec) => run({ ...spec, env: { ...spec.env, ...replaced } })));
    const ready = await vi.waitUntil(async () => {
      const answers = await Promise.all(nodes.map(({ url }) => call(`${url}/readyz`)));
      return answers.every(({ status, body }) => status === 200 && (body as unknown as { bus: string }).bus === "up");
    });
    expect(ready).toBe(true);

    const nginx = await startNginx({ port: await freePort(), nodes });
    const headers = { authorization: `Bearer ${file.TUKIO_API_KEY}`, "content-type": "application/json" };
    const started = await call(`${nginx.url}/v1/payments`, {
      method: "POST",
      headers,
      body: JSON.stringify(paymentBody()),
    });
    expect(started.status).toBe(202);
    const push = await daraja.nextPush();
    // Safaricom would send the webhook to the public address.
    expect(push.callbackUrl).toMatch(/^https:\/\/pay\.example\.com\/webhooks\/daraja\/[0-9a-f]{64}$/);
    push.accept();
    const { orderId } = started.body.order;
    const watches = Array.from({ length: 4 }, () =>
      watch("WebSocket", { node: nodeAt(nginx.url), orderId, token: started.body.watchToken }),
    );
    await Promise.all(watches.map((one) => one.until(({ status }) => status === "processing")));
    const success = {
      ResultCode: 0,
      CheckoutRequestID: push.reference,
      CallbackMetadata: {
        Item: [
          { Name: "Amount", Value: 150 },
          { Name: "MpesaReceiptNumber", Value: "NLJ7RT61SV" },
        ],
      },
    };
    const webhook = await call(nginx.url + new URL(push.callbackUrl).pathname, {
      method: "POST",
      body: JSON.stringify({ Body: { stkCallback: success } }),
    });
    expect(webhook.status).toBe(200);
    const seen = await Promise.all(watches.map((one) => one.until(({ settled }) => settled)));
    for (const { status, payment } of seen) expect([status, payment.receipt]).toEqual(["succeeded", "NLJ7RT61SV"]);

    const [health = "", ...test] = image.healthCheck;
    expect(health).toBe("node");
    await exec(process.execPath, test, { env: nodes[0]?.env ?? {} });
    await expect(exec(process.execPath, test, { env: { PORT: String(await freePort()) } })).rejects.toThrow();
    for (const { process: child } of nodes) {
      const exited = new Promise((resolve) => child.once("exit", (code) => resolve(code)));
      child.kill("SIGTERM");
      expect(await exited).toBe(0);
    }
  });
});

it("the probes of deploy/kubernetes.yaml ask existing routes", () => {
  const paths = [...textOf("deploy/kubernetes.yaml").matchAll(/httpGet: \{ path: (\S+), port: http \}/g)];
  expect(paths.map(([, path]) => path)).toEqual(["/livez", "/livez", "/readyz"]);
});

it("the command of Redis in deploy/compose.yaml starts a server that stores nothing", async () => {
  const { services } = parse(textOf("deploy/compose.yaml"), { merge: true });
  const { command } = services.redis as { command: string[] };
  const port = await freePort();
  const [program = "", ...rest] = command;
  const child = spawn(program, [...rest, "--port", `${port}`, "--bind", "127.0.0.1"], {
    cwd: tmpdir(),
    stdio: "ignore",
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  const ask = async (): Promise<string> =>
    exec("redis-cli", ["-p", `${port}`, "config", "get", "save"]).then(
      ({ stdout }) => stdout,
      () => "",
    );
  await vi.waitUntil(async () => (await ask()).startsWith("save"));
  expect((await ask()).trim()).toBe("save");
});
