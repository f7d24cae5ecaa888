/** The stream that the page of the payer's phone reads. */
import Fastify from "fastify";
import { describe, expect, it, onTestFinished } from "vitest";
import { handleErrors } from "../../server/http/problem.ts";
import { createConnectionLimit } from "../../server/rate-limit.ts";
import { createPhone, type Phone } from "../../server/sandbox/phone.ts";
import { type PhoneView, phonePageRoutes } from "../../server/sandbox/phone-page.ts";

interface TestPhone {
  url: string;
  phone: Phone;
  close(): Promise<void>;
}

async function startPhone(streamsMax = 10): Promise<TestPhone> {
  const app = Fastify({ forceCloseConnections: true });
  const phone = createPhone();
  handleErrors(app);
  app.register(async (scope) => phonePageRoutes(scope, { phone, connectionLimit: createConnectionLimit(streamsMax) }), {
    prefix: "/phone",
  });
  const url = `${await app.listen({ port: 0, host: "127.0.0.1" })}/phone`;
  let closed: Promise<void> | undefined;
  const close = (): Promise<void> => {
    phone.close();
    closed ??= app.close();
    return closed;
  };
  onTestFinished(close);
  return { url, phone, close };
}

/** Opens the stream of a phone. `next` resolves with the next message, or undefined at the end of the stream. */
async function follow(url: string, msisdn: string) {
  const gaveUp = new AbortController();
  const response = await fetch(`${url}/${msisdn}/events`, { signal: gaveUp.signal });
  onTestFinished(() => gaveUp.abort());
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  const next = async (): Promise<PhoneView | undefined> => {
    for (;;) {
      const [whole, data] = /^event: prompts\ndata: (.*)\n\n/.exec(text) ?? [];
      if (whole !== undefined) {
        text = text.slice(whole.length);
        return JSON.parse(data ?? "");
      }
      const { done, value } = (await reader?.read()) ?? { done: true };
      if (done) return undefined;
      text += value;
    }
  };
  return { response, next, leave: () => gaveUp.abort() };
}

const ring = { provider: "daraja", phone: "+254712345600", amountMinor: 15_000, currency: "KES" };

describe("phone stream", () => {
  it("sends the prompts of one phone at once and after each change", async () => {
    const { url, phone } = await startPhone();
    const first = phone.prompt(ring);
    const { response, next } = await follow(url, "0712345600");
    expect(response.headers.get("content-type")).toBe("text/event-stream; charset=utf-8");
    expect(await next()).toEqual({ prompts: [{ id: first.id, ...ring, title: "M-Pesa" }], answersItself: false });
    phone.prompt({ ...ring, phone: "+254712345700" });
    const second = phone.prompt(ring);
    expect((await next())?.prompts.map(({ id }) => id)).toEqual([first.id, second.id]);
    phone.answer(first.id, "approve");
    expect((await next())?.prompts.map(({ id }) => id)).toEqual([second.id]);
  });

  it("states that a test number answers automatically", async () => {
    const { url } = await startPhone();
    expect(await (await follow(url, "0712345601")).next()).toEqual({ prompts: [], answersItself: true });
  });

  it("ends at shutdown", async () => {
    const { url, close } = await startPhone();
    const { next } = await follow(url, "0712345600");
    await next();
    await close();
    expect(await next()).toBeUndefined();
  });

  it("frees its place when the client disconnects", async () => {
    const { url, phone } = await startPhone(1);
    const { next, leave } = await follow(url, "0712345600");
    await next();
    const refused = await fetch(`${url}/0712345600/events`);
    expect(refused.status).toBe(429);
    expect(await refused.json()).toMatchObject({ code: "rate_limited" });
    leave();
    await expect.poll(async () => (await follow(url, "0712345600")).response.status).toBe(200);
    phone.prompt(ring);
  });
});
