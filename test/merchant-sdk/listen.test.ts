/** `tukio listen` of the packed package, with real nodes, killed connections and restarts. */
import { beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { addEndpoint, startBackend } from "../support/backend.ts";
import { type RunningCommand, runCommand, startCommand } from "../support/command.ts";
import { createDatabase } from "../support/database.ts";
import { apiKey, asMerchant, pay, startNode, type TestNode } from "../support/node.ts";
import { startProcess, startTestProcess } from "../support/process.ts";
import { freePort } from "../support/redis.ts";
import { packMerchantSdk, type SdkPackage } from "../support/sdk-package.ts";
import { startTcpProxy } from "../support/tcp-proxy.ts";

let databaseUrl: string;
let sdk: SdkPackage;
beforeAll(async () => {
  const { url, drop } = await createDatabase();
  databaseUrl = url;
  sdk = await packMerchantSdk();
  return async () => {
    await sdk.remove();
    await drop();
  };
});

const listen = (url: string, ...args: string[]): RunningCommand =>
  startCommand(["listen", ...args], { folder: sdk.folder, url });

/** Pays an order, waits until it is settled, and returns the ids of its events. */
async function paid(node: TestNode): Promise<string[]> {
  const { order } = await pay(node, { phone: "+254712345601" });
  const { body } = await asMerchant(node, `/v1/orders/${order.orderId}/wait`);
  expect(body.status).toBe("succeeded");
  return [1, 2, 3].map((version) => `${order.id}.${order.epoch ?? 0}.${version}`);
}

const secretIn = (text: string): string => /whsec_[\w+/=]+/.exec(text)?.[0] ?? "";

describe("tukio listen", () => {
  it("posts what an endpoint receives, signed with the secret that it prints, and prints a line for each event", async () => {
    const node = await startNode({ databaseUrl });
    const [local, endpoint] = [await startBackend(), await startBackend()];
    await addEndpoint(node, endpoint);
    const command = listen(node.url, "--forward-to", local.url.replace("http://", ""));
    await command.until(/^Ready/m);
    local.secrets.push(secretIn(command.out()));
    const { order } = await pay(node, { phone: "+254712345601", description: "চা, ☕" });
    await command.until(/order\.succeeded/);
    await vi.waitUntil(() => endpoint.received.length === 1);
    const [received] = local.received;
    expect(local.received).toHaveLength(1);
    expect(received).toMatchObject({ isVerified: true, path: "/hooks" });
    expect([received?.id, received?.text]).toEqual([endpoint.received[0]?.id, endpoint.received[0]?.text]);
    expect(command.out().split("\n")).toEqual([
      `Forwarding events of ${node.url} to ${local.url}`,
      `Secret: ${local.secrets[0]}`,
      "Ready. Ctrl-C ends it.",
      expect.stringMatching(
        new RegExp(`^\\d\\d:\\d\\d:\\d\\d  order\\.succeeded  ${order.orderId} v3  →  200  \\d+ ms$`),
      ),
      "",
    ]);
  });

  it("prints the same secret for a key, and signs with another one that is given", async () => {
    const node = await startNode({ databaseUrl });
    const local = await startBackend();
    const options = { folder: sdk.folder, url: node.url };
    const { out, code } = await runCommand(["listen", "--print-secret"], options);
    expect([code, out]).toEqual([0, expect.stringMatching(/^whsec_[\w+/]{43}=\n$/)]);
    const command = listen(node.url, "--forward-to", local.url, "--json");
    await command.until(/ready/);
    expect(`${command.json()[0]?.secret}\n`).toBe(out);
    const other = await runCommand(["listen", "--print-secret"], { ...options, env: { TUKIO_API_KEY: "another-key" } });
    expect(other.out).not.toBe(out);
    const secret = `whsec_${Buffer.alloc(24, 7).toString("base64")}`;
    local.secrets.push(secret);
    const own = listen(node.url, "--forward-to", local.url, "--json", "--secret", secret);
    await own.until(/ready/);
    await paid(node);
    await vi.waitUntil(() => local.received.some(({ isVerified }) => isVerified));
  });

  it("warns before it forwards to another machine", async () => {
    const node = await startNode({ databaseUrl });
    const detail = "shop.invalid is not this machine. It receives all events, which contain data of your customers";
    const [text, json] = [[], ["--json"]].map((args) =>
      listen(node.url, "--forward-to", "https://shop.invalid/hooks", ...args),
    );
    await Promise.all([text?.until(/^Ready/m), json?.until(/ready/)]);
    expect(text?.error()).toBe(`Warning: ${detail}\n`);
    expect(JSON.parse(json?.error() ?? "")).toEqual({ warning: { code: "forward_remote", detail } });
  });

  it("forwards the chosen types, and past events", async () => {
    const node = await startNode({ databaseUrl });
    const since = new Date().toISOString();
    const [, , succeeded = ""] = await paid(node);
    const [one, all] = [await startBackend(), await startBackend()];
    const types = ["--events", "order.succeeded, order.failed", "--since", since];
    const chosen = listen(node.url, "--forward-to", one.url, "--json", ...types);
    const whole = listen(node.url, "--forward-to", all.url, "--json", "--events", "all");
    await Promise.all([chosen, whole].map((command) => command.until(/ready/)));
    const ids = await paid(node);
    await vi.waitUntil(() => all.received.length === 3 && one.received.length === 2);
    expect(one.received.map(({ id }) => id)).toEqual([succeeded, ids[2]]);
    expect(all.received.map(({ id }) => id)).toEqual(ids);
  });

  it("loses and repeats no event when its connection is killed, and when its node is killed and restarted", async () => {
    const env = { DATABASE_URL: databaseUrl };
    const first = await startProcess(env);
    const proxy = await startTcpProxy(first.url);
    const local = await startBackend();
    const command = listen(proxy.url, "--forward-to", local.url, "--events", "all", "--json");
    await command.until(/ready/);
    const reconnections = (): number => command.json().filter(({ event }) => event === "connected").length;
    const ids = await paid(first);
    proxy.drop();
    ids.push(...(await paid(first)));
    await vi.waitUntil(() => reconnections() === 1);
    proxy.cut();
    ids.push(...(await paid(first)));
    proxy.restore();
    ids.push(...(await paid(first)));
    await vi.waitUntil(() => reconnections() === 2);
    await first.end("SIGKILL");
    // Its events are committed while the command has no node.
    const second = await startTestProcess(env);
    ids.push(...(await paid(second)));
    proxy.targets = [second.url];
    await vi.waitUntil(() => local.received.length >= ids.length);
    expect(local.received.map(({ id }) => id)).toEqual(ids);
    await first.close();
  });

  it("continues at another node when its node shuts down", async () => {
    const [first, second] = [await startNode({ databaseUrl }), await startNode({ databaseUrl })];
    const proxy = await startTcpProxy(first.url);
    const local = await startBackend();
    const command = listen(proxy.url, "--forward-to", local.url, "--events", "all", "--json");
    await command.until(/ready/);
    const ids = await paid(first);
    proxy.targets = [second.url];
    await first.close();
    ids.push(...(await paid(second)));
    await vi.waitUntil(() => local.received.length >= ids.length);
    expect(local.received.map(({ id }) => id)).toEqual(ids);
  });

  it("continues when the URL fails, does not answer, or is not there, and says so", async () => {
    const node = await startNode({ databaseUrl });
    const local = await startBackend();
    local.answer = (response) => response.writeHead(500).end();
    const nowhere = `http://127.0.0.1:${await freePort()}/hooks`;
    const [failing, absent] = [local.url, nowhere].map((url) => listen(node.url, "--forward-to", url));
    await Promise.all([failing?.until(/^Ready/m), absent?.until(/^Ready/m)]);
    await paid(node);
    await paid(node);
    await failing?.until(/→ {2}500 {2}.*→ {2}500 {2}/s);
    await absent?.until(/→ {2}the connection was refused {2}.*refused/s);
    local.answer = (response) => response.writeHead(302, { location: "/elsewhere" }).end();
    await paid(node);
    await failing?.until(/→ {2}302 {2}/);
    expect(local.received).toHaveLength(3);
  });

  it("ends cleanly at Ctrl-C, also while a post waits for its answer", async () => {
    const node = await startNode({ databaseUrl });
    const local = await startBackend();
    local.answer = () => undefined;
    const command = listen(node.url, "--forward-to", local.url);
    await command.until(/^Ready/m);
    await paid(node);
    await vi.waitUntil(() => local.received.length === 1);
    command.process.kill("SIGINT");
    const { code, out, error } = await command.ended;
    expect({ code, error, last: out.trim().split("\n").at(-1) }).toEqual({ code: 0, error: "", last: "Stopped." });
  });

  it("waits for a server that is not there, and ends when its key is refused", async () => {
    const port = await freePort();
    const url = `http://127.0.0.1:${port}`;
    const command = listen(url, "--forward-to", "localhost:9");
    await vi.waitUntil(() => command.error().includes("trying again"));
    expect(command.error()).toContain(`${url} cannot be reached: the connection was refused; trying again in`);
    const node = await startNode({ databaseUrl, env: { PORT: String(port) } });
    await command.until(/^Ready/m);
    command.process.kill("SIGTERM");
    expect((await command.ended).code).toBe(0);
    const env = { TUKIO_API_KEY: "a-wrong-key-of-some-length" };
    const refused = await runCommand(["listen", "--forward-to", "localhost:9"], {
      folder: sdk.folder,
      url: node.url,
      env,
    });
    expect(refused.code).toBe(1);
    expect(refused.error).toMatch(
      /^tukio listen: .*\nThe key comes from --key-file, TUKIO_API_KEY, or the file \.tukio\/api-key\.\n$/,
    );
    expect(refused.out + refused.error).not.toContain(env.TUKIO_API_KEY);
  });

  it("keeps the key out of the messages that it posts", async () => {
    const node = await startNode({ databaseUrl });
    const local = await startBackend();
    const command = listen(node.url, "--forward-to", local.url, "--json");
    await command.until(/ready/);
    await paid(node);
    const received = await vi.waitUntil(() => local.received[0]);
    expect(JSON.stringify(received)).not.toContain(apiKey);
    onTestFinished(() => void command.process.kill());
  });
});
