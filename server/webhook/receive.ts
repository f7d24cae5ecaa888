/**
 * Takes webhooks in. What `receive` resolved for is on disk: in the database, by the very statement that acts on it, or,
 * while the database cannot be reached, in the spool, from where it is received again. Any number may come at once, and
 * one may be received twice: a payment only climbs. What the webhooks of one payment may store is bounded
 * (budget.ts), before the database as before the spool.
 */
import type { IncomingHttpHeaders } from "node:http";
import { HubError } from "../errors.ts";
import { messageOf } from "../log.ts";
import { type Loop, startLoop } from "../loop.ts";
import type { InboxRow } from "../order/evidence.ts";
import type { Outcome } from "../order/order.ts";
import type { OrderStore } from "../order/store.ts";
import type { WebhookResult } from "../order/tables.ts";
import { orAfter } from "../payment/in-flight.ts";
import type { Claim, Provider, Webhook } from "../provider/provider.ts";
import { createAppeals, type Verdict } from "./appeal.ts";
import { createWebhookBudget, evidenceOf, type Permit, type Refusal, tooMany } from "./budget.ts";
import { createBudget, type Inbox } from "./inbox.ts";
import type { Spool, SpooledWebhook, Weight } from "./spool.ts";
import { createVisits } from "./visit.ts";

export interface Received {
  /** The payment it is about, where that is known. */
  paymentId?: string;
  proof: Claim["proof"];
  /**
   * `spooled`: on disk, to be applied when the database is back. `failed`: not kept, and the provider is told so. `repeat`:
   * it may not have been kept either, where the same evidence is.
   */
  result: WebhookResult | "spooled" | "failed";
  /** What the provider is to be told instead of "received". */
  refusal?: HubError;
}

/** How a webhook was stored, and the payment whose provider must be asked because of it. */
interface Recorded {
  result: WebhookResult;
  due?: string;
}

export interface Receiver {
  /**
   * Never throws an operating error: `refusal` says what went wrong. `refused`: the URL's secret was wrong, so nothing in
   * the webhook is believed.
   */
  receive(provider: Provider, webhook: Webhook, refused?: HubError): Promise<Received>;
  close(): Promise<void>;
}

export interface ReceiverOptions {
  providers: ReadonlyMap<string, Provider>;
  store: Pick<OrderStore, "advance" | "checkNow" | "locate" | "locateOwn" | "assessSuccess">;
  inbox: Pick<Inbox, "insert" | "refuse">;
  /** Absent: what comes while the database is away is not taken. */
  spool?: Spool;
  isDatabaseUp: () => Promise<boolean>;
  /** Asks the provider about a due payment. Resolves when the answer is stored, or when this node does not ask. Never rejects. */
  ask: (paymentId: string) => Promise<unknown>;
  /** Applies webhooks that waited for this reference. */
  offerParked: (provider: string, reference: string) => Promise<void>;
  log: { info(details: object, message: string): void; warn(details: object, message: string): void };
}

const drainMs = 500;

/** Proven webhooks of one provider that name no payment: a captured one may be played back for ever. */
const namelessPerMinuteMax = 300;

/** Payments whose provider is to be asked when the database is back. The schedule asks about the others. */
const owedMax = 10_000;

/**
 * A webhook that is only a reason to ask is answered after the question, or after this time: so the state is visible by the
 * time that the provider has its answer.
 */
const askFirstMs = 1_000;

