/** The command `tukio`: help, arguments, the key, exit codes, colours and `tukio order`. */
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { createOutput, money, plain } from "../../merchant-sdk/command/output.ts";
import { type Ended, runCommand } from "../support/command.ts";
import { createDatabase } from "../support/database.ts";
import { apiKey, asMerchant, pay, startNode, type TestNode } from "../support/node.ts";
import { packMerchantSdk, type SdkPackage } from "../support/sdk-package.ts";

let databaseUrl: string;
let sdk: SdkPackage;
let node: TestNode;
beforeAll(async () => {
  const { url, drop } = await createDatabase();
  databaseUrl = url;
  sdk = await packMerchantSdk();
  return async () => {
    await sdk.remove();
    await drop();
  };
});

const run = (args: readonly string[], env: Record<string, string> = {}, cwd = sdk.folder): Promise<Ended> =>
  runCommand(args, { folder: sdk.folder, url: node?.url ?? "http://127.0.0.1:9", env, cwd });

async function openFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "tukio-command-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  return folder;
}

describe("help", () => {
  it("lists the commands, and explains each with its options and exit codes", async () => {
    const { code, out } = await run(["--help"]);
    expect([code, out]).toEqual([
      0,
      expect.stringMatching(/listen {3}Forwards.*trigger {2}Starts.*order {4}Prints.*doctor {3}Examines/s),
    ]);
    for (const [name, option] of [
      ["listen", "--forward-to URL"],
      ["trigger", "paid-twice"],
      ["order", "tukio order ORD-1001"],
      ["doctor", "tukio doctor"],
    ] as const) {
      const { code, out, error } = await run([name, "--help"]);
      expect([name, code, error]).toEqual([name, 0, ""]);
      for (const text of [option, "--key-file FILE", "--json", "0 done, 1 failed, 2 wrong arguments"])
        expect(out).toContain(text);
      expect(Math.max(...out.split("\n").map((line) => line.length))).toBeLessThan(140);
    }
  });

  it("has short forms, and explains a command by its name", async () => {
    const [overview, trigger] = [await run(["--help"]), await run(["trigger", "--help"])];
    for (const [args, same] of [
      [["-h"], overview],
      [["help"], overview],
      [["help", "trigger"], trigger],
      [["trigger", "-h"], trigger],
    ] as const)
      expect(await run(args)).toEqual(same);
  });

  it.each(["--version", "-v"])("%s prints the version of the package", async (option) => {
    expect(await run([option])).toMatchObject({ code: 0, out: "0.1.0\n" });
  });
});

describe("wrong arguments", () => {
  const forward = ["listen", "--forward-to", "localhost"];
  it.each<[string[], string]>([
    [[], "tukio: COMMAND is missing"],
    [["--json"], '{"error":{"code":"usage","detail":"COMMAND is missing"}}'],
    [["--json", "order"], '{"error":{"code":"usage","detail":"ORDER is missing"}}'],
    [["--url", "listen"], "tukio: the command must come before --url"],
    [["lissten"], "tukio: there is no command lissten; did you mean listen?"],
    [["help", "trigger2"], "tukio: there is no command trigger2; did you mean trigger?"],
    [["order"], "tukio order: ORDER is missing"],
    [["order", "A", "B"], "tukio order: unexpected argument: B"],
    [["order", "bad id!"], "tukio order: ORDER must be 1 to 64 letters, digits and . _ : -"],
    [["order", "A", "--forward-to", "x"], "tukio order: there is no option --forward-to\nTry"],
    [["order", "A", "--key-fil", "x"], "tukio order: there is no option --key-fil; did you mean --key-file?"],
    [["order", "A", "--json=1"], "tukio order: --json takes no value"],
    [["order", "A", "--url", "--json"], '{"error":{"code":"usage","detail":"--url needs a value: URL"}}'],
    [["listen"], "tukio listen: --forward-to is missing, such as --forward-to localhost:4000/hooks"],
    [["listen", "--forward-to"], "tukio listen: --forward-to needs a value: URL\nTry"],
    [["listen", "--forward-to", "http://"], "tukio listen: --forward-to is not a URL, such as localhost:4000/hooks"],
    [
      ["listen", "--forward-to", "shop.example:4000/hooks"],
      "tukio listen: --forward-to must be https for another machine: https://shop.example:4000/hooks",
    ],
    [
      [...forward, "--events", "order.payed"],
      "tukio listen: --events has the unknown type order.payed. Types: order.pending,",
    ],
    [
      [...forward, "--events", "order.suceeded"],
      "tukio listen: --events has the unknown type order.suceeded; did you mean order.succeeded?",
    ],
    [[...forward, "--since", "soon"], "tukio listen: --since is not a time, such as 2026-11-20T21:00:00Z"],
    [[...forward, "--secret", "whsec_"], "tukio listen: --secret must be whsec_ and base64"],
    [["trigger", "payed"], "tukio trigger: there is no outcome payed. Outcomes: succeeded, cancelled,"],
    [["trigger", "expire"], "tukio trigger: there is no outcome expire; did you mean expired?"],
    [["trigger", "busy", "--provider", "mtn"], "tukio trigger: busy is not an outcome of mtn, but of daraja, bkash"],
    [
      ["trigger", "late", "--amount-minor", "0"],
      "tukio trigger: --amount-minor must be a whole number greater than 0, such as 15000",
    ],
    [
      ["order", "A", "--url", "localhost:3000"],
      "tukio order: --url must start with http:// or https://, such as http://localhost:3000",
    ],
    [
      ["order", "A", "--url", "http://localhost:3000/?a=b"],
      "tukio order: --url must be the http(s) address of the Tukio server, without a query",
    ],
    [
      ["order", "A", "--key-file", "none"],
      "tukio order: there is no API key: none cannot be read (ENOENT). Check --key-file",
    ],
  ])("%j ends with 2 and a sentence", async (args, sentence) => {
    const { code, out, error } = await run(args);
    expect([code, out]).toEqual([2, ""]);
    expect(error.startsWith(sentence), error).toBe(true);
    expect(error).toMatch(/\nTry: tukio( \w+)? --help\n$|^\{.*\}\n$/);
  });

  it("are reported all at once, as one JSON object with --json", async () => {
    const wrong = [
      "trigger",
      "late",
      "--provider",
      "bkash",
      "--order",
      "bad id!",
      "--amount-minor",
      "-1",
      "--url",
      "x",
    ];
    const faults = [
      "--amount-minor must be a whole number greater than 0, such as 15000",
      "--order must be 1 to 64 letters, digits and . _ : - that begin with a letter or a digit",
      "late is not an outcome of bkash, but of daraja, payhero, lipana, zenopay, mtn",
      "--url must start with http:// or https://, such as http://localhost:3000",
    ];
    const { code, error } = await run(wrong);
    expect([code, error.split("\n").slice(0, -2)]).toEqual([2, faults.map((fault) => `tukio trigger: ${fault}`)]);
    const json = await run([...wrong, "--json"]);
    expect([json.code, JSON.parse(json.error)]).toEqual([2, { error: { code: "usage", detail: faults.join("; ") } }]);
  });
});

