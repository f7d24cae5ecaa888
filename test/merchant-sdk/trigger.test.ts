/** `tukio trigger`: every outcome in the sandbox, and the refusal of any other provider. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { beforeAll, describe, expect, it, vi } from "vitest";
import { hasEnded, payerOf, type Scenario, scenarios } from "../../merchant-sdk/command/scenario.ts";
import { createTukio, type StatusEvent, type Tukio } from "../../merchant-sdk/index.ts";
import { type RunningCommand, runCommand, startCommand } from "../support/command.ts";
import { createDatabase } from "../support/database.ts";
import { apiKey, asMerchant, startNode } from "../support/node.ts";
import { startScriptedDaraja } from "../support/scripted-daraja.ts";
import { openProvider, startScriptedProvider } from "../support/scripted-provider.ts";
import { packMerchantSdk, type SdkPackage } from "../support/sdk-package.ts";
import { nextOrderId } from "../support/store.ts";
import { startTcpProxy } from "../support/tcp-proxy.ts";

let databaseUrl: string;
let sdk: SdkPackage;
beforeAll(async () => {
  const { url, drop } = await createDatabase();
  databaseUrl = url;
  sdk = await packMerchantSdk();
  return async () => {
    await sdk.remove();
    await drop();
  };
});

interface State {
  orderId: string;
  status: string;
  reason?: string;
  version: number;
  alsoPaid?: string[];
}

const statesOf = (out: string): State[] =>
  out
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line));

/** How each outcome ends at the first provider that offers it. */
const endings: Readonly<Record<string, string>> = {
  succeeded: "succeeded",
  cancelled: "failed cancelled",
  failed: "failed insufficient_funds",
  "wrong-pin": "failed wrong_pin",
  busy: "failed busy",
  expired: "expired no_response",
  late: "succeeded late",
  "paid-twice": "succeeded paid_twice",
  "amount-mismatch": "review amount_mismatch",
  "no-webhook": "succeeded",
  "repeated-webhook": "succeeded",
  "early-webhook": "succeeded",
  "lost-answer": "succeeded",
  "provider-down": "expired deadline",
};

/** Waits for the end of a scenario. Returns what ended otherwise. */
async function missedBy(tukio: Tukio, scenario: Scenario, order: StatusEvent): Promise<string[]> {
  let last = order;
  while (!(hasEnded(scenario, last) || (last.settled && scenario.ending !== "09")))
    last = await tukio.orders.wait(order.orderId, { after: last.version, timeoutS: 20 });
  const { status, reason, payment } = last;
  return hasEnded(scenario, last) ? [] : [`${payment.provider} ${scenario.name}: ${status} ${reason}`];
}

/** Three minutes, because each outcome is a process of its own, and some take 15 s. */
const trialMsMax = 180_000;

