/** Answers in CSV of a list without an end: clients that read slowly or leave, and a node that closes. */
import { once } from "node:events";
import { type IncomingMessage, request as send } from "node:http";
import Fastify from "fastify";
import { describe, expect, it, onTestFinished } from "vitest";
import { HubError, toProblem } from "../../server/errors.ts";
import { cellText, createCsv } from "../../server/http/csv.ts";

describe("a cell", () => {
  it.each([
    ["=HYPERLINK(1)", "'=HYPERLINK(1)"],
    ["+254712345678", "'+254712345678"],
    ["-1", "'-1"],
    ["@SUM(A1)", "'@SUM(A1)"],
    ["\t=1", "'\t=1"],
    ["\r=1", `"'\r=1"`],
    ["\n", `"'\n"`],
    ["  =1", "'  =1"],
    ["＝1", "'＝1"],
    ["a=1", "a=1"],
    ['=1,"2"', `"'=1,""2"""`],
    ["a,b", '"a,b"'],
    ['say "x"', '"say ""x"""'],
    ["two\nlines", '"two\nlines"'],
    [15_000, "15000"],
    [false, "false"],
    [null, ""],
    [undefined, ""],
  ])("with %j is %s", (value, text) => {
    expect(cellText(value)).toBe(text);
  });
});

const rowBytes = 1_000;
const pageRows = 1_000;

interface Endless {
  url: string;
  pages(): number;
  /** Resolves when the reads of as many answers have ended. */
  ended(count: number): Promise<void>;
  close(): Promise<void>;
}

/** A node with a list of pages of 1 MB each. `failsAt`: the page whose read fails. */
async function startEndless({ failsAt = Number.POSITIVE_INFINITY } = {}): Promise<Endless> {
  let pages = 0;
  let ended = 0;
  const waiting = new Set<() => void>();
  async function* readPages() {
    try {
      for (let page = 1; ; page += 1) {
        pages += 1;
        if (page === failsAt) throw new HubError("store_unavailable");
        yield Array.from({ length: pageRows }, () => "x".repeat(rowBytes));
      }
    } finally {
      ended += 1;
      for (const wake of waiting) wake();
    }
  }
  const app = Fastify({ forceCloseConnections: true });
  app.setErrorHandler((error: HubError, _request, reply) => reply.code(error.status).send(toProblem(error)));
  app.get("/other", async () => "other");
  await app.register(async (scope) => {
    const sendCsv = createCsv(scope);
    scope.get("/list.csv", (_request, reply) =>
      sendCsv(reply, { name: "list", columns: [{ name: "x", value: (row: string) => row }], pages: readPages() }),
    );
  });
  const url = await app.listen({ port: 0, host: "127.0.0.1" });
  onTestFinished(() => app.close());
  return {
    url,
    pages: () => pages,
    async ended(count) {
      while (ended < count) {
        await new Promise<void>((resolve) => {
          waiting.add(resolve);
        });
      }
    },
    close: () => app.close(),
  };
}

/** Opens the list and reads nothing of its body. */
async function openUnread({ url }: Endless): Promise<IncomingMessage> {
  const sent = send(`${url}/list.csv`, { agent: false });
  sent.on("error", () => undefined).end();
  onTestFinished(() => void sent.destroy());
  const [response] = await once(sent, "response");
  return response.on("error", () => undefined).pause();
}

/** Requests on the same server, so that it has the time to read further pages if nothing stops it. */
async function passTurns({ url }: Endless): Promise<void> {
  for (let times = 0; times < 200; times += 1) expect(await (await fetch(`${url}/other`)).text()).toBe("other");
}

describe("an answer in CSV", () => {
  it("reads no further page while its client takes nothing, and none after its client has left (G12)", async () => {
    const node = await startEndless();
    const response = await openUnread(node);
    await passTurns(node);
    const unread = node.pages();
    // What the buffers of both sockets hold, and the page that is ready.
    expect(unread).toBeLessThan(20);
    await passTurns(node);
    expect(node.pages()).toBe(unread);
    response.destroy();
    await node.ended(1);
    expect(node.pages()).toBeLessThanOrEqual(unread + 1);
  });

  it("goes on when its client does", async () => {
    const node = await startEndless();
    const response = await openUnread(node);
    let bytes = 0;
    for await (const chunk of response) {
      bytes += chunk.length;
      if (bytes > 50 * pageRows * rowBytes) break;
    }
    expect(node.pages()).toBeGreaterThanOrEqual(50);
    await node.ended(1);
  });

  it("is a problem if its first page cannot be read, and is cut if a later one cannot", async () => {
    const failing = await startEndless({ failsAt: 1 });
    const answer = await fetch(`${failing.url}/list.csv`);
    expect([answer.status, await answer.json()]).toMatchObject([503, { code: "store_unavailable" }]);
    const cut = await startEndless({ failsAt: 3 });
    const started = await fetch(`${cut.url}/list.csv`);
    expect(started.status).toBe(200);
    await expect(started.text()).rejects.toThrow("terminated");
    // The refused and the cut ones are no longer counted.
    for (let times = 0; times < 4; times += 1) await openUnread(cut);
  });

  it("is one of four at once, and is cut when the node closes", async () => {
    const node = await startEndless();
    const responses = await Promise.all([1, 2, 3, 4].map(() => openUnread(node)));
    const refused = await fetch(`${node.url}/list.csv`);
    expect([refused.status, await refused.json()]).toMatchObject([429, { code: "rate_limited" }]);
    responses[0]?.destroy();
    await node.ended(1);
    await openUnread(node);
    await node.close();
    await node.ended(5);
  });
});
