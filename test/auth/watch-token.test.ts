import { hkdfSync } from "node:crypto";
import { SignJWT, UnsecuredJWT } from "jose";
import { describe, expect, it } from "vitest";
import { createWatchTokens } from "../../server/auth/watch-token.ts";

const secret = "a secret of more than thirty-two characters";
const other = "another secret of more than thirty-two chars";
const order = { id: "0199f2c4-1234-7abc-8def-0123456789ab", orderId: "ORD-1001" };
const tokens = createWatchTokens([secret], 60);
const key = Buffer.from(hkdfSync("sha256", secret, "tukio", "watch-token", 32));

const sign = (alg: string, claims: Record<string, unknown>) =>
  new SignJWT(claims).setProtectedHeader({ alg }).sign(key);
const inAMinute = () => Math.floor(Date.now() / 1_000) + 60;
const claims = () => ({ sub: order.id, order: order.orderId, aud: "tukio:watch", exp: inAMinute() });

describe("a watch token", () => {
  it("names one order until it expires (G11)", async () => {
    const { watchToken, watchTokenExpiresAt } = tokens.issue(order);
    expect(await tokens.verify(watchToken)).toEqual({ ...order, expiresAtS: Date.parse(watchTokenExpiresAt) / 1_000 });
    expect(Date.parse(watchTokenExpiresAt) - Date.now()).toBeGreaterThan(55_000);
  });

  it("is refused with `token_expired` after its expiry", async () => {
    const token = await sign("HS256", { ...claims(), exp: Math.floor(Date.now() / 1_000) - 1 });
    await expect(tokens.verify(token)).rejects.toMatchObject({ code: "token_expired" });
  });

  it("is valid with an old secret, and not with a foreign one", async () => {
    const { watchToken } = createWatchTokens([other], 60).issue(order);
    await expect(tokens.verify(watchToken)).rejects.toMatchObject({ code: "token_invalid" });
    expect(await createWatchTokens([secret, other], 60).verify(watchToken)).toMatchObject(order);
  });

  it("is reported at each use while it is signed with another secret than the first", async () => {
    const uses: string[] = [];
    const rotated = createWatchTokens([secret, other], 60, (used) => uses.push(used));
    await rotated.verify(rotated.issue(order).watchToken);
    expect(uses).toEqual([]);
    const { watchToken } = createWatchTokens([other], 60).issue(order);
    // The second use is answered from the cache.
    for (let times = 0; times < 2; times += 1) await rotated.verify(watchToken);
    expect(uses).toEqual(["watch", "watch"]);
  });

  it("is refused without a signature, with another algorithm, audience or shape, or after a change (G11)", async () => {
    const { watchToken } = tokens.issue(order);
    const [head, body, signature] = watchToken.split(".");
    const tampered = Buffer.from(JSON.stringify({ ...claims(), order: "ORD-2" })).toString("base64url");
    const refused = [
      new UnsecuredJWT(claims()).encode(),
      await sign("HS512", claims()),
      await sign("HS256", { ...claims(), aud: "else" }),
      await sign("HS256", { ...claims(), sub: "not a uuid" }),
      await sign("HS256", { ...claims(), order: 7 }),
      await sign("HS256", { sub: order.id, order: order.orderId, aud: "tukio:watch" }),
      `${head}.${tampered}.${signature}`,
      `${head}.${body}.`,
      "",
      "a.b.c",
      "x".repeat(10_000),
    ];
    for (const token of refused) await expect(tokens.verify(token)).rejects.toMatchObject({ code: "token_invalid" });
  });
});
