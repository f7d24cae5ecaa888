/** Delivery reports: the URL with its secret, and what a report changes. */
import Fastify, { type FastifyRequest } from "fastify";
import { describe, expect, it, onTestFinished } from "vitest";
import { createUrlSecrets } from "../../../server/auth/keys.ts";
import { HubError } from "../../../server/errors.ts";
import { handleErrors } from "../../../server/http/problem.ts";
import type { SmsGatewayName } from "../../../server/notification/sms/gateway.ts";
import { reportPath, reportRoute } from "../../../server/notification/sms/report-route.ts";
import { releaseSms, settleSms, takeSms } from "../../../server/notification/sms/take.ts";
import { createOrderStore } from "../../../server/order/store.ts";
import { useDatabase } from "../../support/database.ts";
import { testSecret } from "../../support/node.ts";
import { draftOf } from "../../support/store.ts";

const file = useDatabase();

const pool = () => file.database.pool;

const form = "application/x-www-form-urlencoded";
const json = "application/json";

/** `pause`: before the text of a report is looked for again. */
async function start({ pause = async () => undefined as unknown, isBlocked = false } = {}) {
  const app = Fastify();
  handleErrors(app);
  const secrets = createUrlSecrets([testSecret], "webhook");
  const admitted: string[] = [];
  const admit = async ({ url }: FastifyRequest) => {
    admitted.push(url);
    if (admitted.length > 3) throw new HubError("rate_limited");
  };
  reportRoute(app, { pool: pool(), secrets, admit, isBlocked: () => isBlocked, pause });
  onTestFinished(() => app.close());
  const post = async (path: string, payload: string, contentType: string) =>
    (await app.inject({ method: "POST", url: path, payload, headers: { "content-type": contentType } })).statusCode;
  const to = (gateway: SmsGatewayName) => (payload: string, contentType: string) =>
    post(reportPath(secrets, gateway), payload, contentType);
  return { app, secrets, admitted, post, to };
}

let references = 0;

/** A text that the gateway took. */
async function openSms(provider: SmsGatewayName, { isAnswered = true } = {}) {
  const { event } = await createOrderStore({
    database: file.database,
    announce: () => undefined,
    amountlessProviders: [],
  }).open(draftOf());
  const id = crypto.randomUUID();
  references += 1;
  const reference = String(70_000_000 + references);
  await takeSms(pool(), { id, orderUuid: event.id, replays: 0, provider, from: new Date(0), until: undefined });
  if (isAnswered) await settleSms(pool(), id, { status: "sent", reference, parts: 1 });
  const row = async () =>
    (
      await pool().query("select status, reference, reported_at is not null as is_reported from sms where id = $1", [
        id,
      ])
    ).rows[0];
  return { id, reference, row };
}

const africasTalking = (id: string, status: string): [string, string] => [
  `id=${id}&status=${status}&phoneNumber=x`,
  form,
];

