/**
 * Which addresses a message may be sent to. An endpoint's URL is the merchant's input, so that a request to it must not reach what
 * only this machine or its network can reach: a cloud's metadata, a database, a router.
 *
 * The check is made on the addresses that a name resolves to, and these same addresses are connected to. So a name whose addresses
 * change between the check and the connection gains nothing. The connected address is checked once more.
 */
import { type LookupAddress, type LookupOptions, lookup } from "node:dns";
import type { Socket } from "node:net";
import ipaddr from "ipaddr.js";
import { buildConnector } from "undici";

/** The address, or an address that a name resolves to, is not public. */
export class AddressRefused extends Error {
  constructor(address: string) {
    super(`the address ${address} is not public`);
    this.name = "AddressRefused";
  }
}

export interface AddressRule {
  /** Outside production. */
  allowsLoopback: boolean;
}

/** Whether a message may be sent to this IP address. Only public unicast addresses are; of IPv6, only those that carry no IPv4 address. */
export function isAllowedAddress(address: string, { allowsLoopback }: AddressRule): boolean {
  if (!ipaddr.isValid(address)) return false;
  const found = ipaddr.process(address);
  if (found.range() === "loopback") return allowsLoopback;
  const isGlobal = found.kind() === "ipv4" || found.match(globalUnicast);
  return isGlobal && found.range() === "unicast";
}

/** The only IPv6 addresses that are assigned to the public network. Others may carry an IPv4 address, such as `::127.0.0.1`. */
const globalUnicast = ipaddr.parseCIDR("2000::/3");

/** An IP address that stands in a URL, without the brackets of IPv6. Undefined for a name. */
export function literalAddress({ hostname }: URL): string | undefined {
  const bare = hostname.replace(/^\[|\]$/g, "");
  return ipaddr.isValid(bare) ? bare : undefined;
}

/** The reason why messages cannot be sent to this URL, if it shows before any name is resolved. */
export function refusalOf(url: URL, rule: AddressRule): string | undefined {
  const address = literalAddress(url);
  const isLoopback = url.hostname === "localhost" || (address !== undefined && isLoopbackAddress(address));
  if (url.username || url.password) return "must not contain a user or a password";
  if (url.protocol !== "https:" && !(url.protocol === "http:" && isLoopback && rule.allowsLoopback)) {
    return rule.allowsLoopback ? "must be an https URL, or http on this machine" : "must be an https URL";
  }
  if (isLoopback && !rule.allowsLoopback) return "must be a public address";
  if (address !== undefined && !isAllowedAddress(address, rule)) return "must be a public address";
  return undefined;
}

const isLoopbackAddress = (address: string): boolean => ipaddr.process(address).range() === "loopback";

type Resolve = typeof lookup;

/** A connector for undici that connects to allowed addresses only. `resolve`: another resolver; for tests. */
export function createConnector(rule: AddressRule, resolve: Resolve = lookup): buildConnector.connector {
  const connect = buildConnector({ timeout: connectMs, lookup: checkedLookup(rule, resolve) as never });
  return (options, callback) => {
    const address = literalAddress(
      new URL(`http://${options.hostname.includes(":") ? `[${options.hostname}]` : options.hostname}`),
    );
    if (address !== undefined && !isAllowedAddress(address, rule)) {
      callback(new AddressRefused(address), null);
      return;
    }
    connect(options, (...connected) => {
      const [error, socket] = connected;
      const remote = error ? undefined : (socket as Socket).remoteAddress;
      if (remote === undefined || isAllowedAddress(remote, rule)) return callback(...connected);
      (socket as Socket).destroy();
      callback(new AddressRefused(remote), null);
    });
  };
}

/** 5 s, because an attempt has 15 s. */
const connectMs = 5_000;

type LookupCallback = (error: Error | null, address?: string | LookupAddress[], family?: number) => void;

/** Resolves all addresses of a name, and fails if one of them is not allowed: a name of both kinds is not an honest one. */
const checkedLookup =
  (rule: AddressRule, resolve: Resolve) =>
  (hostname: string, options: LookupOptions, callback: LookupCallback): void =>
    resolve(hostname, { ...options, all: true }, (error, addresses) => {
      const refused = addresses?.find(({ address }) => !isAllowedAddress(address, rule));
      if (error || refused) return callback(error ?? new AddressRefused(refused?.address ?? hostname));
      const [first] = addresses;
      if (options.all || !first) return callback(null, addresses);
      return callback(null, first.address, first.family);
    });
