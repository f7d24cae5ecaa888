/** What the payer does on the sandbox's phone, wherever that is. */
import { vi } from "vitest";
import type { PayerAnswer } from "../../server/sandbox/phone.ts";
import { type Body, call, type TestNode } from "./node.ts";

/** Answers the phone's first prompt, as soon as there is one. */
export async function answerPrompt(node: TestNode, phone: string, answer: PayerAnswer): Promise<void> {
  const digits = phone.replace(/\D/g, "");
  const prompts = (): Promise<{ body: Body }> => call(`${node.url}/sandbox/phone/${digits}/prompts`);
  const prompt = await vi.waitUntil(async () => (await prompts()).body.prompts[0]);
  const { status } = await call(`${node.url}/sandbox/phone/prompts/${prompt.id}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ answer }),
  });
  if (status !== 200) throw new Error(`not answered: ${status}`);
}
