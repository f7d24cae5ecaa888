/** A node and merchants' backends that answer late, wrongly, too much or not at all. Another backend must not notice. */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { addEndpoint, type Backend, type BackendOptions, startBackend } from "../support/backend.ts";
import { createCertificate } from "../support/certificate.ts";
import { createDatabase } from "../support/database.ts";
import { historyOf, patchEndpoint, retryNow, succeeded } from "../support/delivery.ts";
import { unlimited } from "../support/deployment.ts";
import { pay, send } from "../support/node.ts";
import { type NodeProcess, startProcess } from "../support/process.ts";
import { scrape } from "../support/scrape.ts";

vi.setConfig({ testTimeout: 120_000 });

let node: NodeProcess;
let database: pg.Client;
/** A TLS server's key and certificate: one that the node trusts, and one that it does not. */
let trusted: { key: string; cert: string };
let untrusted: { key: string; cert: string };

beforeAll(async () => {
  const { url, drop } = await createDatabase();
  database = new pg.Client(url);
  await database.connect();
  const dirs: string[] = [];
  const certify = async () => {
    const dir = await mkdtemp(join(tmpdir(), "tukio-tls-"));
    dirs.push(dir);
    const { key, certificate } = await createCertificate(dir, "IP:127.0.0.1");
    return { path: certificate, key: await readFile(key, "utf8"), cert: await readFile(certificate, "utf8") };
  };
  const authority = await certify();
  [trusted, untrusted] = [authority, await certify()];
  node = await startProcess({ DATABASE_URL: url, ...unlimited, NODE_EXTRA_CA_CERTS: authority.path });
  return async () => {
    await node.close();
    await database.end();
    await drop();
    for (const dir of dirs) await rm(dir, { recursive: true });
  };
});

/** Starts a backend and creates its endpoint, which is deleted with the test. */
async function open(answer?: Backend["answer"], options?: BackendOptions): Promise<Backend & { endpointId: string }> {
  const backend = await startBackend(options);
  if (answer) backend.answer = answer;
  const endpointId = await addEndpoint(node, backend);
  onTestFinished(async () => {
    await send(node, "DELETE", `/v1/endpoints/${endpointId}`);
  });
  return Object.assign(backend, { endpointId });
}

/** Pays an order in the sandbox. */
const buy = async (): Promise<{ id: string; orderId: string }> => (await pay(node, { phone: "+254712345601" })).order;

/** Waits until the endpoint has had this many attempts. Returns them, the newest first. */
const attempts = (endpointId: string, count: number) =>
  vi.waitUntil(async () => {
    const found = await historyOf(node, endpointId);
    return found.length >= count && found;
  });

const countOf = (event: string): number => node.output().split(`"event":"${event}"`).length - 1;

