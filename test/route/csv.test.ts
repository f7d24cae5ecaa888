/** The lists in CSV: hostile text, amounts and times, and long lists. */
import pg from "pg";
import { describe, expect, it } from "vitest";
import { useDatabase } from "../support/database.ts";
import { apiKey, asMerchant, call, pay, startNode, type TestNode } from "../support/node.ts";

const file = useDatabase();

const start = (): Promise<TestNode> => startNode({ databaseUrl: file.url, env: { SANDBOX: "daraja,mtn" } });

const headers = { authorization: `Bearer ${apiKey}` };

/** Reads RFC 4180: quoted cells may have commas, quotes and line breaks. */
function readCsv(text: string): Record<string, string>[] {
  const rows: string[][] = [[]];
  for (const [, quoted, plain, end] of text.matchAll(/(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n|$)/g)) {
    rows.at(-1)?.push(quoted?.replaceAll('""', '"') ?? plain ?? "");
    if (end === "\r\n") rows.push([]);
    if (end === "") break;
  }
  const [names = [], ...lines] = rows.slice(0, -1);
  return lines.map((line) => {
    expect(line).toHaveLength(names.length);
    return Object.fromEntries(names.map((name, index) => [name, line[index] ?? ""]));
  });
}

describe("GET /v1/orders.csv", () => {
  it("shows hostile text as text, amounts in both forms, and times in UTC and in the time zone", async () => {
    const node = await start();
    const customer = {
      id: '=cmd|"/c calc"!A1',
      name: '@SUM(1)\r\n"quoted", and comma',
      email: "asha@example.com",
      phone: "0712345601",
    };
    const { order } = await pay(node, { phone: "+254712345601", description: "\t=1+1", customer });
    await asMerchant(node, `/v1/orders/${order.orderId}/wait`);
    const answer = await fetch(`${node.url}/v1/orders.csv?customer=asha@example.com&timeZone=Asia/Dhaka`, { headers });
    expect(answer.headers.get("content-type")).toBe("text/csv; charset=utf-8; header=present");
    expect(answer.headers.get("content-disposition")).toBe('attachment; filename="orders.csv"');
    expect(answer.headers.get("cache-control")).toBe("no-store");
    const bytes = Buffer.from(await answer.arrayBuffer());
    expect(bytes.subarray(0, 3)).toEqual(Buffer.from([0xef, 0xbb, 0xbf]));
    const rows = readCsv(bytes.subarray(3).toString());
    const { paidAt = "" } = (await asMerchant(node, `/v1/orders/${order.orderId}`)).body.payments[0] ?? {};
    expect(rows).toEqual([
      expect.objectContaining({
        orderId: order.orderId,
        status: "succeeded",
        amountMinor: "15000",
        amount: "150.00",
        amountPaidMinor: "15000",
        amountPaid: "150.00",
        currency: "KES",
        live: "false",
        provider: "daraja",
        description: "'\t=1+1",
        customerId: `'${customer.id}`,
        customerName: `'${customer.name}`,
        customerEmail: customer.email,
        customerPhone: "'+2547*****601",
        openedAt: order.openedAt,
        paidAt,
        paidAtLocal: new Date(new Date(paidAt).getTime() + 6 * 3_600_000).toISOString().slice(0, 19).replace("T", " "),
      }),
    ]);
  });

  it("has amounts of currencies without decimals, and no local times without a time zone", async () => {
    const node = await start();
    const { order } = await pay(node, { provider: "mtn", currency: "UGX", amountMinor: 5_000, phone: "+256772345600" });
    const text = await (await fetch(`${node.url}/v1/payments.csv?orderId=${order.orderId}`, { headers })).text();
    expect(readCsv(text)).toEqual([expect.objectContaining({ amountMinor: "5000", amount: "5000", currency: "UGX" })]);
    expect(text.split("\r\n")[0]).not.toContain("Local");
  });

  it("has only its header when nothing fits", async () => {
    const node = await start();
    const text = await (await fetch(`${node.url}/v1/orders.csv?receipt=none`, { headers })).text();
    expect(text.split("\r\n")).toEqual([expect.stringMatching(/^orderId,/), ""]);
  });

  it.each([
    ["orders", "timeZone=Mars", "timeZone"],
    ["orders", "changedSince=2026-11-20T00:00:00Z", "changedSince"],
    ["orders", "cursor=x", "cursor"],
    ["payments", "limit=5", "limit"],
    ["payments", "paidFrom=x", "paidFrom"],
  ])("refuses %s with %s, naming the field", async (list, query, field) => {
    const node = await start();
    const { status, headers: sent, body } = await asMerchant(node, `/v1/${list}.csv?${query}`);
    expect([status, sent.get("content-type"), body.errors?.map(({ path }) => path)]).toEqual([
      400,
      expect.stringContaining("application/problem+json"),
      [field],
    ]);
    expect((await call(`${node.url}/v1/${list}.csv?${query}`)).body).toMatchObject({ code: "key_invalid" });
  });
});

/** 5,000 payments of one order each: 5 pages. */
async function makeMany(): Promise<void> {
  // A connection without the pool's statement timeout.
  const client = new pg.Client(file.url);
  await client.connect();
  await client.query(`
    create temporary table made as
      select n, gen_random_uuid() as id, now() - n * interval '1 second' as at from generate_series(1, 5000) n;
    insert into "order" (id, order_id, amount_minor, currency, version, status, attempt, payment, opened_at, changed_at)
      select id, 'MANY-' || n, 15000, 'KES', 1, 'failed', 1,
        jsonb_build_object('id', id, 'provider', 'daraja', 'attempt', 1, 'live', true), at, at from made;
    insert into payment (id, order_uuid, attempt, provider, live, amount_minor, currency, status, started_at, expires_at)
      select id, id, 1, 'daraja', true, 15000, 'KES', 'failed', at, at from made;
    analyze`);
  await client.end();
}

describe("a long list in CSV", () => {
  it("has every row once, although rows change while its pages are read", async () => {
    await makeMany();
    const node = await start();
    const changing = file.database.pool.query(
      "update payment set reason = 'cancelled' where id in (select id from payment limit 500)",
    );
    const text = await (await fetch(`${node.url}/v1/payments.csv?status=failed`, { headers })).text();
    const orderIds = readCsv(text)
      .map(({ orderId }) => orderId)
      .filter((id) => id?.startsWith("MANY-"));
    expect(new Set(orderIds).size).toBe(5_000);
    expect(orderIds).toHaveLength(5_000);
    await changing;
  }, 60_000);
});
