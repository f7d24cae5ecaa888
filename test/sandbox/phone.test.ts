import { describe, expect, onTestFinished, test } from "vitest";
import { createPhone, type Phone } from "../../server/sandbox/phone.ts";
import { startSandbox } from "../support/sandbox.ts";

const promptFor = (phone: string) => ({ provider: "daraja", phone, amountMinor: 15_000, currency: "KES" });

/** A prompt that does not lapse during a test: 09 answers 3 s after the deadline, here an hour of the phone's seconds. */
const lasting = { ...promptFor("+254712345609"), deadlineS: 3_600 };

function openPhone(): Phone {
  const phone = createPhone({ secondMs: 5 });
  onTestFinished(() => phone.close());
  return phone;
}

describe("phone", () => {
  test.each(["+254712345600", "254712345600", "0712345600", "0712 345 600", "০৭১২৩৪৫৬০০", "\u202a+254 712345600"])(
    "lists the prompts of a number written as %s",
    (msisdn) => {
      const phone = openPhone();
      const { id } = phone.prompt(promptFor("+254712345600"));
      phone.prompt(promptFor("+254712345700"));
      expect(phone.prompts(msisdn)).toEqual([{ id, ...promptFor("+254712345600") }]);
    },
  );

  test.each(["76123400", "+268 76 12 34 00", "26876123400", "٧٦١٢٣٤٠٠"])(
    "lists the prompts of a number of eight digits written as %s",
    (msisdn) => {
      const phone = openPhone();
      const { id } = phone.prompt(promptFor("+26876123400"));
      expect(phone.prompts(msisdn)).toEqual([{ id, ...promptFor("+26876123400") }]);
    },
  );

  test("lists no prompt of another number that ends with the same eight digits", () => {
    const phone = openPhone();
    for (const other of ["+254112345600", "+8801712345600"]) phone.prompt(promptFor(other));
    for (const number of ["0712345600", "+254712345600"]) expect(phone.prompts(number)).toEqual([]);
    expect(phone.prompts("5600")).toEqual([]);
  });

  test("removes a prompt at its first answer", async () => {
    const phone = openPhone();
    const { id, answer } = phone.prompt(promptFor("+254712345600"));
    phone.answer(id, "approve");
    expect(phone.prompts("+254712345600")).toEqual([]);
    expect(() => phone.answer(id, "cancel")).toThrow(expect.objectContaining({ code: "route_unknown" }));
    expect(await answer).toBe("approve");
  });

  test.each([
    ["01", "approve"],
    ["02", "cancel"],
    ["03", "insufficient_funds"],
    ["04", "wrong_pin"],
    ["05", "ignore"],
    ["06", "approve"],
    ["07", "approve"],
    ["08", "approve"],
    ["09", "approve"],
    ["10", "approve"],
    ["11", "approve"],
  ])("answers automatically for a number ending in %s: %s", async (ending, expected) => {
    const { answer } = openPhone().prompt(promptFor(`+2547123456${ending}`));
    expect(await answer).toBe(expected);
  });

  test.each(["00", "42", "99"])("waits for a person for a number ending in %s", async (ending) => {
    const phone = openPhone();
    const waiting = phone.prompt(promptFor(`+2547123456${ending}`));
    await phone.prompt(promptFor("+254712345605")).answer;
    expect(phone.prompts(`+2547123456${ending}`)).toHaveLength(1);
    phone.answer(waiting.id, "cancel");
    expect(await waiting.answer).toBe("cancel");
  });

  test("accepts a person's answer before the automatic one", async () => {
    const phone = openPhone();
    const { id, answer } = phone.prompt(promptFor("+254712345601"));
    phone.answer(id, "cancel");
    expect(await answer).toBe("cancel");
  });

  test("lists and answers prompts over HTTP", async () => {
    const { phone, phoneUrl } = await startSandbox("daraja");
    const { id, answer } = phone.prompt(lasting);
    const listed = await fetch(`${phoneUrl}/0712345609/prompts`);
    expect(await listed.json()).toEqual({
      prompts: [{ id, ...promptFor("+254712345609"), merchant: "Sandbox Merchant" }],
      answersItself: true,
      sms: [],
    });
    const answered = await post(`${phoneUrl}/prompts/${id}`, { answer: "insufficient_funds" });
    expect(answered.status).toBe(200);
    expect(await answer).toBe("insufficient_funds");
    expect(await (await fetch(`${phoneUrl}/0712345609/prompts`)).json()).toMatchObject({ prompts: [] });
  });

  test("refuses an unknown answer, naming the field, and an unknown prompt", async () => {
    const { phone, phoneUrl } = await startSandbox("daraja");
    const { id } = phone.prompt(lasting);
    for (const body of [{ answer: "maybe" }, {}]) {
      const refused = await post(`${phoneUrl}/prompts/${id}`, body);
      expect(refused.status).toBe(400);
      expect(refused.headers.get("content-type")).toContain("application/problem+json");
      expect(await refused.json()).toMatchObject({ code: "body_invalid", errors: [{ path: "answer" }] });
    }
    expect(phone.prompts("+254712345609")).toHaveLength(1);
    const unknown = await post(`${phoneUrl}/prompts/other`, { answer: "approve" });
    expect(unknown.status).toBe(404);
    expect(await unknown.json()).toMatchObject({ code: "route_unknown" });
  });
});

const post = (url: string, body: object): Promise<Response> =>
  fetch(url, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