export function createReceiver(options: ReceiverOptions): Receiver {
  const { providers, store, inbox, spool, isDatabaseUp, ask, offerParked, log } = options;
  /** Since the database failed a webhook, and until it is seen to be up, the next ones go to the spool without waiting for it. */
  let isAway = false;
  const budget = createWebhookBudget();
  const appeals = createAppeals(store);
  const isNamelessWithin = createBudget(namelessPerMinuteMax, () => performance.now());
  const visit = createVisits();
  const owed = new Set<string>();

  const askLater = (paymentId: string): void => {
    if (owed.size < owedMax) owed.add(paymentId);
  };

  const locate = async (provider: string, { reference }: Claim): Promise<string | undefined> =>
    reference === undefined ? undefined : store.locate(provider, reference);

  const record = async (row: InboxRow, claim: Claim, found: Found): Promise<Recorded> => {
    const { reference, outcome, proof } = claim;
    const { paymentId } = found;
    const insertAs = async (result: "unmatched" | "nothing" | "hint", about: Found = found): Promise<Recorded> => {
      const mayAsk = await inbox.insert({ ...row, ...about, ...(reference !== undefined && { reference }), result });
      const isDue = mayAsk && result === "hint" && about.paymentId !== undefined;
      return { result, ...(isDue && { due: about.paymentId }) };
    };
    if (claim.subscribeUrl) {
      await insertAs("nothing");
      await visit(claim.subscribeUrl, async (url) => providers.get(row.provider)?.confirmSubscription?.(url));
      return { result: "nothing" };
    }
    // Signed, and about a payment that is none of ours: nothing will ever match it.
    if (claim.isHint && paymentId === undefined) return insertAs("nothing");
    if (paymentId === undefined) return recordUnmatched(row, claim, insertAs);
    if (proof === "none" || claim.isHint) return insertAs("hint");
    if (!outcome) return insertAs("nothing");
    try {
      const { result } = await store.advance(paymentId, outcome, row);
      return { result, ...(result === "hint" && { due: paymentId }) };
    } catch (error) {
      // Locked too long, deadlocked, or bytes that no column takes: kept all the same, to be offered again.
      const said = messageOf(error instanceof HubError ? error.cause : error);
      await inbox.insert({ ...row, result: "error", paymentId, error: said });
      // Waits for the lock that the statement waited for, so the answer does not wait for it.
      store.checkNow(paymentId).catch(() => undefined);
      return { result: "error" };
    }
  };

  /** Keeps a webhook until its reference is known. Our own name for the payment is a reason to ask. */
  const recordUnmatched = async (
    row: InboxRow,
    claim: Claim,
    insertAs: (result: "unmatched" | "hint", about?: Found) => Promise<Recorded>,
  ): Promise<Recorded> => {
    const { reference, ownReference } = claim;
    const own = ownReference === undefined ? undefined : await store.locateOwn(row.provider, ownReference);
    if (own !== undefined && reference === undefined) return insertAs("hint", { paymentId: own, isAddressed: true });
    await insertAs("unmatched");
    // The reference may have become known while the bytes were being kept. They are, so failing now loses nothing.
    if (reference !== undefined && (await locate(row.provider, claim).catch(() => undefined))) {
      await offerParked(row.provider, reference);
    }
    if (own === undefined) return { result: "unmatched" };
    await store.checkNow(own);
    return { result: "unmatched", due: own };
  };

  /** What says nothing that can be believed is kept for audit, and the provider is told. */
  const refuse = async (row: InboxRow, paymentId: string | undefined, refusal: HubError): Promise<Received> => {
    const { proof } = row;
    if (refusal.code === "webhook_rejected") {
      await inbox.refuse(row, refusal.message).catch((err: unknown) => log.warn({ err }, "refused, not kept"));
      return { proof, result: "refused", refusal };
    }
    const known = paymentId !== undefined && { paymentId };
    await inbox.insert({ ...row, ...known, result: "unreadable", error: refusal.message });
    return { proof, result: "unreadable", refusal, ...known };
  };

  /**
   * Into the database; throws `store_unavailable` when it cannot be reached. `isKnown`: it has shown before that it is no
   * stranger's, so no stranger's budget holds it back.
   */
  const take = async (
    provider: Provider,
    webhook: Webhook,
    read: Claim | HubError,
    isKnown = webhook.paymentId !== undefined,
  ): Promise<Taken> => {
    const { paymentId: addressed, headers, body } = webhook;
    const row: InboxRow = {
      provider: provider.name,
      proof: addressed !== undefined ? "secret" : "none",
      headers: withoutCredentials(headers),
      body,
    };
    if (read instanceof HubError) return refuse(row, addressed, read);
    const { proof } = read;
    const paymentId = read.paymentId ?? (await locate(provider.name, read));
    const known = paymentId !== undefined && { paymentId };
    return { proof, ...(await record({ ...row, proof }, read, { ...known, isAddressed: isKnown })), ...known };
  };

  /** Onto this machine's disk, if the sender has shown that it is no stranger. */
  const spoolAway = async (
    { name }: Provider,
    { paymentId, headers, body }: Webhook,
    read: Claim | HubError,
    weight: Weight,
  ): Promise<Received | undefined> => {
    const proof = read instanceof HubError ? "secret" : read.proof;
    // A subscription's sender comes again; what it makes us visit must not hold up what waits behind it.
    const isProven = paymentId !== undefined || (proof === "signature" && !isSubscription(read));
    if (!spool || !isProven || (read instanceof HubError && read.code === "webhook_rejected")) return undefined;
    const known = paymentId !== undefined && { paymentId };
    try {
      await spool.append({ provider: name, headers: withoutCredentials(headers), body, ...known }, weight);
    } catch (err) {
      if (err instanceof HubError) {
        if (paymentId !== undefined) askLater(paymentId);
        return { proof, result: "failed", refusal: err, ...known };
      }
      log.warn({ err, provider: name }, "a webhook could not be spooled");
      return undefined;
    }
    return { proof, result: "spooled", ...known, ...(read instanceof HubError && { refusal: read }) };
  };

  /** Into the database, or onto the disk while it is away. */
  const put = async (provider: Provider, webhook: Webhook, read: Claim | HubError, isNew: boolean): Promise<Taken> => {
    const weight = isNew ? (successOf(read) ? "success" : "new") : "idle";
    if (isAway) {
      const spooled = await spoolAway(provider, webhook, read, weight);
      if (spooled) return spooled;
    }
    try {
      return await take(provider, webhook, read);
    } catch (error) {
      if (!(error instanceof HubError)) throw error;
      const proof = read instanceof HubError ? "none" : read.proof;
      const { paymentId } = webhook;
      const failed = {
        proof,
        result: "failed",
        refusal: error,
        ...(paymentId !== undefined && { paymentId }),
      } as const;
      if (error.code !== "store_unavailable") return failed;
      isAway = true;
      return (await spoolAway(provider, webhook, read, weight)) ?? failed;
    }
  };

  const receive = async (provider: Provider, webhook: Webhook, refused?: HubError): Promise<Received> => {
    const read = refused ?? (await translate(provider, webhook));
    const admission = await admitInTurn(provider, webhook, read);
    if (admission?.isAdmitted === false) return turnAway(provider, webhook, read, admission);
    const { due, ...received } = await charged(admission, read, () =>
      put(provider, webhook, read, admission?.isNew ?? true),
    );
    const isStranger = webhook.paymentId === undefined && received.proof === "none" && !provider.signsWebhooks;
    if (due !== undefined) await askAbout(due, !isStranger);
    return received;
  };

  /** Waits, once, for what becomes of the same. */
  const admitInTurn = async (
    ...given: [provider: Provider, webhook: Webhook, read: Claim | HubError]
  ): Promise<Permit | Refusal | undefined> => {
    const admission = await admit(...given);
    if (admission?.isAdmitted !== false || !admission.whenKnown) return admission;
    await admission.whenKnown;
    return admit(...given);
  };

  /** Undefined for what nobody vouches for: strangers have budgets of their own, and use up nobody else's. */
  const admit = async (
    { name }: Provider,
    webhook: Webhook,
    read: Claim | HubError,
  ): Promise<Permit | Refusal | undefined> => {
    const { paymentId, headers, body } = webhook;
    const bytes = body.length + JSON.stringify(headers).length;
    if (read instanceof HubError) {
      const isRefused = paymentId === undefined || read.code === "webhook_rejected";
      return isRefused ? undefined : budget.admit(paymentId, { bytes });
    }
    const isProven = paymentId !== undefined || read.proof !== "none";
    if (!isProven) return undefined;
    const about = paymentId ?? read.paymentId ?? nameOf(name, read);
    if (about === undefined) return isNamelessWithin(name) ? undefined : tooManyNameless;
    const size = { evidence: evidenceOf(read), bytes };
    const admission = budget.admit(about, size);
    const success = successOf(read);
    if (admission.isAdmitted || !admission.error || admission.whenKnown || !success) return admission;
    const verdict = await appeal(name, { ...read, ...(paymentId !== undefined && { paymentId }) }, success);
    if (verdict === "decisive") return budget.admitAnyway(about, size);
    return verdict === "later" ? { ...admission, error: tooMany(1) } : admission;
  };

  /** Whether a success beyond its payment's budget is let in. While nobody can say, as much as the spool has room for. */
  const appeal = async (name: string, claim: Claim, success: Outcome): Promise<Verdict> => {
    const unheard = spool ? "decisive" : "idle";
    const { paymentId: named } = claim;
    if (isAway) return named !== undefined && appeals.isContradicted(named, success) ? "idle" : unheard;
    try {
      const paymentId = named ?? (await locate(name, claim));
      return paymentId === undefined ? "idle" : await appeals.hear(paymentId, success);
    } catch (error) {
      // Bytes that no column takes are nothing that was agreed.
      if (!(error instanceof HubError) || error.code !== "store_unavailable") return "idle";
      isAway = true;
      return unheard;
    }
  };

  /** Beyond the budget of its payment. */
  const turnAway = (
    { name }: Provider,
    { paymentId: addressed }: Webhook,
    read: Claim | HubError,
    { error: refusal, asks }: Refusal,
  ): Received => {
    const proof = read instanceof HubError ? "secret" : read.proof;
    const paymentId = addressed ?? (read instanceof HubError ? undefined : read.paymentId);
    const known = paymentId !== undefined && { paymentId };
    if (asks && paymentId !== undefined) {
      // Any of so many stories may be the true one. Its payment may be locked, so the answer does not wait.
      log.warn({ provider: name, ...known }, "too many different webhooks of one payment; the provider is asked");
      checkNow(paymentId);
    }
    return refusal ? { proof, result: "failed", refusal, ...known } : { proof, result: "repeat", ...known };
  };

  /** Has the provider asked, now or when the database is back. */
  const checkNow = (paymentId: string): void => {
    if (isAway) {
      askLater(paymentId);
      return;
    }
    store.checkNow(paymentId).then(
      () => askAbout(paymentId, false),
      () => askLater(paymentId),
    );
  };

  /** A webhook that anybody could have sent is answered at once, so that it holds no connection open. */
  const askAbout = async (paymentId: string, isProven: boolean): Promise<void> => {
    const asked = ask(paymentId);
    if (isProven) await orAfter(askFirstMs, asked);
  };

  /** Throws while the database is away. */
  const receiveSpooled = async ({ provider: name, paymentId, headers, body }: SpooledWebhook): Promise<void> => {
    const webhook = { headers: headers as IncomingHttpHeaders, body, ...(paymentId !== undefined && { paymentId }) };
    const provider = providers.get(name);
    const read = provider ? await translate(provider, webhook) : new HubError("provider_unknown");
    if (!provider || (read instanceof HubError && read.code === "webhook_rejected")) {
      // Proven when it came, and not any more: an operator finds it in the inbox.
      const known = paymentId !== undefined && { paymentId };
      const error = "out of the spool, and its provider is gone or its proof no longer good";
      await inbox.insert({ provider: name, proof: "none", headers, body, ...known, result: "error", error });
      return;
    }
    const { result } = await take(provider, webhook, read, true);
    log.info({ provider: name, paymentId, result }, "webhook out of the spool");
  };

  const loop: Pick<Loop, "close"> = startLoop({
    task: async () => {
      const isIdle = !spool && !isAway && owed.size === 0;
      if (isIdle || !(await isDatabaseUp())) return;
      isAway = false;
      await spool?.drain(receiveSpooled);
      for (const paymentId of owed) {
        await store.checkNow(paymentId);
        owed.delete(paymentId);
      }
    },
    delayMs: () => drainMs,
    onError: (err) => log.warn({ err }, "the spool could not be emptied"),
    onRecovered: () => log.info({}, "the spool can be emptied again"),
  });

  return { receive, close: loop.close };
}

