/** What `CAPTURE=on` writes: messages without persons and credentials, in the form that the adapters read. */
import { createHmac } from "node:crypto";
import { readdirSync } from "node:fs";
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { HubError } from "../../server/errors.ts";
import { type Capture, createCapture } from "../../server/provider/capture.ts";
import type { Client } from "../../server/provider/http-client.ts";
import type { Provider, Webhook } from "../../server/provider/provider.ts";
import { type ProviderName, providerNames } from "../../server/provider/registry.ts";
import { providerAccount, testAccount } from "../support/account.ts";
import { createDatabase } from "../support/database.ts";
import { asMerchant, pay, startNode, testSecret } from "../support/node.ts";
import { fixture } from "../support/sandbox.ts";
import { openProvider, samplePayment, startScriptedProvider } from "../support/scripted-provider.ts";

interface Captured {
  source: string;
  certainty: string;
  headers?: string[];
  result?: string;
  request?: { method: string; path: string; body?: Record<string, unknown> };
  status?: number;
  body?: Record<string, unknown>;
  text?: string;
}

async function openCapture(): Promise<{
  capture: Capture;
  dir: string;
  files(): Promise<Record<string, Captured>>;
  text(): Promise<string>;
}> {
  const home = await mkdtemp(join(tmpdir(), "tukio-capture-"));
  onTestFinished(() => rm(home, { recursive: true, force: true }));
  const dir = join(home, "capture");
  const log = { info: () => undefined, warn: vi.fn() };
  const capture = createCapture({ dir, secrets: [testSecret], log });
  const read = async (): Promise<[string, string][]> => {
    await capture.close();
    const names = await readdir(dir);
    return Promise.all(names.map(async (name) => [name, await readFile(join(dir, name), "utf8")] as [string, string]));
  };
  return {
    capture,
    dir,
    files: async () => Object.fromEntries((await read()).map(([name, text]) => [name, JSON.parse(text)])),
    text: async () => (await read()).map(([, text]) => text).join(""),
  };
}

/** The webhooks of the fixtures, as their providers send them. */
const webhooks: Record<ProviderName, string[]> = {
  daraja: ["webhook-success", "webhook-cancelled", "webhook-insufficient-funds"],
  payhero: readWebhooks("payhero"),
  lipana: readWebhooks("lipana"),
  zenopay: readWebhooks("zenopay"),
  bkash: ["webhook-completed"],
  mtn: readWebhooks("mtn"),
};

function readWebhooks(name: ProviderName): string[] {
  return readdirSync(new URL(`../fixture/${name}/`, import.meta.url))
    .filter((file) => file.startsWith("webhook-"))
    .map((file) => file.replace(".json", ""));
}

const paymentId = "0199f2c4-0000-7000-8000-000000000001";

function webhookOf(provider: Provider, body: unknown): Webhook {
  const bytes = Buffer.from(JSON.stringify(body));
  const signature = createHmac("sha256", testAccount("lipana").WEBHOOK_SECRET).update(bytes).digest("hex");
  const headers = {
    "x-lipana-signature": signature,
    "x-api-key": testAccount("zenopay").API_KEY,
    "user-agent": "a provider",
  };
  return { headers, body: bytes, ...(!provider.isAccountWide && { paymentId }) };
}

/** The numbers with the digits of a phone in a text, and the receipts: ten letters and digits of both kinds. */
const personsIn = (text: string): string[] => [
  ...(text.match(/(?<!\d)\+?(?:254|255|256|880|0)[17]\d{8}(?!\d)/g) ?? []),
  ...(text.match(/\b(?=[A-Z]*\d)(?=\d*[A-Z])[A-Z0-9]{10}\b/g) ?? []).filter((run) => /[1-9B-Z]/.test(run)),
];