describe("tukio trigger", () => {
  it(
    "ends in the state of each outcome, and prints the states",
    async () => {
      const { url } = await startNode({ databaseUrl });
      const started: [name: string, command: RunningCommand][] = [];
      // They wait beside each other, but start one after the other, because each start is a process.
      for (const { name } of scenarios) {
        const command = startCommand(["trigger", name, "--json"], { folder: sdk.folder, url });
        await command.until(/"version":1,/);
        started.push([name, command]);
      }
      const ran = await Promise.all(
        started.map(async ([name, { ended }]) => {
          const { code, out } = await ended;
          const [starting, ...states] = statesOf(out);
          const { orderId, status, reason } = states.at(-1) ?? {};
          expect(starting).toEqual({
            event: "starting",
            orderId,
            provider: name === "amount-mismatch" ? "lipana" : "daraja",
          });
          return [name, code, [status, reason].filter(Boolean).join(" ")];
        }),
      );
      expect(ran).toEqual(Object.entries(endings).map(([name, ending]) => [name, 0, ending]));
    },
    trialMsMax,
  );

  it(
    "can end so at every provider that it offers for the outcome",
    async () => {
      const { url } = await startNode({ databaseUrl });
      const tukio = createTukio({ url, apiKey });
      const providers = await tukio.providers.list();
      const able = scenarios.flatMap((scenario) =>
        providers
          .filter(({ name }) => scenario.secondEnding === undefined && (scenario.providers?.includes(name) ?? true))
          .map((provider) => ({ scenario, provider })),
      );
      expect(able.length).toBeGreaterThan(60);
      const ended: Promise<string[]>[] = [];
      for (const { scenario, provider } of able) {
        const payer = payerOf(provider.currencies, scenario.ending);
        if (!payer) throw new Error(`there is no payer for ${provider.name}`);
        const payment = { ...payer, orderId: nextOrderId(), provider: provider.name };
        // One after the other, because each is several requests between the node and its sandbox.
        const { order } = await tukio.payments.start(payment, { waitS: 1 });
        ended.push(missedBy(tukio, scenario, order));
      }
      expect((await Promise.all(ended)).flat()).toEqual([]);
    },
    trialMsMax,
  );

  it("pays the order, amount and provider that are given, and prints lines for people", async () => {
    const { url } = await startNode({ databaseUrl });
    const orderId = nextOrderId();
    const args = ["trigger", "succeeded", "--provider", "mtn", "--order", orderId, "--amount-minor", "5000"];
    const { code, out } = await runCommand(args, { folder: sdk.folder, url });
    expect([code, ...out.split("\n")]).toEqual([
      0,
      `Order ${orderId}`,
      `${orderId}  v1  pending  UGX 5,000  mtn`,
      `${orderId}  v2  processing`,
      expect.stringMatching(new RegExp(`^${orderId}  v3  succeeded  receipt \\w+$`)),
      "",
    ]);
    const again = await runCommand(args, { folder: sdk.folder, url });
    expect([again.code, again.out, again.error]).toEqual([
      1,
      `Order ${orderId}\n`,
      expect.stringMatching(/^tukio trigger: .*paid/),
    ]);
  });

  it(
    "keeps waiting while the node answers 503",
    async () => {
      const first = await startNode({ databaseUrl });
      const proxy = await startTcpProxy(first.url);
      const command = startCommand(["trigger", "expired"], { folder: sdk.folder, url: proxy.url });
      await command.until(/v2 {2}processing/);
      const unready = createServer((_request, response) => response.writeHead(503, { "retry-after": "0" }).end());
      await new Promise<void>((resolve) => unready.listen(0, "127.0.0.1", resolve));
      proxy.targets = [`http://127.0.0.1:${(unready.address() as AddressInfo).port}`];
      proxy.drop();
      await vi.waitUntil(() => command.error().includes("answered 503"));
      expect(command.error()).toMatch(/; still waiting for TRIGGER-\w+\n/);
      proxy.targets = [first.url];
      unready.close();
      unready.closeAllConnections();
      expect(await command.ended).toMatchObject({ code: 0, out: expect.stringContaining("expired") });
    },
    trialMsMax,
  );

  it("fails when the order ends in another way", async () => {
    const refusing = await startScriptedProvider(({ path }) =>
      path.startsWith("/oauth")
        ? { body: { access_token: "token", expires_in: "3599" } }
        : { status: 400, body: { requestId: "1-2-3", errorCode: "400.002.02", errorMessage: "Bad Request" } },
    );
    const open = { daraja: () => openProvider("daraja", refusing.url) };
    const { url } = await startNode({ databaseUrl, env: { SANDBOX: "daraja" }, open });
    const { code, error } = await runCommand(["trigger", "succeeded"], { folder: sdk.folder, url });
    const detail = "The order ended as failed (provider_error), not as succeeded";
    expect([code, error]).toEqual([1, `${detail}\n`]);
    const json = await runCommand(["trigger", "succeeded", "--json"], { folder: sdk.folder, url });
    expect([json.code, JSON.parse(json.error)]).toEqual([1, { error: { code: "outcome_missed", detail } }]);
  });

  it("fails when a signal stops it, with JSON as with text", async () => {
    const { url } = await startNode({ databaseUrl });
    const command = startCommand(["trigger", "expired", "--json"], { folder: sdk.folder, url });
    await command.until(/"version":1,/);
    command.process.kill("SIGINT");
    const { code, error } = await command.ended;
    expect([code, JSON.parse(error)]).toEqual([1, { error: { code: "stopped", detail: "Stopped." } }]);
  });

  it("refuses a provider that is not the sandbox, and asks nobody", async () => {
    const daraja = await startScriptedDaraja();
    const live = await startNode({ databaseUrl, env: daraja.env });
    const options = { folder: sdk.folder, url: live.url };
    const refused = await runCommand(["trigger", "succeeded"], options);
    expect([refused.code, refused.out]).toEqual([1, ""]);
    expect(refused.error).toContain(`no provider of ${live.url} is the sandbox (enabled: daraja)`);
    const mixed = await startNode({ databaseUrl, env: { ...daraja.env, SANDBOX: "payhero" } });
    const wanted = await runCommand(["trigger", "succeeded", "--provider", "daraja"], { ...options, url: mixed.url });
    expect([wanted.code, wanted.error]).toEqual([2, expect.stringContaining("--provider daraja is not a sandbox of")]);
    const usual = await runCommand(["trigger", "succeeded", "--json"], { ...options, url: mixed.url });
    expect(statesOf(usual.out).at(-1)).toMatchObject({ status: "succeeded", payment: { provider: "payhero" } });
    const bkash = await startNode({ databaseUrl, env: { SANDBOX: "bkash" } });
    const unable = await runCommand(["trigger", "late"], { ...options, url: bkash.url });
    expect([unable.code, unable.error]).toEqual([
      1,
      expect.stringContaining("the sandbox of bkash does not offer late"),
    ]);
    // The scripted provider is live, and the sandboxes of the other tests are not.
    const { data } = (await asMerchant(live, "/v1/orders?limit=200")).body;
    expect(data.filter((order) => order.live)).toEqual([]);
  });
});