describe("the key", () => {
  it("comes from the option, the environment or the node's own file, in this order", async () => {
    node = await startNode({ databaseUrl });
    const { order } = await pay(node);
    const folder = await openFolder();
    const args = ["order", order.orderId];
    const none = { TUKIO_API_KEY: "" };
    expect(await run(args, none, folder)).toMatchObject({
      code: 2,
      error: expect.stringContaining("Set TUKIO_API_KEY"),
    });
    await mkdir(join(folder, ".tukio"));
    await writeFile(join(folder, ".tukio/api-key"), `${apiKey}\n`);
    expect((await run(args, none, folder)).code).toBe(0);
    const wrong = { TUKIO_API_KEY: "a-wrong-key-of-some-length" };
    const refused = await run(args, wrong, folder);
    expect(refused).toMatchObject({ code: 1, error: expect.stringContaining("The key comes from --key-file") });
    expect(refused.error).not.toContain(wrong.TUKIO_API_KEY);
    // A call that takes no watch token is refused with another code, and the command prints the same text.
    const triggered = await run(["trigger", "succeeded"], wrong, folder);
    expect(triggered.error).toBe(refused.error.replace("tukio order", "tukio trigger"));
    expect((await run([...args, "--key-file", ".tukio/api-key"], wrong, folder)).code).toBe(0);
    expect((await run(args, { TUKIO_API_KEY: `${apiKey}, another-key` }, folder)).code).toBe(0);
  });
});

describe("a failure", () => {
  it("ends with 1, and is JSON with --json", async () => {
    node = await startNode({ databaseUrl });
    const unknown = await run(["order", "ORD-NONE"]);
    expect(unknown).toMatchObject({ code: 1, out: "", error: expect.stringMatching(/^tukio order: .*\n$/) });
    const { code, error } = await run(["order", "ORD-NONE", "--json"]);
    expect([code, JSON.parse(error)]).toEqual([
      1,
      { error: { code: "order_unknown", status: 404, detail: expect.any(String) } },
    ]);
    const { error: withoutTls } = await run(["order", "ORD-1", "--url", node.url.replace("http:", "https:")]);
    expect(withoutTls).toContain(" cannot be reached: it does not speak TLS. Does its address begin with http://?\n");
    const absent = await run(["order", "ORD-1", "--url", "http://127.0.0.1:9"]);
    expect(absent.error).toMatch(
      /cannot be reached: .*\nIs the server running\? Its address comes from --url or TUKIO_URL\.\n$/,
    );
  });
});