describe.each(providerNames)("captured webhooks of %s", (name) => {
  it.each(webhooks[name])(
    "keep the form of %s, which the adapter reads alike, and no person and no secret",
    async (file) => {
      const { capture, files, text } = await openCapture();
      const provider = openProvider(name, "http://127.0.0.1:1");
      const body = fixture(name, file).body;
      const read = (from: unknown) => provider.translate(webhookOf(provider, from), "signed");
      const recorded = capture.ofProvider(provider);
      const claim = recorded.translate(webhookOf(provider, body), "signed");
      expect(claim).toEqual(read(body));

      const [captured] = Object.values(await files());
      expect(captured).toMatchObject({ certainty: "observed", result: claim.outcome?.status ?? "nothing" });
      expect(captured?.headers).toContain("x-api-key");
      const again = read(captured?.body);
      expect([again.proof, again.outcome?.status, again.outcome?.reason]).toEqual([
        claim.proof,
        claim.outcome?.status,
        claim.outcome?.reason,
      ]);
      expect(again.outcome?.amountMinor).toEqual(claim.outcome?.amountMinor);
      expect(again.outcome?.receipt === undefined).toBe(claim.outcome?.receipt === undefined);

      const written = await text();
      expect(personsIn(written)).toEqual([]);
      for (const secret of Object.values(providerAccount(name)).filter((value) => !value.startsWith("arn:")))
        expect(written).not.toContain(secret);
    },
  );
});

const never = new AbortController().signal;
const urls = {
  webhook: new URL(`https://pay.example/webhooks/x/${"ab".repeat(32)}`),
  return: new URL(`https://pay.example/return/${"cd".repeat(32)}`),
};

describe.each(providerNames)("captured calls to %s", (name) => {
  it("have the request and the answer without the phone, the token, the credentials and the URL's secret", async () => {
    const { capture, files, text } = await openCapture();
    const token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ0dWtpbyJ9.c2lnbmF0dXJl";
    const script = await startScriptedProvider(({ path }) => {
      if (/oauth|\/token\//.test(path)) {
        return name === "bkash"
          ? { body: { ...fixture("bkash", "token-granted").body, id_token: token, refresh_token: token } }
          : { body: { access_token: token, expires_in: 3600 } };
      }
      // A provider that repeats what it was sent.
      return {
        status: 400,
        body: {
          errorCode: "400.002.02",
          errorMessage: "Bad Request",
          customer_name: "Achieng Owino",
          phone: "254712345600",
          echo: token,
        },
      };
    });
    const provider = openCaptured(name, script.url, capture);
    await provider.initiate(samplePayment(name), urls, never).catch(() => undefined);
    await provider.confirm(samplePayment(name, { reference: "REF254712345600" }), never).catch(() => undefined);
    expect(script.calls.length).toBeGreaterThan(1);

    const captured = Object.values(await files());
    expect(captured.length).toBeGreaterThan(1);
    expect(captured.some(({ body }) => body?.errorCode === "400.002.02" && body.errorMessage === "Bad Request")).toBe(
      true,
    );
    const written = await text();
    expect(personsIn(written)).toEqual([]);
    expect(written).not.toMatch(/Achieng|Owino|712345600|eyJ|abababab|cdcdcdcd/);
    const account = Object.entries(providerAccount(name)).flatMap(([variable, value]) =>
      /KEY|SECRET|PASSWORD|USER|AUTH/.test(variable) ? [value] : [],
    );
    expect(account.length).toBeGreaterThan(0);
    for (const secret of account) expect(written, secret).not.toContain(secret);
  });
});

/** The adapter as `openProviders` creates it with a capture. */
function openCaptured(name: ProviderName, url: string, capture: Capture): Provider {
  return capture.ofProvider(openProvider(name, url, (client: Client) => capture.ofClient(name, client)));
}

