/** The host of the sandboxes, elected by nodes on one real database. */
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { type Database, openDatabase } from "../../server/database/pool.ts";
import { createSandboxHost, HostUnavailable, type SandboxHost } from "../../server/sandbox/host.ts";
import { useDatabase } from "../support/database.ts";
import { call, startNode } from "../support/node.ts";

const file = useDatabase();

let ports = 3_000;

type Member = SandboxHost & { url: string };

/** A node that runs these sandboxes, one bit for each. */
function join(sandboxes: number, url = `http://127.0.0.1:${++ports}`, { connectAlone } = file.database): Member {
  const log = { info: () => undefined, warn: () => undefined };
  const host = createSandboxHost({ database: { connectAlone }, sandboxes, selfUrl: () => url, log });
  onTestFinished(host.close);
  return { ...host, url };
}

/** A database at a port on which nothing listens. */
async function openUnreachable(): Promise<Database> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return openDatabase(`postgres://127.0.0.1:${port}/none`, () => undefined);
}

const asSeen = ({ key, url }: Member) => ({ key, url });

const countOf = async (host: SandboxHost, act = ""): Promise<number> => {
  const { rows } = await file.database.pool.query(
    `select pid ${act} from pg_stat_activity where application_name like 'tukio ' || $1 || '%'`,
    [host.key],
  );
  return rows.length;
};

const refusalOf = (host: SandboxHost): Promise<unknown> => host.find().catch(({ cause }: HostUnavailable) => cause);

describe("the sandboxes' host", () => {
  it("is the first of the nodes that have the same sandboxes", async () => {
    const [one, other, third] = [join(3), join(3), join(4)];
    expect(await one.find()).toEqual(asSeen(one));
    expect(await other.find()).toEqual(asSeen(one));
    expect(await third.find()).toEqual(asSeen(third));
  });

  it("is one node when several look for it at once", async () => {
    const nodes = Array.from({ length: 5 }, () => join(8));
    const found = await Promise.all(nodes.map((node) => node.find()));
    expect(new Set(found.map(({ key }) => key)).size).toBe(1);
    expect(nodes.map(({ key }) => key)).toContain(found[0]?.key);
  });

  it("is the next node that looks for it when it closes", async () => {
    const [one, other] = [join(16), join(16)];
    await one.find();
    expect(await other.find()).toEqual(asSeen(one));
    await one.close();
    other.forget(await other.find());
    expect(await other.find()).toEqual(asSeen(other));
    await expect(one.find()).rejects.toThrow(HostUnavailable);
  });

  it("remains the host, and holds its place again, when its connection to PostgreSQL breaks", async () => {
    const [one, other] = [join(32), join(32)];
    await one.find();
    expect(await countOf(one, ", pg_terminate_backend(pid)")).toBe(1);
    await vi.waitUntil(async () => (await countOf(one)) === 0);
    expect(await one.find()).toEqual(asSeen(one));
    await vi.waitUntil(async () => (await countOf(one)) === 1);
    expect(await other.find()).toEqual(asSeen(one));
  });

  it("remains the host while PostgreSQL cannot be reached", async () => {
    let server = file.database;
    const one = join(1_024, undefined, { ...file.database, connectAlone: (name) => server.connectAlone(name) });
    await one.find();
    server = await openUnreachable();
    await countOf(one, ", pg_terminate_backend(pid)");
    await vi.waitUntil(async () => (await countOf(one)) === 0);
    expect(await one.find()).toEqual(asSeen(one));
  });

  it("is unknown, and not this node, if this node could never look for it", async () => {
    const one = join(2_048, undefined, await openUnreachable());
    await expect(one.find()).rejects.toMatchObject({ code: "provider_unavailable", cause: { code: "ECONNREFUSED" } });
  });

  it("yields at once to a node that took its place while its connection was broken", async () => {
    const [one, other] = [join(64), join(64)];
    await one.find();
    await countOf(one, ", pg_terminate_backend(pid)");
    await vi.waitUntil(async () => {
      const host = await other.find();
      if (host.key === other.key) return true;
      other.forget(host);
      await countOf(one, ", pg_terminate_backend(pid)");
      return false;
    });
    expect(await one.find()).toEqual(asSeen(other));
  });

  it("is refused if another node runs some of its sandboxes and others beside them", async () => {
    const one = join(128 + 256);
    await one.find();
    const other = join(128);
    expect(await refusalOf(other)).toMatchObject({
      message: expect.stringContaining(`(${one.url.slice(7)}) runs some of these sandboxes`),
    });
    expect(await countOf(other)).toBe(0);
    expect(await join(128 + 256).find()).toEqual(asSeen(one));
    const third = join(512);
    expect(await third.find()).toEqual(asSeen(third));
  });

  it("is found at the longest IPv6 address", async () => {
    const one = join(4_096, "http://[2001:db8:1234:5678:9abc:def0:1234:5678]:65535");
    await one.find();
    expect(await join(4_096).find()).toEqual(asSeen(one));
  });

  it("is refused at an address that has no room in the name of its lock", async () => {
    const one = join(8_192, `http://${"host.".repeat(10)}:65535`);
    expect(await refusalOf(one)).toMatchObject({ message: expect.stringContaining("HOST is too long") });
  });
});

describe("a request for another host", () => {
  it("is refused with 421 and not forwarded", async () => {
    const node = await startNode({ databaseUrl: file.url, env: { SANDBOX: "daraja" } });
    const headers = { "x-tukio-sandbox-proof": "0123456789abcdef" };
    expect((await call(`${node.url}/sandbox/phone/0712345600/prompts`, { headers })).status).toBe(421);
    expect((await call(`${node.url}/sandbox/phone/0712345600/prompts`)).status).toBe(200);
  });
});
