/**
 * The prompts as the payer's phone shows them: with the merchant and the order. A provider's API states neither the name under which the
 * merchant is registered nor always the order, so the order is read when the phone is.
 */
import type { OrderQuery } from "../order/query.ts";
import type { OrderStore } from "../order/store.ts";
import type { PaymentClue, Phone, Prompt } from "./phone.ts";

/** A prompt as the phone shows it. */
export interface PromptView extends Omit<Prompt, "clue"> {
  /** The name of the merchant who asks. */
  merchant: string;
}

/** What the merchant's order states about a payment. */
export interface PaymentFacts {
  orderId: string;
  description?: string | undefined;
  /** `metadata.merchant` of the order. */
  merchant?: string | undefined;
}

/** Reads the facts of the payment that a request for money names; undefined if it is not one of this database. Never rejects. */
export type DescribePayment = (clue: PaymentClue) => Promise<PaymentFacts | undefined>;

export interface DescribeOptions {
  query: Pick<OrderQuery, "findByPayment">;
  store: Pick<OrderStore, "locateOwn">;
  log: Record<"warn", (details: object, message: string) => void>;
}

/** A real provider shows the name of the merchant's account with it. */
const defaultMerchant = "Sandbox Merchant";

/** Characters of a merchant's name on the phone. */
const merchantLengthMax = 64;

export const createDescribePayment =
  ({ query, store, log }: DescribeOptions): DescribePayment =>
  async (clue) => {
    try {
      const paymentId = "paymentId" in clue ? clue.paymentId : await store.locateOwn(clue.provider, clue.ownReference);
      const found = paymentId === undefined ? undefined : await query.findByPayment(paymentId);
      if (!found) return undefined;
      const { order, description, metadata } = found;
      return { orderId: order.orderId, description: description ?? undefined, merchant: merchantOf(metadata) };
    } catch (err) {
      log.warn({ event: "sandbox.payment.not_described", err }, "the phone shows a prompt without its order");
      return undefined;
    }
  };

function merchantOf(metadata: Record<string, unknown> | null): string | undefined {
  const name = metadata?.merchant;
  return typeof name === "string" ? name.trim().slice(0, merchantLengthMax) || undefined : undefined;
}

/** 5 s, after which facts that were not found are read again: the database may have been unreachable. */
const absentMs = 5_000;

/** What was read, and until when it counts, because pages read the phone every second. */
const known = new WeakMap<PaymentClue, { facts: PaymentFacts | undefined; untilMs: number }>();

async function factsOf(clue: PaymentClue, describe: DescribePayment): Promise<PaymentFacts | undefined> {
  const found = known.get(clue);
  if (found && Date.now() < found.untilMs) return found.facts;
  const facts = await describe(clue);
  known.set(clue, { facts, untilMs: facts ? Number.POSITIVE_INFINITY : Date.now() + absentMs });
  return facts;
}

/** The open prompts of a phone, oldest first. */
export async function viewPrompts(
  phone: Pick<Phone, "prompts">,
  msisdn: string,
  describe: DescribePayment,
): Promise<PromptView[]> {
  return Promise.all(
    phone.prompts(msisdn).map(async ({ clue, ...prompt }) => {
      const facts = clue && (await factsOf(clue, describe));
      const { account = facts?.orderId, description: told, ...rest } = prompt;
      // Whole, because providers shorten it.
      const description = facts?.description ?? told;
      return {
        ...rest,
        merchant: facts?.merchant ?? defaultMerchant,
        ...(account !== undefined && { account }),
        // MTN is told the order's id if there is no description.
        ...(description !== undefined && description !== account && { description }),
      };
    }),
  );
}

/** The payment of a URL that the node gave to a provider: its last part begins with the payment's id. Proves nothing. */
export function clueOf(url: string | undefined): PaymentClue | undefined {
  const [, ...parts] =
    /\/([0-9a-f]{8})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{12})[0-9a-f]{32}$/.exec(url ?? "") ?? [];
  return parts.length > 0 ? { paymentId: parts.join("-") } : undefined;
}
