/**
 * The sandbox's inbox: the mails about payments that move no money. In memory, in one process: nothing survives a restart, and no mail
 * leaves the node.
 *
 * Guarantees: a bounded number of mails and characters; a new mail beyond it removes the oldest ones. A mail with a known
 * `messageId` is a repeat and changes nothing, as in the mailboxes of people.
 */
import { randomUUID } from "node:crypto";

export interface SandboxMail {
  /** The same for all attempts to send one mail. */
  messageId: string;
  to: string;
  subject: string;
  text: string;
  html: string;
}

export interface ReceivedMail extends SandboxMail {
  id: string;
  /** ISO 8601 UTC. */
  at: string;
}

export interface Inbox {
  add(mail: SandboxMail): void;
  /** Newest first. */
  list(): ReceivedMail[];
  find(id: string): ReceivedMail | undefined;
}

/** The most that all mails together may have (G12). */
export const mailsMax = 100;
export const inboxCharactersMax = 2_000_000;

const sizeOf = ({ to, subject, text, html, messageId }: SandboxMail): number =>
  [to, subject, text, html, messageId].reduce((sum, part) => sum + part.length, 0);

export function createInbox(now: () => Date = () => new Date()): Inbox {
  /** Oldest first, by `messageId`. */
  const mails = new Map<string, ReceivedMail>();
  let characters = 0;

  return {
    add(mail) {
      if (mails.has(mail.messageId)) return;
      mails.set(mail.messageId, { id: randomUUID(), ...mail, at: now().toISOString() });
      characters += sizeOf(mail);
      for (const [key, oldest] of mails) {
        if (mails.size <= mailsMax && characters <= inboxCharactersMax) return;
        mails.delete(key);
        characters -= sizeOf(oldest);
      }
    },
    list: () => [...mails.values()].reverse(),
    find: (id) => [...mails.values()].find((mail) => mail.id === id),
  };
}