describe("tukio doctor", () => {
  it("prints what the server found, the worst first, with what to do, and ends with 1 if there is an error", async () => {
    node = await startNode({ databaseUrl });
    const fine = await run(["doctor"]);
    expect(fine.code).toBe(0);
    expect(fine.out).toMatch(/^\S+:\d+ {2}\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC\n\nwarning {2}/);
    expect(fine.out).toMatch(/\nwarning {2}PUBLIC_URL {2}PUBLIC_URL is not set, .*\n {9}→ Set PUBLIC_URL to /);
    expect(fine.out).toMatch(/\nok {7}PostgreSQL {2}.*\n(?:.*\n)*\n\d+ warnings, \d+ ok\n$/);
    expect(fine.out).not.toContain("\u001b");
    await node.close();
    node = await startNode({ databaseUrl, env: { SMTP_URL: "smtp://127.0.0.1:1", MAIL_FROM: "shop@example.com" } });
    const broken = await run(["doctor"]);
    expect(broken.code).toBe(1);
    expect(broken.out).toMatch(/UTC\n\nerror {4}Mail {2}The mail server 127\.0\.0\.1:1 cannot be used .*\n {9}→ /);
    const json = await run(["doctor", "--json"]);
    expect([json.code, json.error]).toEqual([1, ""]);
    expect(JSON.parse(json.out)).toMatchObject({ status: "error", data: expect.any(Array) });
  });
});

describe("tukio order", () => {
  it("prints the order with its payments, its history and its results", async () => {
    node = await startNode({ databaseUrl });
    const { order } = await pay(node, {
      phone: "+254712345602",
      description: "2 tickets\u001b[31m",
      items: [{ name: "Ticket", quantity: 2, unitAmountMinor: 7_500 }],
      customer: { name: "Asha" },
    });
    const path = `/v1/orders/${order.orderId}`;
    await asMerchant(node, `${path}/wait`);
    await pay(node, { orderId: order.orderId, phone: "+254712345601" });
    await asMerchant(node, `${path}/wait`);
    await asMerchant(node, `${path}/results`, { id: "T-1", kind: "ticket", title: "Ticket", code: "ABC" });
    const { code, out } = await run(["order", order.orderId]);
    expect(code).toBe(0);
    const shape = out
      .replaceAll(order.orderId, "ORD-1")
      .replace(/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC/g, "TIME")
      .replace(/\+\d+(\.\d)? m?s/g, "+WAIT")
      .replace(/receipt \w{10}/g, "receipt RECEIPT")
      .replace(/reference \w+/g, "reference REF");
    expect(shape).toMatchInlineSnapshot(`
      "ORD-1  KES 150.00  succeeded  test payment, no money moves
        opened       TIME
        description  2 tickets�[31m
        customer     name=Asha
        items        2 × Ticket

      Payments
        1.  TIME  daraja  failed (cancelled)  +2547*****602  reference REF
        2.  TIME  daraja  succeeded  paid KES 150.00  +2547*****601  receipt RECEIPT  reference REF

      History
        v1  TIME  pending  attempt 1
        v2  TIME  +WAIT  processing  by reply  attempt 1
        v3  TIME  +WAIT  failed (cancelled)  by webhook  attempt 1
        v4  TIME  +WAIT  pending  attempt 2
        v5  TIME  +WAIT  processing  by reply  attempt 2
        v6  TIME  +WAIT  succeeded  by webhook  attempt 2
        v7  TIME  +WAIT  succeeded  by merchant  attempt 2

      Results
        T-1  ticket  “Ticket”  ABC
      "
    `);
    const { out: json } = await run(["order", order.orderId, "--json"]);
    expect(JSON.parse(json)).toEqual((await asMerchant(node, path)).body);
  });
});

describe("output", () => {
  const textOf = (env: Record<string, string>, isTTY: boolean): string => {
    const output = createOutput({
      out: { isTTY, write: () => true },
      error: { write: () => true },
      env,
      isJson: false,
    });
    return output.paint("green", "paid");
  };

  it("has colours on a terminal only, and not with NO_COLOR", () => {
    expect(textOf({}, true)).toBe("\u001b[32mpaid\u001b[0m");
    expect(textOf({ NO_COLOR: "" }, true)).toContain("\u001b");
    for (const text of [textOf({}, false), textOf({ NO_COLOR: "1" }, true), textOf({ TERM: "dumb" }, true)])
      expect(text).toBe("paid");
  });

  it("shows amounts in the currency's digits, and no characters that a terminal obeys", () => {
    expect([money(150_000, "KES"), money(4_200, "UGX"), money(5, "BDT"), money(300, "???")]).toEqual([
      "KES 1,500.00",
      "UGX 4,200",
      "BDT 0.05",
      "??? 3",
    ]);
    expect(plain("a\u001b[31mb\r\nc\u202e")).toBe("a\ufffd[31mb\ufffd\ufffdc\ufffd");
  });
});
