/** Several Tukio processes behind Debian's nginx with the configuration of deploy/, on a Redis Cluster of three servers. */
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { promisify } from "node:util";
import { Redis } from "ioredis";
import { freePort, type Machine, type Program } from "../machine.ts";

const exec = promisify(execFile);

export interface BenchCluster {
  /** The URLs of all servers, in the format of `REDIS_URL`. */
  url: string;
  servers: Redis[];
  stop(): Promise<void>;
}

export async function startCluster(machine: Machine): Promise<BenchCluster> {
  const ports: number[] = [];
  // Below 55,000, because a server's cluster bus port is 10,000 higher.
  while (ports.length < 3) {
    const port = await freePort();
    if (port < 55_000) ports.push(port);
  }
  const children = ports.map((port) => {
    const options = [
      "--bind",
      "127.0.0.1",
      "--port",
      `${port}`,
      "--save",
      "",
      "--appendonly",
      "no",
      "--dir",
      machine.dir,
    ];
    const clustered = [
      "--cluster-enabled",
      "yes",
      "--cluster-config-file",
      `nodes-${port}.conf`,
      "--maxclients",
      "15000",
    ];
    return spawn("setpriv", ["--pdeathsig", "KILL", "redis-server", ...options, ...clustered], { stdio: "ignore" });
  });
  await wait(500);
  const addresses = ports.map((port) => `127.0.0.1:${port}`);
  await exec("redis-cli", ["--cluster", "create", ...addresses, "--cluster-yes"]);
  const servers = ports.map((port) => new Redis(port, "127.0.0.1"));
  for (const server of servers) {
    while (!String(await server.call("cluster", "info")).includes("cluster_state:ok")) await wait(50);
  }
  return {
    url: addresses.map((address) => `redis://${address}`).join(","),
    servers,
    async stop() {
      for (const server of servers) server.disconnect();
      for (const child of children) {
        child.kill("SIGKILL");
        if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
      }
    },
  };
}

/** Starts nginx in front of the nodes. `stop` stops nginx before the nodes. */
export async function startFront(machine: Machine, nodes: readonly Program[]): Promise<Program> {
  const [port, plainPort] = [await freePort(), await freePort()];
  const dir = join(machine.dir, `nginx-${port}`);
  mkdirSync(dir);
  const servers = nodes.map(({ url }) => `  server ${new URL(url).host};\n`).join("");
  const site = readFileSync(new URL("../../deploy/nginx.conf", import.meta.url), "utf8")
    .replaceAll(/(?: {2}server 127\.0\.0\.1:\d+;\n)+/g, servers)
    .replace("listen 443 ssl http2;", `listen 127.0.0.1:${port};`)
    .replace("listen 80;", `listen 127.0.0.1:${plainPort};`)
    .replaceAll(/^ *(?:listen \[::\]|ssl_).*$/gm, "")
    .replaceAll("/var/log/nginx", dir);
  writeFileSync(join(dir, "site.conf"), site);
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(
    (name) => `${name}_temp_path ${dir}/${name};`,
  );
  writeFileSync(
    join(dir, "main.conf"),
    `pid ${dir}/pid; daemon off; worker_processes 1; worker_rlimit_nofile 20000; events { worker_connections 19000; }
     http { ${temporary.join(" ")} include ${dir}/site.conf; }`,
  );
  const command = ["--pdeathsig", "TERM", "/usr/sbin/nginx", "-p", dir, "-c", join(dir, "main.conf")];
  const nginx = spawn("setpriv", [...command, "-e", join(dir, "error.log")], { stdio: "ignore" });
  const url = `http://127.0.0.1:${port}`;
  for (let tries = 0; tries < 100; tries += 1) {
    const isUp = await fetch(`${url}/livez`).then(
      ({ ok }) => ok,
      () => false,
    );
    if (isUp) break;
    await wait(50);
  }
  return {
    pid: nodes[0]?.pid ?? 0,
    pids: nodes.map(({ pid }) => pid),
    url,
    async stop() {
      if (nginx.exitCode === null && nginx.signalCode === null) {
        const exited = once(nginx, "exit");
        nginx.kill("SIGTERM");
        await exited;
      }
      await Promise.all(nodes.map((node) => node.stop()));
    },
  };
}
