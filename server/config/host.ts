/** Who can reach the host of a URL. Names are not looked up, because their addresses may change after the start. */
import { BlockList, isIP } from "node:net";

/** `own`: this machine only. `private`: machines of a private network only. `public`: possibly every machine. */
export type Reach = "own" | "private" | "public";

/** Addresses of this machine, including those that only mean "any" of them (RFC 6890). */
const ownNets = [
  ["127.0.0.0", 8],
  ["0.0.0.0", 8],
] as const;

/** RFC 1918, RFC 3927 and RFC 6598. */
const privateNets = [
  ["10.0.0.0", 8],
  ["172.16.0.0", 12],
  ["192.168.0.0", 16],
  ["169.254.0.0", 16],
  ["100.64.0.0", 10],
] as const;

/** A list of IPv4 networks, with the IPv6 addresses that contain theirs (RFC 4291, section 2.5.5). */
function listOf(nets: readonly (readonly [string, number])[]): BlockList {
  const list = new BlockList();
  for (const [net, bits] of nets) {
    list.addSubnet(net, bits, "ipv4");
    for (const prefix of ["::", "::ffff:"]) list.addSubnet(prefix + net, 96 + bits, "ipv6");
  }
  return list;
}

// `::` and `::1` contain 0.0.0.0 and 0.0.0.1.
const ownList = listOf(ownNets);
const privateList = listOf(privateNets);
privateList.addSubnet("fc00::", 7, "ipv6");
privateList.addSubnet("fe80::", 10, "ipv6");

const includes = (list: BlockList, address: string): boolean =>
  list.check(address, isIP(address) === 6 ? "ipv6" : "ipv4");

/** The names of this machine: RFC 6761, and those in the hosts files of Linux distributions. */
const ownName = /(^|\.)localhost$|^(localhost[46]?|ip6-localhost|ip6-loopback)(\.localdomain[46]?)?$/;

/** Names that only a private network knows: those without a dot, and RFC 6762, RFC 8375 and ICANN's `.internal`. */
const privateName = /^[^.]*$|\.(local|internal|lan|home\.arpa|localdomain)$/;

/** The host of a URL, lower-case, without the brackets of an IPv6 address and the dot of a complete name. */
export const hostOf = (url: string): string => new URL(url).hostname.replace(/^\[|\]$|\.+$/g, "");

/** Who can reach the host of a URL. */
export function reachOf(url: string): Reach {
  const host = hostOf(url);
  if (isIP(host) === 0) {
    if (ownName.test(host)) return "own";
    return privateName.test(host) ? "private" : "public";
  }
  if (includes(ownList, host)) return "own";
  return includes(privateList, host) ? "private" : "public";
}

const loopback = new BlockList();
loopback.addSubnet("127.0.0.0", 8, "ipv4");
loopback.addAddress("::1", "ipv6");

/** Whether a server that is bound to this host, or a connection from it, is of this machine only. */
export const isLoopback = (host: string): boolean =>
  host === "localhost" || (isIP(host) !== 0 && includes(loopback, host));