describe("an endpoint", () => {
  it("receives the same message again after it answered 500", async () => {
    const backend = await open((response) => response.writeHead(500).end("busy"));
    const { id, orderId } = await buy();
    expect(await attempts(backend.endpointId, 1)).toMatchObject([
      { status: "failed", httpStatus: 500, answer: "busy" },
    ]);
    backend.answer = (response) => response.end();
    await retryNow(database, backend.endpointId);
    expect(await attempts(backend.endpointId, 2)).toMatchObject([
      { status: "delivered", httpStatus: 200, attempt: 2, orderId },
      { status: "failed", attempt: 1 },
    ]);
    expect(backend.received).toMatchObject(
      Array(2).fill({ id: `${id}.0.3`, type: "order.succeeded", isVerified: true }),
    );
    expect(backend.received[0]?.text).toBe(backend.received[1]?.text);
  });

  it("is disabled when it answers 410, and receives what is due when it is enabled", async () => {
    const backend = await open((response) => response.writeHead(410).end());
    const [first, before] = [await buy(), countOf("delivery.endpoint.disabled")];
    await vi.waitUntil(() => countOf("delivery.endpoint.disabled") > before);
    expect((await scrape(node)).value("tukio_endpoints_disabled")).toBe(1);
    const other = await open();
    const second = await buy();
    await succeeded(other, second.orderId);
    expect(backend.received).toHaveLength(1);
    backend.answer = (response) => response.end();
    expect(await patchEndpoint(node, backend.endpointId, { enabled: true })).toMatchObject({ enabled: true });
    for (const { orderId } of [first, second]) await succeeded(backend, orderId);
    await vi.waitUntil(() => backend.received.length === 3);
    expect((await scrape(node)).value("tukio_endpoints_disabled")).toBe(0);
  });

  it("fails when it redirects, and nothing is sent to the other address", async () => {
    const elsewhere = await startBackend();
    const statuses = [301, 302, 303, 307, 308];
    const backend = await open((response) =>
      response.writeHead(statuses[backend.received.length - 1] ?? 302, { location: elsewhere.url }).end(),
    );
    for (const _ of statuses) await buy();
    const failed = await attempts(backend.endpointId, statuses.length);
    expect(failed.map(({ httpStatus }) => httpStatus).toSorted()).toEqual(statuses);
    expect(failed.every(({ status, error }) => status === "failed" && error === "redirects are not followed")).toBe(
      true,
    );
    expect(elsewhere.received).toEqual([]);
  });

  it.each([200, 500])("is read no further than 64 KiB when it answers %s with an endless body", async (status) => {
    const closed = Promise.withResolvers<number>();
    const backend = await open((response) => {
      let written = 0;
      const write = (): void => {
        while (!response.destroyed && response.write("x".repeat(65_536))) written += 65_536;
      };
      response.writeHead(status);
      response.on("drain", write);
      response.on("close", () => closed.resolve(written));
      write();
    });
    await buy();
    const [attempt] = await attempts(backend.endpointId, 1);
    expect(attempt).toMatchObject({ status: status === 200 ? "delivered" : "failed", httpStatus: status });
    expect(attempt?.answer).toBe("x".repeat(1_024));
    // What the kernel's buffers hold, beside the 64 KiB.
    expect(await closed.promise).toBeLessThan(2 ** 24);
  });

  it("receives nothing over TLS without a certificate that the node trusts", async () => {
    const [good, bad] = [await open(undefined, { tls: trusted }), await open(undefined, { tls: untrusted })];
    const tcp = createServer((socket) => socket.end("no TLS here\r\n")).listen(0, "127.0.0.1");
    onTestFinished(() => void tcp.close());
    const plain = await open();
    const { port } = tcp.address() as { port: number };
    await patchEndpoint(node, plain.endpointId, { url: `https://127.0.0.1:${port}/` });
    const { orderId } = await buy();
    await succeeded(good, orderId);
    expect(await attempts(bad.endpointId, 1)).toMatchObject([
      { status: "failed", error: expect.stringMatching(/self.signed/i) },
    ]);
    expect(await attempts(plain.endpointId, 1)).toMatchObject([
      { status: "failed", error: expect.stringMatching(/SSL|TLS|EPROTO/) },
    ]);
    expect(bad.received).toEqual([]);
  });

  it("delays neither another endpoint nor payments when it does not answer within 15 s", async () => {
    const held = Promise.withResolvers<void>();
    let [inFlight, most] = [0, 0];
    const slow = await open((response) => {
      inFlight += 1;
      most = Math.max(most, inFlight);
      response.on("close", () => (inFlight -= 1));
      void held.promise.then(() => response.end());
    });
    const fast = await open();
    const orders = [];
    for (let count = 0; count < 40; count += 1) orders.push(await buy());
    for (const { orderId } of orders) await succeeded(fast, orderId);
    await vi.waitUntil(async () =>
      (await historyOf(node, slow.endpointId)).some(({ error }) => error === "no answer within 15 s"),
    );
    expect(most).toBeLessThanOrEqual(32);
    held.resolve();
    await vi.waitUntil(async () => {
      await retryNow(database, slow.endpointId);
      const delivered = await historyOf(node, slow.endpointId, "status=delivered");
      return new Set(delivered.map(({ orderId }) => orderId)).size === orders.length;
    });
    expect(await historyOf(node, slow.endpointId, "status=pending")).toEqual([]);
  });
});
