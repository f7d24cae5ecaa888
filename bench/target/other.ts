/** The floor and the peers as targets. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { freePort, type Machine, type Program, run } from "../machine.ts";
import type { Job, WatchVia } from "../message.ts";
import { callback, insertOrders } from "../work.ts";
import type { Target } from "./target.ts";

interface OtherOptions {
  machine: Machine;
  name: string;
  /** The program's path, relative to `bench/`. */
  file: string;
  env?: Record<string, string>;
  /** The path on which an order is watched. */
  path: (id: string, via: WatchVia) => string;
}

async function startOther({ machine, name, file, env = {}, path }: OtherOptions): Promise<Target> {
  const { url, pool } = await machine.database(name);
  const begin = (): Promise<Program> =>
    machine.start(join(import.meta.dirname, "..", file), {
      env: { DATABASE_URL: url, REDIS_URL: machine.redisUrl, ...env },
    });
  let program = await begin();
  return {
    name,
    database: name,
    get program() {
      return program;
    },
    expects: '"status":"succeeded"',
    async prepare(count, via) {
      const ids = await insertOrders(pool, count);
      return ids.map(
        (id): Job => ({ id, watchUrl: `@${path(id, via)}`, webhookUrl: `@/${id}`, body: callback(`ws_CO_${id}`) }),
      );
    },
    async restart() {
      await program.stop();
      program = await begin();
    },
  };
}

export const startFloor = (machine: Machine): Promise<Target> =>
  startOther({ machine, name: "floor", file: "floor.ts", path: (id) => `/${id}` });

export const startChoices = (machine: Machine): Promise<Target> =>
  startOther({ machine, name: "choices", file: "peer/choices.ts", path: (id) => `/${id}` });

export const startSocketIo = (machine: Machine, adapter: "none" | "redis" | "streams"): Promise<Target> =>
  startOther({
    machine,
    name: `socketio_${adapter}`,
    file: "peer/socketio.ts",
    env: { ADAPTER: adapter },
    path: () => "",
  });

export const startWaiting = (machine: Machine, via: "poll" | "longpoll"): Promise<Target> =>
  startOther({
    machine,
    name: `waiting_${via}`,
    file: "peer/waiting.ts",
    path: (id) => (via === "poll" ? `/${id}` : `/${id}/wait`),
  });

export const startBareHttp = (machine: Machine): Promise<Target> =>
  startOther({ machine, name: "bare_http", file: "peer/http.ts", path: (id) => `/${id}` });

const nchanModule = "/usr/lib/nginx/modules/ngx_nchan_module.so";

/** Starts Debian's nginx with the Nchan module over Redis. Installs them as root if they are missing. */
export async function startNchan(machine: Machine): Promise<Target> {
  if (!existsSync(nchanModule) || !existsSync("/usr/sbin/nginx")) {
    const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
    await run("apt-get", ["install", "-y", "-q", "--no-install-recommends", "nginx-light", "libnginx-mod-nchan"], {
      env,
    });
  }
  const port = await freePort();
  const redisPort = new URL(machine.redisUrl).port;
  const config = join(machine.dir, "nchan.conf");
  writeFileSync(
    config,
    `load_module ${nchanModule};
daemon off; worker_processes 1; worker_rlimit_nofile 20000;
pid ${machine.dir}/nchan.pid; error_log ${machine.dir}/nchan.log;
events { worker_connections 19000; }
http {
  access_log off; keepalive_requests 1000000; client_body_temp_path ${machine.dir}/nchan-body;
  proxy_temp_path ${machine.dir}/nchan-proxy; fastcgi_temp_path ${machine.dir}/nchan-f;
  uwsgi_temp_path ${machine.dir}/nchan-u; scgi_temp_path ${machine.dir}/nchan-s;
  upstream redis { nchan_redis_server redis://127.0.0.1:${redisPort}; }
  server {
    listen 127.0.0.1:${port};
    location ~ /pub/(.+)$ { nchan_publisher; nchan_channel_id $1; nchan_redis_pass redis; nchan_message_timeout 60s; }
    location ~ /sub/(.+)$ { nchan_subscriber; nchan_channel_id $1; nchan_redis_pass redis; }
    location / { return 200 ok; }
  }
}
`,
  );
  const child = spawn("setpriv", ["--pdeathsig", "TERM", "/usr/sbin/nginx", "-c", config], { stdio: "ignore" });
  const url = `http://127.0.0.1:${port}`;
  for (let tries = 0; tries < 100; tries += 1) {
    if (
      await fetch(url).then(
        (a) => a.ok,
        () => false,
      )
    )
      break;
    await wait(50);
  }
  // The master's only child is the worker, whose CPU time is measured.
  const { stdout } = await run("cat", [`/proc/${child.pid}/task/${child.pid}/children`]);
  const program: Program = {
    pid: Number(stdout.trim().split(" ")[0]),
    url,
    async stop() {
      if (child.exitCode !== null) return;
      const exited = once(child, "exit");
      child.kill("SIGTERM");
      await exited;
    },
  };
  let made = 0;
  return {
    name: "nchan",
    program,
    expects: "stkCallback",
    async prepare(count) {
      return Array.from({ length: count }, (): Job => {
        made += 1;
        const id = `n${made}`;
        return { id, watchUrl: `@/sub/${id}`, webhookUrl: `@/pub/${id}`, body: callback(`ws_CO_${id}`) };
      });
    },
    restart: () => Promise.resolve(),
  };
}
