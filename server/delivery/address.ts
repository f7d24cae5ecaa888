/**
 * Which addresses a message may be sent to. An endpoint's URL is the merchant's input, so that a request to it must not reach what
 * only this machine or its network can reach: a cloud's metadata, a database, a router.
 *
 * The check is made on the addresses that a name resolves to, and these same addresses are connected to. So a name whose addresses
 * change between the check and the connection gains nothing. The connected address is checked once more.
 */
import type { LookupAddress, LookupOptions } from "node:dns";
import { Resolver } from "node:dns/promises";
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

/**
 * Whether a message may be sent to this IP address. Only public unicast addresses are: none of IANA's special-purpose registries
 * (RFC 6890) and, of IPv6, none that carries an IPv4 address (NAT64, 6to4, Teredo).
 */
export function isAllowedAddress(address: string, { allowsLoopback }: AddressRule): boolean {
  if (!ipaddr.isValid(address)) return false;
  const found = ipaddr.process(address);
  if (found.range() === "loopback") return allowsLoopback;
  const isGlobal = found.kind() === "ipv4" || found.match(globalUnicast);
  return isGlobal && found.range() === "unicast" && !hostServices.has(found.toString());
}

/**
 * Public addresses that answer inside a cloud only. Azure's 168.63.129.16 gives every virtual machine its configuration; those of other
 * clouds are in ranges that are not public.
 */
const hostServices: ReadonlySet<string> = new Set(["168.63.129.16"]);

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

/** Returns all addresses of a name. */
export type Resolve = (hostname: string) => Promise<LookupAddress[]>;

/**
 * Asks DNS servers (by default those of the machine), for 2 s. Not `dns.lookup`, which all parts of the process share: it runs in a few
 * threads and cannot be ended, so that names of a dead DNS server would block every other name.
 */
export function createResolve(servers?: readonly string[]): Resolve {
  const resolver = new Resolver({ timeout: 2_000, tries: 1 });
  if (servers) resolver.setServers(servers);
  return async (hostname) => {
    // No DNS server has this name.
    if (hostname === "localhost") return [{ address: "127.0.0.1", family: 4 }];
    const [four, six] = await Promise.allSettled([resolver.resolve4(hostname), resolver.resolve6(hostname)]);
    const addressesOf = (found: PromiseSettledResult<string[]>, family: 4 | 6): LookupAddress[] =>
      found.status === "fulfilled" ? found.value.map((address) => ({ address, family })) : [];
    const addresses = [...addressesOf(four, 4), ...addressesOf(six, 6)];
    if (addresses.length === 0 && four.status === "rejected") throw four.reason;
    return addresses;
  };
}

/** A connector for undici that connects to allowed addresses only. */
export function createConnector(rule: AddressRule, resolve: Resolve = createResolve()): buildConnector.connector {
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
  (hostname: string, options: LookupOptions, callback: LookupCallback): void => {
    const answer = (addresses: LookupAddress[]): void => {
      const refused = addresses.find(({ address }) => !isAllowedAddress(address, rule));
      const [first] = addresses;
      if (refused) callback(new AddressRefused(refused.address));
      else if (options.all || !first) callback(null, addresses);
      else callback(null, first.address, first.family);
    };
    resolve(hostname).then(answer, callback);
  };