describe("capture", () => {
  const daraja = (): Provider => openProvider("daraja", "http://127.0.0.1:1");
  const success = (amount: number) => {
    const { body } = structuredClone(fixture("daraja", "webhook-success"));
    JSON.stringify(body, (_key, value) => {
      if (value?.Name === "Amount") value.Value = amount;
      return value;
    });
    return body;
  };

  it("writes a shape once, also after a restart", async () => {
    const { capture, dir, files } = await openCapture();
    const recorded = capture.ofProvider(daraja());
    for (const amount of [1, 150, 2_000]) recorded.translate(webhookOf(recorded, success(amount)));
    expect(Object.keys(await files())).toHaveLength(1);
    const second = createCapture({ dir, secrets: [], log: { info: () => undefined, warn: () => undefined } });
    const again = second.ofProvider(daraja());
    again.translate(webhookOf(again, success(7)));
    await second.close();
    const [name = ""] = Object.keys(await files());
    expect(Object.keys(await files())).toHaveLength(1);
    expect((await stat(join(dir, name))).mode & 0o777).toBe(0o600);
  });

  it("writes an unreadable webhook of a payment's own URL, and no webhook of a stranger", async () => {
    const { capture, files } = await openCapture();
    const recorded = capture.ofProvider(daraja());
    const unreadable = { headers: {}, body: Buffer.from("Amina paid, call 0712345678"), paymentId };
    expect(() => recorded.translate(unreadable)).toThrow(HubError);
    const lipana = capture.ofProvider(openProvider("lipana", "http://127.0.0.1:1"));
    expect(() => lipana.translate({ headers: {}, body: Buffer.from('{"event":"payment.success"}') })).toThrow(HubError);
    const captured = Object.values(await files());
    expect(captured).toEqual([
      expect.objectContaining({ result: "webhook_unreadable", text: "Aaaaa aaaa, aaaa 0000000000" }),
    ]);
  });

  it("writes at most 500 files, and none of more than 64 KiB", async () => {
    const { capture, files } = await openCapture();
    const recorded = capture.ofProvider(daraja());
    for (let nth = 0; nth < 520; nth += 1) {
      const { body } = structuredClone(fixture("daraja", "webhook-cancelled"));
      const field = `f${"abcdefghij"[nth % 10]}${"abcdefghij"[Math.floor(nth / 10) % 10]}${"abcdefghij"[Math.floor(nth / 100)]}`;
      recorded.translate(webhookOf(recorded, { ...body, [field]: nth === 0 ? "x".repeat(70_000) : 1 }));
      if (nth % 50 === 0) await capture.close();
    }
    const names = Object.keys(await files());
    expect(names).toHaveLength(500);
    for (const captured of Object.values(await files())) expect(JSON.stringify(captured).length).toBeLessThan(65_536);
  }, 60_000);

  it("never fails a webhook or a call, where the directory cannot be written", async () => {
    const home = await mkdtemp(join(tmpdir(), "tukio-capture-"));
    onTestFinished(() => rm(home, { recursive: true }));
    await writeFile(join(home, "capture"), "a file");
    const warn = vi.fn();
    const capture = createCapture({ dir: join(home, "capture"), secrets: [], log: { info: () => undefined, warn } });
    const recorded = capture.ofProvider(daraja());
    expect(recorded.translate(webhookOf(recorded, success(1))).outcome?.status).toBe("succeeded");
    await capture.close();
    expect(warn).toHaveBeenCalledWith(expect.objectContaining({ event: "capture.failed" }), expect.any(String));
  });
});

describe("a node with CAPTURE=on", () => {
  it("records a whole payment, and without it nothing", async () => {
    const database = await createDatabase();
    onTestFinished(database.drop);
    const home = await mkdtemp(join(tmpdir(), "tukio-capture-"));
    onTestFinished(() => rm(home, { recursive: true, force: true }));
    await mkdir(join(home, "off"));
    for (const mode of ["off", "on"]) {
      const node = await startNode({ databaseUrl: database.url, env: { CAPTURE: mode, DATA_DIR: join(home, mode) } });
      const { order } = await pay(node, {
        phone: "0712345601",
        customer: { name: "Achieng Owino", phone: "+254712345601" },
      });
      await vi.waitUntil(async () => (await asMerchant(node, `/v1/orders/${order.orderId}`)).body.order.settled);
      await node.close();
    }
    expect(await readdir(join(home, "off"))).toEqual([]);
    const dir = join(home, "on/capture");
    const names = await readdir(dir);
    // The sandbox of the second node also refuses the access token that the first one's issued.
    const kinds = new Set(names.map((name) => name.replace(/-[0-9a-f]{12}\.json$/, "")));
    expect([...kinds].toSorted()).toEqual(["daraja-generate", "daraja-processrequest", "daraja-webhook"]);
    const text = (await Promise.all(names.map((name) => readFile(join(dir, name), "utf8")))).join("");
    expect(text).not.toMatch(/Achieng|712345601/);
    expect(personsIn(text)).toEqual([]);
    for (const value of [testSecret, ...Object.values(testAccount("daraja"))].filter((one) => one.length > 7))
      expect(text).not.toContain(value);
  });
});
