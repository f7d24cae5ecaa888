/** nginx with the two files of `deploy/`; only addresses, certificate, paths and what the machine allows are replaced. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished, vi } from "vitest";
import { createCertificate } from "./certificate.ts";
import { ensureProgram } from "./debian.ts";
import { freePort, killedWithParent } from "./redis.ts";

export interface Nginx {
  /** An added listener without TLS, so that clients need no certificate. */
  url: string;
  tls: { port: number; ca: string };
  /** The port that redirects to TLS. */
  plainPort: number;
  /** The contents of all log files. */
  logs(): Promise<string>;
}

/** Starts nginx in front of nodes and stops it with the test. `port` is the listener without TLS. */
export async function startNginx({ port, nodes }: { port: number; nodes: readonly { url: string }[] }): Promise<Nginx> {
  const program = await ensureProgram("nginx", "nginx-light");
  const dir = await mkdtemp(join(tmpdir(), "tukio-nginx-"));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  await chmod(dir, 0o755);
  const [tlsPort, plainPort] = [await freePort(), await freePort()];
  const { key, certificate } = await createCertificate(dir, "DNS:pay.example.com");

  const servers = nodes.map(({ url }) => `  server ${new URL(url).host};\n`).join("");
  const site = await replaced(new URL("../../deploy/nginx.conf", import.meta.url), [
    [/(?: {2}server 127\.0\.0\.1:\d+;\n)+/g, servers, 2],
    [/(?: {2}server 127\.0\.0\.1:\d+ max_fails=0;\n)+/g, servers.replaceAll(";", " max_fails=0;"), 1],
    [/listen 443 ssl http2;/g, `listen 127.0.0.1:${tlsPort} ssl http2; listen 127.0.0.1:${port};`, 1],
    [/listen 80;/g, `listen 127.0.0.1:${plainPort};`, 1],
    [/listen \[::\]:\d+( ssl http2)?;/g, "", 2],
    [/\/etc\/letsencrypt\S+fullchain.pem/g, certificate, 1],
    [/\/etc\/letsencrypt\S+privkey.pem/g, key, 1],
    [/\/var\/log\/nginx/g, dir, 2],
  ]);
  await writeFile(join(dir, "tukio.conf"), site);
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(
    (name) => `${name}_temp_path ${dir}/${name};`,
  );
  const main = await replaced(new URL("../../deploy/nginx-main.conf", import.meta.url), [
    // What the machine that runs the tests allows.
    [/worker_rlimit_nofile \d+;/g, "", 1],
    [/worker_connections \d+;/g, "worker_connections 4096;", 1],
    [/\/run\/nginx\.pid/g, `${dir}/pid`, 1],
    [/http \{/g, `daemon off;\nhttp {\n${temporary.join(" ")}`, 1],
    [/\/etc\/nginx\/conf\.d\/\*\.conf/g, `${dir}/tukio.conf`, 1],
  ]);
  await writeFile(join(dir, "main.conf"), main);
  const command = [
    ...killedWithParent,
    program,
    "-p",
    dir,
    "-c",
    join(dir, "main.conf"),
    "-e",
    join(dir, "main-error.log"),
  ];
  const [file = "", ...rest] = command;
  const nginx = spawn(file, rest, { stdio: "ignore" });
  const exited = once(nginx, "exit");
  onTestFinished(async () => {
    nginx.kill("SIGTERM");
    await exited;
  });
  const url = `http://127.0.0.1:${port}`;
  await vi.waitUntil(() =>
    fetch(`${url}/livez`).then(
      ({ ok }) => ok,
      () => false,
    ),
  );
  const logs = ["tukio.log", "tukio-error.log", "main-error.log"];
  return {
    url,
    tls: { port: tlsPort, ca: await readFile(certificate, "utf8") },
    plainPort,
    logs: async () => (await Promise.all(logs.map((log) => readFile(join(dir, log), "utf8")))).join(""),
  };
}

/** Reads a file and replaces each pattern. Throws unless a pattern occurs exactly as often as stated. */
async function replaced(path: URL, changes: readonly (readonly [RegExp, string, number])[]): Promise<string> {
  let text = await readFile(path, "utf8");
  for (const [what, by, times] of changes) {
    const found = text.match(what)?.length;
    if (found !== times) throw new Error(`${path.pathname} contains ${what} ${found} times, expected ${times}`);
    text = text.replaceAll(what, by);
  }
  return text;
}
