/** FreeRADIUS with the configuration of `examples/wifi-portal`, and a router that asks it. */
import { execFile, spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { promisify } from "node:util";
import { onTestFinished } from "vitest";
import { commandsOf, type InstalledExample } from "./example.ts";
import { killedWithParent } from "./redis.ts";

const exec = promisify(execFile);

async function freeUdpPort(): Promise<number> {
  const socket = createSocket("udp4").bind(0, "127.0.0.1");
  await once(socket, "listening");
  const { port } = socket.address();
  socket.close();
  await once(socket, "close");
  return port;
}

export interface RadiusAnswer {
  isAccepted: boolean;
  /** The reply's attributes, by name. */
  reply: Record<string, string>;
}

export interface Radius {
  /** Asks whether a device may go online with a code. */
  logIn(code: string, device: string): Promise<RadiusAnswer>;
  /** Reports a session of a device: its start, and its end after some seconds. */
  account(code: string, device: string, session: { status: "Start" | "Stop"; seconds?: number }): Promise<void>;
}

/** Starts FreeRADIUS by the README's commands, on free ports. */
export async function startRadius({ name, folder }: InstalledExample, databaseUrl: string): Promise<Radius> {
  const [port, accountingPort] = [await freeUdpPort(), await freeUdpPort()];
  const commands = commandsOf(name, "radius")
    .join("\n")
    .replace("1812", `${port}`)
    .replace("1813", `${accountingPort}`);
  const env = { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", DATABASE_URL: databaseUrl };
  const [file = "", ...words] = [
    ...killedWithParent,
    "bash",
    "-euc",
    commands.replace(/^freeradius/m, "exec freeradius"),
  ];
  const server = spawn(file, words, { cwd: folder, env, stdio: ["ignore", "pipe", "pipe"] });
  onTestFinished(async () => {
    if (server.exitCode !== null || server.signalCode !== null) return;
    const exited = once(server, "exit");
    server.kill("SIGKILL");
    await exited;
  });
  let output = "";
  await new Promise<void>((resolve, reject) => {
    for (const stream of [server.stdout, server.stderr]) {
      stream.on("data", (chunk: Buffer) => {
        output += chunk;
        if (output.includes("Ready to process requests")) resolve();
      });
    }
    server.once("exit", () => reject(new Error(`FreeRADIUS did not start:\n${output.slice(-4_000)}`)));
  });
  const [command = ""] = commandsOf(name, "radclient");
  return {
    async logIn(code, device) {
      const words = command.replace("1812", `${port}`).replace("02-00-00-00-00-01", device);
      // radclient fails when it is refused.
      const { stdout } = await exec("bash", ["-c", words], { env: { ...env, CODE: code } }).catch((error) => error);
      if (!/Received Access-(Accept|Reject)/.test(stdout))
        throw new Error(`FreeRADIUS does not answer: ${stdout}\n${output}`);
      const reply = [...stdout.matchAll(/^\t([\w-]+) = "?([^"\n]*)"?$/gm)].map(([, key, value]) => [key, value]);
      return { isAccepted: stdout.includes("Access-Accept"), reply: Object.fromEntries(reply) };
    },
    async account(code, device, { status, seconds }) {
      const attributes = {
        "User-Name": code,
        "Acct-Status-Type": status,
        "Acct-Session-Id": `${code}-${device}`,
        "NAS-IP-Address": "127.0.0.1",
        "Calling-Station-Id": device,
        ...(seconds !== undefined && { "Acct-Session-Time": `${seconds}` }),
      };
      const text = Object.entries(attributes)
        .map(([key, value]) => `${key}=${value}`)
        .join(",");
      await exec("bash", ["-c", `echo "${text}" | radclient 127.0.0.1:${accountingPort} acct testing123`], { env });
    },
  };
}
