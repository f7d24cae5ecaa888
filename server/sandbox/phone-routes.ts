/**
 * `/sandbox/phone`: the page with the payer's phone, and the routes for the page and for programs. The page polls its prompts, because a
 * browser holds six connections to a node in all tabs together, and a stream in each tab would take them all.
 */
import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { assetRoute, digitsFile, iconFiles, keepAsset, keepAssets, sendPage } from "../http/static-files.ts";
import { phoneDigits } from "../phone-text.ts";
import { prompts } from "../schema/answer.ts";
import { prompt, sms } from "../schema/example.ts";
import { described, describedFile, openedBy } from "../schema/route.ts";
import { parseInput, readMsisdn } from "../validation.ts";
import { type Phone, payerAnswers, scenarioOf } from "./phone.ts";
import { type DescribePayment, viewPrompts } from "./prompt-view.ts";

const own = (name: string): URL => new URL(`./page/${name}`, import.meta.url);
const page = keepAsset(own("phone.html"));
const files = ["phone.css", "phone.js", "dialog.js"];
const findFile = keepAssets({
  ...iconFiles,
  ...digitsFile,
  ...Object.fromEntries(files.map((name) => [name, own(name)])),
});

const openPhone = describedFile("Sandbox", {
  operationId: "openPhone",
  summary: "The page with the payer's phone",
  type: "text/html",
});

/** The body of an answer to a prompt. */
export const answerBody = z
  .object({ answer: z.enum(payerAnswers).describe("What the payer does.") })
  .meta({ id: "PromptAnswer" });

const listPrompts = described({
  operationId: "listPrompts",
  tag: "Sandbox",
  summary: "List the open prompts and the SMS of a phone",
  description: "`answersItself` is true if the number's scenario answers its prompts.",
  security: openedBy.everyone,
  answers: {
    200: {
      description: "The open prompts and the latest 50 SMS, oldest first.",
      schema: prompts,
      example: { prompts: [prompt], answersItself: false, sms: [sms] },
    },
  },
  problems: ["body_invalid", "rate_limited"],
});

const answerPrompt = described({
  operationId: "answerPrompt",
  tag: "Sandbox",
  summary: "Answer a prompt",
  description:
    "The first answer counts. `ignore` lets the prompt lapse: the provider reports that there was no answer.",
  security: openedBy.everyone,
  body: answerBody,
  examples: { approve: { summary: "The payer enters the right PIN", value: { answer: "approve" } } },
  answers: {
    200: {
      description: "The prompt is answered.",
      schema: z.object({ id: z.uuid(), answer: z.enum(payerAnswers) }).meta({ id: "AnsweredPrompt" }),
      example: { id: prompt.id, answer: "approve" },
    },
  },
  problems: ["body_invalid", "route_unknown", "body_too_large", "rate_limited"],
});

/** Mount at `/sandbox/phone`. */
export function phoneRoutes(
  app: FastifyInstance,
  { phone, describe = async () => undefined }: { phone: Phone; describe?: DescribePayment },
): void {
  app.get("", openPhone, async (request, reply) => sendPage(request, reply, { page: await page(), framedBy: "self" }));

  assetRoute(app, "/page", findFile);

  // Pages read this every second, so it is not logged at the usual level.
  app.get("/:msisdn/prompts", { config: { isPolled: true }, ...listPrompts }, async ({ params }, reply) => {
    const msisdn = readMsisdn(params);
    reply.header("cache-control", "no-store");
    const answersItself = scenarioOf(phoneDigits(msisdn)).answer !== undefined;
    return { prompts: await viewPrompts(phone, msisdn, describe), answersItself, sms: phone.sms(msisdn) };
  });

  app.post<{ Params: { id: string } }>("/prompts/:id", answerPrompt, async ({ params, body }) => {
    const { answer } = parseInput(answerBody, body);
    phone.answer(params.id, answer);
    return { id: params.id, answer };
  });
}