describe("a delivery report", () => {
  it("of Africa's Talking, Beem and the HTTP gateway sets the text's status", async () => {
    const { to } = await start();
    const [one, two, three] = [await openSms("africastalking"), await openSms("beem"), await openSms("http")];
    expect(await to("africastalking")(...africasTalking(one.reference, "Success"))).toBe(200);
    const beem = { request_id: Number(two.reference), recipient_id: 1, dest_addr: "2557", Status: "UNDELIVERED" };
    expect(await to("beem")(JSON.stringify(beem), json)).toBe(200);
    expect(await to("http")(JSON.stringify({ id: three.id, status: "delivered" }), json)).toBe(200);
    expect([await one.row(), await two.row(), await three.row()]).toMatchObject([
      { status: "delivered", is_reported: true },
      { status: "failed", is_reported: true },
      { status: "delivered", is_reported: true },
    ]);
  });

  it("that is repeated or late does not change a delivered text", async () => {
    const { to } = await start();
    const { reference, row } = await openSms("africastalking");
    const statuses = ["Sent", "Success", "Success", "Failed", "Buffered"];
    for (const status of statuses) expect(await to("africastalking")(...africasTalking(reference, status))).toBe(200);
    expect(await row()).toMatchObject({ status: "delivered" });
  });

  it("of a delivery after one of a failure counts", async () => {
    const { to } = await start();
    const { reference, row } = await openSms("africastalking");
    for (const status of ["Failed", "Success"]) await to("africastalking")(...africasTalking(reference, status));
    expect(await row()).toMatchObject({ status: "delivered" });
  });

  it("of a text on its way changes nothing", async () => {
    const { to } = await start();
    const { reference, row } = await openSms("africastalking");
    expect(await to("africastalking")(...africasTalking(reference, "Submitted"))).toBe(200);
    expect(await row()).toMatchObject({ status: "sent", is_reported: false });
  });

  it("about an unknown text is acknowledged, and so is one of another gateway", async () => {
    const { to } = await start();
    const { reference, row } = await openSms("beem");
    expect(await to("africastalking")(...africasTalking("unknown", "Success"))).toBe(200);
    expect(await to("africastalking")(...africasTalking(reference, "Success"))).toBe(200);
    expect(await to("http")(JSON.stringify({ id: crypto.randomUUID(), status: "failed" }), json)).toBe(200);
    expect(await row()).toMatchObject({ status: "sent" });
  });

  it("that overtakes the answer to its request is found when the answer is stored", async () => {
    const { id, reference, row } = await openSms("africastalking", { isAnswered: false });
    let pauses = 0;
    const { to } = await start({
      async pause() {
        pauses += 1;
        await settleSms(pool(), id, { status: "sent", reference });
      },
    });
    expect(await to("africastalking")(...africasTalking(reference, "Success"))).toBe(200);
    expect(pauses).toBe(1);
    expect(await row()).toMatchObject({ status: "delivered" });
  });

  it("by the request's id settles a text whose answer was lost, and is not undone by that answer", async () => {
    const { to } = await start();
    const { id, row } = await openSms("http", { isAnswered: false });
    expect(await to("http")(JSON.stringify({ id, status: "delivered" }), json)).toBe(200);
    await settleSms(pool(), id, { status: "unknown" });
    await releaseSms(pool(), id);
    expect(await row()).toMatchObject({ status: "delivered" });
  });

  it("that cannot be read is refused", async () => {
    const { to } = await start();
    expect(await to("africastalking")("", form)).toBe(400);
    expect(await to("beem")("{", json)).toBe(400);
    expect(await to("http")("[]", json)).toBe(400);
    expect(await to("http")(`{"id":"${"x".repeat(20_000)}"}`, json)).toBe(413);
  });
});

describe("a request without the secret", () => {
  it("is counted for its address and refused, and changes nothing", async () => {
    const { post, secrets, admitted } = await start();
    const { reference, row } = await openSms("africastalking");
    const forged = [
      `/webhooks/sms/africastalking/${"0".repeat(64)}`,
      "/webhooks/sms/africastalking/x",
      // The secret of another gateway.
      reportPath(secrets, "beem").replace("/beem/", "/africastalking/"),
      // A webhook's secret of the same node.
      `/webhooks/sms/africastalking/${secrets.seal("daraja", crypto.randomUUID())}`,
    ];
    const statuses: number[] = [];
    for (const path of forged) statuses.push(await post(path, ...africasTalking(reference, "Success")));
    expect(statuses).toEqual([401, 401, 401, 429]);
    expect(admitted).toHaveLength(4);
    expect(await row()).toMatchObject({ status: "sent" });
  });

  it("is refused for a gateway that does not exist, also with a secret", async () => {
    const { post, secrets } = await start();
    const path = reportPath(secrets, "beem");
    for (const name of ["other", "constructor", "__proto__"]) {
      expect(await post(path.replace("/beem/", `/${name}/`), "{}", json)).toBe(401);
    }
  });

  it("is refused for now while another node may accept it", async () => {
    const { post } = await start({ isBlocked: true });
    expect(await post(`/webhooks/sms/beem/${"0".repeat(64)}`, "{}", json)).toBe(503);
  });
});
