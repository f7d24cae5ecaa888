/** Sessions of the desk: signing in and out, on one node and on two. */
import { beforeAll, describe, expect, it } from "vitest";
import { sessionsMax } from "../../server/key/store.ts";
import { createDatabase } from "../support/database.ts";
import { asDesk, createKey, signIn } from "../support/key.ts";
import { apiKey, pay, paymentBody, send, startNode, type TestNode } from "../support/node.ts";

let databaseUrl: string;
beforeAll(async () => {
  const database = await createDatabase();
  databaseUrl = database.url;
  return database.drop;
});

const listStatus = async (node: TestNode, cookie: string): Promise<number> =>
  (await asDesk(node, cookie, "/v1/orders")).status;

describe("a session of the desk", () => {
  it("acts with its key, for the key's scopes", async () => {
    const node = await startNode({ databaseUrl });
    const { secret } = await createKey(node, ["read"], "support");
    const { answer, cookie } = await signIn(node, secret);
    expect(answer).toMatchObject({ status: 201, body: { name: "support", scopes: ["read"] } });
    expect(JSON.stringify(answer.body)).not.toContain(secret);
    const hoursLeft =
      (Date.parse(String((answer.body as unknown as { expiresAt: string }).expiresAt)) - Date.now()) / 3_600_000;
    expect(hoursLeft).toBeCloseTo(12, 1);
    expect((await asDesk(node, cookie, "/desk/session")).body).toEqual(answer.body);
    const { order } = await pay(node);
    expect((await asDesk(node, cookie, `/v1/orders/${order.orderId}`)).body.order.orderId).toBe(order.orderId);
    expect(await listStatus(node, cookie)).toBe(200);
    const refused = await asDesk(node, cookie, "/v1/payments", { method: "POST", body: paymentBody() });
    expect(refused).toMatchObject({ status: 403, body: { code: "scope_missing" } });
  });

  it("has a cookie that scripts cannot read and other sites' requests do not carry", async () => {
    const plain = await signIn(await startNode({ databaseUrl }), apiKey);
    expect(plain.answer.headers.get("set-cookie")).toMatch(
      /^tukio_desk=tukio_session_[\w-]{43}; Max-Age=\d+; Path=\/; HttpOnly; SameSite=Strict$/,
    );
    const secure = await startNode({ databaseUrl, env: { PUBLIC_URL: "https://pay.shop.example" } });
    const { answer } = await signIn(secure, apiKey);
    expect(answer.headers.get("set-cookie")).toMatch(
      /^__Host-tukio_desk=tukio_session_[\w-]{43}; Max-Age=\d+; Path=\/; HttpOnly; SameSite=Strict; Secure$/,
    );
  });

  it("works on another node within 5 s, and ends on every node 5 s after signing out", async () => {
    const [one, two] = [await startNode({ databaseUrl }), await startNode({ databaseUrl })];
    const { cookie } = await signIn(one, apiKey);
    expect(await listStatus(one, cookie)).toBe(200);
    await expect.poll(() => listStatus(two, cookie), { timeout: 5_000 }).toBe(200);
    const out = await asDesk(two, cookie, "/desk/session", { method: "DELETE" });
    expect(out.status).toBe(204);
    expect(out.headers.get("set-cookie")).toMatch(/^tukio_desk=; Max-Age=0; /);
    expect(await listStatus(two, cookie)).toBe(401);
    await expect.poll(() => listStatus(one, cookie), { timeout: 5_000 }).toBe(401);
    expect((await asDesk(one, cookie, "/desk/session")).body.code).toBe("key_invalid");
  });

  it("ends with its key", async () => {
    const node = await startNode({ databaseUrl });
    const { key, secret } = await createKey(node, ["read"]);
    const { cookie } = await signIn(node, secret);
    expect(await listStatus(node, cookie)).toBe(200);
    await send(node, "DELETE", `/v1/keys/${key.id}`);
    expect(await listStatus(node, cookie)).toBe(401);
  });

  it("of TUKIO_API_KEY ends when the variable no longer has the key", async () => {
    const env = { TUKIO_API_KEY: "an-old-key-of-some-length,test-api-key-of-some-length" };
    const before = await startNode({ databaseUrl, env });
    const { cookie } = await signIn(before, "an-old-key-of-some-length");
    expect(await listStatus(before, cookie)).toBe(200);
    const after = await startNode({ databaseUrl });
    expect(await listStatus(after, cookie)).toBe(401);
  });

  it("ends when its key has more sessions than are allowed, the oldest first", async () => {
    const node = await startNode({ databaseUrl });
    const { secret } = await createKey(node, ["read"]);
    const cookies: string[] = [];
    for (let count = 0; count <= sessionsMax; count += 1) cookies.push((await signIn(node, secret)).cookie);
    const statuses: number[] = [];
    for (const cookie of cookies) statuses.push(await listStatus(node, cookie));
    expect(statuses).toEqual([401, ...Array.from({ length: sessionsMax }, () => 200)]);
  });
});
