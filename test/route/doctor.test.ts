/** `GET /v1/doctor`: who may call it, what it never contains, and what bounds it. */
import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { beforeAll, expect, it, onTestFinished } from "vitest";
import type { ProviderName } from "../../server/provider/registry.ts";
import { createDatabase } from "../support/database.ts";
import { examine, findingOf } from "../support/doctor.ts";
import { startMailbox } from "../support/mailbox.ts";
import { apiKey, asMerchant, call, startNode, testSecret } from "../support/node.ts";
import { providerEnv, startScriptedProvider } from "../support/scripted-provider.ts";
import { startTcpProxy } from "../support/tcp-proxy.ts";

let databaseUrl: string;
beforeAll(async () => {
  const database = await createDatabase();
  databaseUrl = database.url;
  return database.drop;
});

const names: readonly ProviderName[] = ["daraja", "payhero", "lipana", "zenopay", "bkash", "mtn"];

/** The environment of a node with every provider, a mail server, an SMS gateway and an endpoint. */
const everything = (url: string, smtp: string): Record<string, string> => ({
  ...Object.assign({}, ...names.map((name) => providerEnv(name, url))),
  SMTP_URL: smtp.replace("//", "//mail-user-7f3a:mail-password-7f3a@"),
  MAIL_FROM: "shop@example.com",
  MERCHANT_EMAIL: "asha@example.com",
  SMS_PROVIDER: "beem",
  SMS_API_KEY: "sms-key-of-the-shop",
  SMS_API_SECRET: "sms-secret-of-the-shop",
  SMS_FROM: "SHOP",
  SMS_URL: url,
  ENDPOINT_URL: "http://localhost:4000/hooks?key=endpoint-query-7f3a",
  ENDPOINT_SECRET: `whsec_${Buffer.from("a secret of 24 bytes, no.").toString("base64")}`,
  REDIS_URL: "redis://redis-user:redis-password-7f3a@127.0.0.1:1",
});

it("is for the merchant only", async () => {
  const node = await startNode({ databaseUrl });
  for (const authorization of [undefined, "Bearer a-wrong-key-of-some-length", `Bearer ${apiKey.toUpperCase()}`]) {
    const answer = await call(`${node.url}/v1/doctor`, {
      headers: authorization === undefined ? {} : { authorization },
    });
    expect(answer).toMatchObject({ status: 401, body: { code: "key_invalid" } });
    expect(JSON.stringify(answer.body)).not.toContain("PostgreSQL");
  }
  expect((await call(`${node.url}/v1/doctor?token=${apiKey}`)).status).toBe(401);
  expect((await asMerchant(node, "/v1/doctor")).headers.get("cache-control")).toBe("no-store");
});

it("contains no configured secret, whatever the others answer, and neither does the log", async () => {
  // Everything that a server receives comes back in an error.
  const script = await startScriptedProvider(({ headers, text, path }) => {
    const basic = Buffer.from(headers.authorization?.replace("Basic ", "") ?? "", "base64").toString();
    const message = [JSON.stringify(headers), text, path, basic, ...basic.split(":")].join(" ");
    return { status: 403, body: { message, errorMessage: message, error: { detail: message } } };
  });
  const mailbox = await startMailbox({
    authOptional: false,
    onAuth: ({ username, password }, _session, done) =>
      done(Object.assign(new Error(`no ${username} ${password}`), { responseCode: 535 })),
  });
  const env = everything(script.url, mailbox.url);
  const node = await startNode({ databaseUrl, env, redisUrl: env.REDIS_URL ?? "" });
  const report = await examine(node);
  for (const name of names) expect(findingOf(report, `provider.${name}`), name).toMatchObject({ status: "error" });
  for (const id of ["mail", "sms", "redis"]) expect(findingOf(report, id), id).toMatchObject({ status: "error" });
  // A user or a number of an account is no secret where it is a name; every other value of the environment is.
  const open =
    /_(URL|FROM|EMAIL|PROVIDER|SHORTCODE|CHANNEL_ID|TRANSACTION_TYPE|PARTY_B|TARGET_ENVIRONMENT|CURRENCY|ARN)$/;
  const secrets = Object.entries(env)
    .filter(([name]) => !open.test(name))
    .map(([, value]) => value);
  secrets.push(testSecret, apiKey, new URL(databaseUrl).password, "mail-user-7f3a");
  secrets.push("mail-password-7f3a", "redis-password-7f3a", "endpoint-query-7f3a");
  expect(secrets.length).toBeGreaterThan(20);
  const logged = node.log.filter((line) => /doctor|token|node row/.test(line)).join("\n");
  for (const text of [JSON.stringify(report), logged]) {
    for (const secret of secrets.filter(({ length }) => length >= 4)) {
      for (const spelling of [secret, encodeURIComponent(secret), Buffer.from(secret).toString("base64")])
        expect(text).not.toContain(spelling);
    }
  }
});

it("answers in time although everything hangs, and asks each once for many callers (G12)", async () => {
  const sockets = new Set<Socket>();
  const silent = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined);
  });
  silent.listen(0, "127.0.0.1");
  await once(silent, "listening");
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    silent.close();
  });
  const { port } = silent.address() as AddressInfo;
  const proxy = await startTcpProxy(databaseUrl);
  const env = {
    ...everything(`http://127.0.0.1:${port}`, `smtp://127.0.0.1:${port}`),
    REDIS_URL: `redis://127.0.0.1:${port}`,
    PUBLIC_URL: `http://127.0.0.1:${port}`,
  };
  const node = await startNode({ databaseUrl: proxy.url, env });
  proxy.stall("answers");
  const before = sockets.size;
  const startedMs = performance.now();
  const reports = await Promise.all(Array.from({ length: 50 }, () => examine(node)));
  expect(performance.now() - startedMs).toBeLessThan(12_000);
  expect(new Set(reports.map(({ checkedAt }) => checkedAt)).size).toBe(1);
  // Six providers, of which those with tokens wait for PostgreSQL, mail, SMS, Redis; each with one repetition at most.
  expect(sockets.size - before).toBeLessThan(20);
  const [report] = reports;
  if (!report) throw new Error("there is a report");
  expect(report.status).toBe("error");
  for (const name of names) expect(["error", "warning"]).toContain(findingOf(report, `provider.${name}`).status);
  for (const id of ["database", "redis", "mail", "sms"]) expect(findingOf(report, id).status, id).toBe("error");
  for (const { message, action } of report.data.filter(({ status }) => status !== "ok")) {
    expect(message.length).toBeGreaterThan(10);
    expect(action).toBeTruthy();
  }
  proxy.restore();
});
