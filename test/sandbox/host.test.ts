/** The host of the sandboxes, elected by nodes on one real database. */
import { beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { type Database, openDatabase } from "../../server/database/pool.ts";
import { createSandboxHost, type SandboxHost } from "../../server/sandbox/host.ts";
import { createDatabase } from "../support/database.ts";
import { call, startNode } from "../support/node.ts";

let databaseUrl: string;
let database: Database;
beforeAll(async () => {
  const created = await createDatabase();
  databaseUrl = created.url;
  database = openDatabase(databaseUrl, () => undefined);
  return async () => {
    await database.close();
    await created.drop();
  };
});

let ports = 3_000;

/** A node that runs these sandboxes, one bit for each. */
function join(sandboxes: number): SandboxHost {
  ports += 1;
  const selfUrl = `http://127.0.0.1:${ports}`;
  const log = { info: () => undefined, warn: () => undefined };
  const host = createSandboxHost({ database, sandboxes, selfUrl: () => selfUrl, log });
  onTestFinished(host.close);
  return host;
}

const asSeen = ({ key, url }: SandboxHost) => ({ key, url: url() });

const countOf = async (host: SandboxHost, act = ""): Promise<number> => {
  const { rows } = await database.pool.query(
    `select pid ${act} from pg_stat_activity where application_name like 'tukio-sandbox ' || $1 || '%'`,
    [host.key],
  );
  return rows.length;
};

describe("the sandboxes' host", () => {
  it("is the first of the nodes that have the same sandboxes", async () => {
    const [one, other, third] = [join(3), join(3), join(4)];
    expect(await one.find()).toBeUndefined();
    expect(await other.find()).toEqual(asSeen(one));
    expect(await third.find()).toBeUndefined();
  });

  it("is one node when several look for it at once", async () => {
    const nodes = Array.from({ length: 5 }, () => join(8));
    const found = await Promise.all(nodes.map((node) => node.find()));
    expect(found.filter((host) => host === undefined)).toHaveLength(1);
    expect(new Set(found.flatMap((host) => host?.key ?? [])).size).toBe(1);
  });

  it("is the next node that looks for it when it closes", async () => {
    const [one, other] = [join(16), join(16)];
    expect(await one.find()).toBeUndefined();
    expect(await other.find()).toEqual(asSeen(one));
    await one.close();
    other.forget((await other.find()) ?? expect.unreachable("no host"));
    expect(await other.find()).toBeUndefined();
  });

  it("remains the host, and holds its place again, when its connection to PostgreSQL breaks", async () => {
    const [one, other] = [join(32), join(32)];
    expect(await one.find()).toBeUndefined();
    expect(await countOf(one, ", pg_terminate_backend(pid)")).toBe(1);
    await vi.waitUntil(async () => (await countOf(one)) === 0);
    expect(await one.find()).toBeUndefined();
    await vi.waitUntil(async () => (await countOf(one)) === 1);
    expect(await other.find()).toEqual(asSeen(one));
  });

  it("yields to a node that took its place meanwhile", async () => {
    const [one, other] = [join(64), join(64)];
    expect(await one.find()).toBeUndefined();
    await countOf(one, ", pg_terminate_backend(pid)");
    await vi.waitUntil(async () => {
      const host = await other.find();
      if (host) other.forget(host);
      else return true;
      await countOf(one, ", pg_terminate_backend(pid)");
      return false;
    });
    await vi.waitUntil(async () => (await one.find()) !== undefined);
    expect(await one.find()).toEqual(asSeen(other));
  });

  it("is refused if another node runs some of its sandboxes and others beside them", async () => {
    const one = join(128 + 256);
    expect(await one.find()).toBeUndefined();
    await expect(join(128).check()).rejects.toThrow(`(${one.url().slice(7)}) runs some of these sandboxes`);
    await join(128 + 256).check();
    await join(512).check();
  });
});

describe("a request for another host", () => {
  it("is refused with 421 and not forwarded", async () => {
    const node = await startNode({ databaseUrl, env: { SANDBOX: "daraja" } });
    const headers = { "x-tukio-sandbox-key": "0123456789abcdef" };
    expect((await call(`${node.url}/sandbox/phone/0712345600/prompts`, { headers })).status).toBe(421);
    expect((await call(`${node.url}/sandbox/phone/0712345600/prompts`)).status).toBe(200);
  });
});
