/** The sandbox's inbox: who may put mails into it, what it keeps, and on which node. */
import { beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { createInbox, inboxCharactersMax, mailsMax, type SandboxMail } from "../../server/sandbox/inbox.ts";
import { createInboxClient } from "../../server/sandbox/inbox-client.ts";
import { createDatabase } from "../support/database.ts";
import { call, startNode, type TestNode, testSecret } from "../support/node.ts";

let databaseUrl: string;
beforeAll(async () => {
  const database = await createDatabase();
  databaseUrl = database.url;
  return database.drop;
});

const mailOf = (change: Partial<SandboxMail> = {}): SandboxMail => ({
  messageId: "one@pay.example",
  to: "amina@example.com",
  subject: "Receipt",
  text: "KES 150.00",
  html: "<!doctype html><p>KES 150.00</p>",
  ...change,
});

const clientOf = (node: TestNode, secrets = [testSecret]) => createInboxClient({ hubUrl: () => node.url, secrets });

const mailsOf = async (node: TestNode): Promise<unknown> => {
  const { body } = await call(`${node.url}/sandbox/inbox.json`);
  return (body as unknown as { mails: unknown }).mails;
};

describe("inbox", () => {
  it("lists the newest mail first, and keeps a repeated one once", () => {
    const inbox = createInbox(() => new Date("2026-11-23T09:00:00Z"));
    inbox.add(mailOf());
    inbox.add(mailOf({ messageId: "two@pay.example", subject: "Second" }));
    inbox.add(mailOf({ subject: "A repeat" }));
    expect(inbox.list().map(({ subject, at }) => [subject, at])).toEqual([
      ["Second", "2026-11-23T09:00:00.000Z"],
      ["Receipt", "2026-11-23T09:00:00.000Z"],
    ]);
  });

  it("removes the oldest mails beyond its bounds", () => {
    const inbox = createInbox();
    for (let index = 0; index < mailsMax + 5; index += 1) inbox.add(mailOf({ messageId: String(index) }));
    expect(inbox.list()).toHaveLength(mailsMax);
    expect(inbox.list().at(-1)?.messageId).toBe("5");
    for (let index = 0; index < 5; index += 1) {
      inbox.add(mailOf({ messageId: `large ${index}`, html: "x".repeat(inboxCharactersMax / 4) }));
    }
    expect(inbox.list().map(({ messageId }) => messageId)).toEqual(["large 4", "large 3", "large 2"]);
    inbox.add(mailOf({ messageId: "too large", html: "x".repeat(inboxCharactersMax + 1) }));
    expect(inbox.list()).toEqual([]);
  });
});

describe("inbox of a node", () => {
  it("takes the mails of nodes with the secret, and shows their recipient, subject, text and HTML", async () => {
    const node = await startNode({ databaseUrl });
    await clientOf(node)(mailOf());
    await clientOf(node)(mailOf());
    expect(await mailsOf(node)).toEqual([
      {
        id: expect.any(String),
        to: "amina@example.com",
        subject: "Receipt",
        text: "KES 150.00",
        html: "<!doctype html><p>KES 150.00</p>",
        at: expect.any(String),
      },
    ]);
  });

  it("takes no mail of anybody else", async () => {
    const node = await startNode({ databaseUrl });
    const body = JSON.stringify(mailOf());
    const headers = { "content-type": "application/json" };
    for (const authorization of [undefined, "Bearer x", "Bearer test-api-key-of-some-length"]) {
      const { status } = await call(`${node.url}/sandbox/inbox`, {
        method: "POST",
        body,
        headers: { ...headers, ...(authorization && { authorization }) },
      });
      expect(status).toBe(401);
    }
    const foreign = clientOf(node, ["the secret of some other node altogether"]);
    await expect(foreign(mailOf())).rejects.toThrow("401");
    expect(await mailsOf(node)).toEqual([]);
  });

  it("is one for all nodes, also for large mails", async () => {
    const { url, drop } = await createDatabase();
    onTestFinished(drop);
    const [first, second] = [await startNode({ databaseUrl: url }), await startNode({ databaseUrl: url })];
    // More than what a connection may have queued, and than what other sandboxes take.
    const html = `<p>${"x".repeat(400_000)}</p>`;
    await clientOf(second)(mailOf({ html }));
    for (const node of [first, second]) expect(await mailsOf(node)).toMatchObject([{ html }]);
    await expect(clientOf(second)(mailOf({ html: "x".repeat(524_288) }))).rejects.toThrow("413");
  });

  it("limits the reads of all mails as other requests, and those of the page less", async () => {
    const node = await startNode({ databaseUrl, env: { LIMIT_IP: "1" } });
    const statusOf = async (path: string) => (await call(`${node.url}/sandbox/inbox${path}`)).status;
    expect([await statusOf(".json"), await statusOf(".json"), await statusOf("/mails")]).toEqual([200, 429, 200]);
  });

  it("is absent without a sandbox", async () => {
    const node = await startNode({ databaseUrl, env: { SANDBOX: "" } });
    expect((await call(`${node.url}/sandbox/inbox.json`)).status).toBe(404);
  });

  it("serves a mail's HTML without scripts and origin", async () => {
    const node = await startNode({ databaseUrl });
    await clientOf(node)(mailOf({ messageId: "html" }));
    const { body } = await call(`${node.url}/sandbox/inbox/mails`);
    const [{ id } = { id: "" }] = (body as unknown as { mails: { id: string; html?: string }[] }).mails;
    const { headers, body: html } = await call(`${node.url}/sandbox/inbox/mails/${id}`);
    expect(html).toBe("<!doctype html><p>KES 150.00</p>");
    expect(headers.get("content-security-policy")).toBe(
      "default-src 'none'; style-src 'unsafe-inline'; img-src https: http:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'; sandbox allow-popups allow-popups-to-escape-sandbox",
    );
    const text = await call(`${node.url}/sandbox/inbox/mails/${id}/text`);
    expect([text.body, text.headers.get("content-type")]).toEqual(["KES 150.00", "text/plain; charset=utf-8"]);
    expect((await call(`${node.url}/sandbox/inbox/mails/unknown`)).status).toBe(404);
  });
});
