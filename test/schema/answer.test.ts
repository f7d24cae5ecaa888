/** Compares the TypeScript types of answers with their schemas: this file does not compile if the two differ. */

import { expect, it } from "vitest";
import type { z } from "zod";
import type { StatusEvent } from "../../client-sdk/protocol.ts";
import type { WatchTokens } from "../../server/auth/watch-token.ts";
import type { Problem } from "../../server/errors.ts";
import type { OrderQuery, OrderView, PaymentView } from "../../server/order/query.ts";
import type { PastEvent } from "../../server/order/row.ts";
import type { Summary } from "../../server/route/report.ts";
import type { PromptView } from "../../server/sandbox/prompt-view.ts";
import type { ReceivedSms } from "../../server/sandbox/sms-list.ts";
import type * as answer from "../../server/schema/answer.ts";
import type { ServerEvents, UnwatchAnswer, WatchAnswer } from "../../server/transport/socketio-message.ts";
import type { WebhookPage } from "../../server/webhook/history.ts";

/** `true` only if both types are the same, including optional fields. */
type Same<A, B> =
  (<T>() => T extends Flat<A> ? 1 : 2) extends <T>() => T extends Flat<B> ? 1 : 2 ? true : { differs: [A, B] };
type Flat<T> = T extends object ? { [K in keyof T]: Flat<T[K]> } : T;

type Answers = [
  Same<z.infer<typeof answer.statusEvent>, StatusEvent>,
  Same<z.infer<typeof answer.pastEvent>, PastEvent>,
  Same<z.infer<typeof answer.payment>, PaymentView>,
  Same<z.infer<typeof answer.orderView>, OrderView>,
  Same<z.infer<typeof answer.orderList>, Awaited<ReturnType<OrderQuery["list"]>>>,
  Same<z.infer<typeof answer.paymentList>, Awaited<ReturnType<OrderQuery["listPayments"]>>>,
  Same<z.infer<typeof answer.inboxWebhookList>, WebhookPage>,
  Same<z.infer<typeof answer.summary>, Summary>,
  Same<z.infer<typeof answer.watchToken>, Awaited<ReturnType<WatchTokens["issue"]>>>,
  Same<z.infer<typeof answer.problem>, Problem>,
  Same<z.infer<typeof answer.watchAnswer>, WatchAnswer>,
  Same<z.infer<typeof answer.unwatchAnswer>, UnwatchAnswer>,
  Same<z.infer<typeof answer.watchEnded>, Parameters<ServerEvents["expired"]>[0]>,
  Same<z.infer<typeof answer.prompts>, { prompts: PromptView[]; answersItself: boolean; sms: ReceivedSms[] }>,
];

it("the schemas of answers equal their types", () => {
  const isSame: Answers[number] extends true ? true : Answers = true;
  expect(isSame).toBe(true);
});