interface Found {
  paymentId?: string;
  /** It came to the payment's own address, or waited in the spool, where no stranger's does. */
  isAddressed: boolean;
}

type Taken = Received & Pick<Recorded, "due">;

/** Pays for what was stored, and for nothing else. */
async function charged(
  permit: Permit | undefined,
  read: Claim | HubError,
  store: () => Promise<Taken>,
): Promise<Taken> {
  try {
    const taken = await store();
    if (taken.result === "failed") permit?.failed();
    else permit?.stored({ isChange: taken.result === "applied", isSettled: isSettledBy(taken, read) });
    return taken;
  } catch (error) {
    permit?.failed();
    throw error;
  }
}

/** What names the payment where our own id does not. */
const nameOf = (provider: string, { reference, ownReference }: Claim): string | undefined => {
  if (reference !== undefined) return `${provider} ${reference}`;
  return ownReference === undefined ? undefined : `${provider} own ${ownReference}`;
};

const tooManyNameless: Refusal = {
  isAdmitted: false,
  error: new HubError("rate_limited", "Too many webhooks that name no payment", { retryAfterS: 60 }),
  asks: false,
};

/** Whether the payment is known to have ended: by this webhook, or before it. */
const isSettledBy = ({ result }: Taken, read: Claim | HubError): boolean => {
  const status = read instanceof HubError ? undefined : read.outcome?.status;
  const isEnd = status !== undefined && status !== "pending" && status !== "processing";
  return isEnd && (result === "applied" || result === "repeat");
};

/** The success that it is proof of. */
const successOf = (read: Claim | HubError): Outcome | undefined => {
  if (read instanceof HubError || read.proof === "none" || read.isHint) return undefined;
  return read.outcome?.status === "succeeded" ? read.outcome : undefined;
};

const isSubscription = (read: Claim | HubError): boolean =>
  !(read instanceof HubError) && read.subscribeUrl !== undefined;

/** The claim, or why there is none. */
async function translate(provider: Provider, webhook: Webhook): Promise<Claim | HubError> {
  const authenticity = await provider.authenticate?.(webhook);
  try {
    return provider.translate(webhook, authenticity);
  } catch (error) {
    if (error instanceof HubError) return error;
    throw error;
  }
}

/** Header names that carry a credential at one provider or another. */
const credentialHeader = /authorization|cookie|key|token|secret|password|username/i;

const withoutCredentials = (headers: IncomingHttpHeaders): Record<string, unknown> =>
  Object.fromEntries(Object.entries(headers).filter(([name]) => !credentialHeader.test(name)));
