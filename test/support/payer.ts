/** The payer's actions on the sandbox's phone, over HTTP. */
import { vi } from "vitest";
import type { PayerAnswer } from "../../server/sandbox/phone.ts";
import { type Body, call, type TestNode } from "./node.ts";

/** Waits for the phone's first prompt and answers it. */
export async function answerPrompt(node: TestNode, phone: string, answer: PayerAnswer): Promise<void> {
  const digits = phone.replace(/\D/g, "");
  const prompts = (): Promise<{ body: Body }> => call(`${node.url}/sandbox/phone/${digits}/prompts`);
  const prompt = await vi.waitUntil(async () => (await prompts()).body.prompts[0]);
  const { status } = await call(`${node.url}/sandbox/phone/prompts/${prompt.id}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ answer }),
  });
  if (status !== 200) throw new Error(`the prompt was not answered: ${status}`);
}
