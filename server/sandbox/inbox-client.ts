/** Puts a mail into the sandbox's inbox, on whichever node holds it. */
import { createNodeProof } from "../auth/keys.ts";
import type { SandboxMail } from "./inbox.ts";

/** 10 s, because a node that is not the host forwards the mail, and may first have to find the host. */
const answerMs = 10_000;

/** The purpose of the secret with which a node puts mails into the inbox. */
export const inboxPurpose = "inbox";

export interface InboxClientOptions {
  /** The base URL of this node on this machine. */
  hubUrl: () => string;
  /** The node's secrets. */
  secrets: readonly string[];
}

/** Rejects if no node took the mail; it may then be sent again. */
export type PostToInbox = (mail: SandboxMail) => Promise<void>;

export function createInboxClient({ hubUrl, secrets }: InboxClientOptions): PostToInbox {
  const authorization = `Bearer ${createNodeProof(secrets).of(inboxPurpose)}`;
  return async ({ messageId, to, subject, text, html }) => {
    const response = await fetch(`${hubUrl()}/sandbox/inbox`, {
      method: "POST",
      headers: { authorization, "content-type": "application/json" },
      body: JSON.stringify({ messageId, to, subject, text, html }),
      signal: AbortSignal.timeout(answerMs),
    });
    await response.body?.cancel();
    if (!response.ok) throw new Error(`the sandbox's inbox answered ${response.status}`);
  };
}
