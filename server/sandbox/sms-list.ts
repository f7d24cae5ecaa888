/**
 * The SMS of the payer's phone. In memory, in one process: nothing survives a restart. The number of messages is bounded: a new one
 * beyond it removes the oldest one.
 */
import { randomUUID } from "node:crypto";
import { isNumber, screenOf } from "./number.ts";

/** A message that a gateway brings to a phone. */
export interface IncomingSms {
  /** With country code, with or without `+`. */
  phone: string;
  /** The sender, as the phone shows it. */
  from: string;
  text: string;
}

export interface ReceivedSms extends IncomingSms {
  id: string;
  /** ISO 8601 UTC. */
  at: string;
}

export interface SmsList {
  add(sms: IncomingSms): void;
  /** The messages of a phone, oldest first. The number may have any form. */
  of(msisdn: string): ReceivedSms[];
}

/** The messages of one phone and of all phones (G12). */
export const smsPerPhoneMax = 50;
export const smsMax = 10_000;

export function createSmsList(): SmsList {
  /** Of all numbers, oldest first. */
  const all = new Map<string, ReceivedSms>();
  /** Of the numbers with the same last digits, oldest first, by those. */
  const screens = new Map<string, Map<string, ReceivedSms>>();

  const remove = (one: ReceivedSms | undefined): void => {
    if (!one) return;
    all.delete(one.id);
    const screen = screens.get(screenOf(one.phone));
    screen?.delete(one.id);
    if (screen?.size === 0) screens.delete(screenOf(one.phone));
  };
  const oldest = (some: ReadonlyMap<string, ReceivedSms>): ReceivedSms | undefined => some.values().next().value;

  return {
    add(sms) {
      const screen = screens.get(screenOf(sms.phone));
      if (screen && screen.size >= smsPerPhoneMax) remove(oldest(screen));
      if (all.size >= smsMax) remove(oldest(all));
      const received = { id: randomUUID(), ...sms, at: new Date().toISOString() };
      all.set(received.id, received);
      const own = screens.get(screenOf(sms.phone)) ?? new Map<string, ReceivedSms>();
      screens.set(screenOf(sms.phone), own.set(received.id, received));
    },
    of(msisdn) {
      const isShown = isNumber(msisdn);
      return [...(screens.get(screenOf(msisdn))?.values() ?? [])].filter(({ phone }) => isShown(phone));
    },
  };
}
