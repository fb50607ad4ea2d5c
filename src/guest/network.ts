/**
 * The machine's network interfaces with their addresses and counters, from two rtnetlink dumps: what getifaddrs(3) tells,
 * in its order, and also interfaces that are down or have no address (which os.networkInterfaces() leaves out).
 */
import type { NativeAddon } from '../native/addon.ts';
import {
  type Dump,
  dumpRequest,
  type LinkStatistics,
  parseAddress,
  parseDump,
  parseLink,
  RTM_GETADDR,
  RTM_GETLINK,
} from './linux/netlink.ts';

export interface InterfaceAddress {
  family: 'ipv4' | 'ipv6';
  /** Without a `%zone`. */
  address: string;
  prefixLength: number;
  /** The alias it was added under (`eth0:1`), else the interface's name. getifaddrs(3) gives aliases as interfaces. */
  label: string;
  scope: 'global' | 'site' | 'link' | 'host' | 'other';
}

/** Counted since the interface exists. */
export type InterfaceStatistics = LinkStatistics;

export interface NetworkInterface {
  index: number;
  name: string;
  /** Lower-case with colons; zeros for the loopback, null for an interface that has none (tun). */
  hardwareAddress: string | null;
  /** IPv4 first, each family in the kernel's order. */
  addresses: InterfaceAddress[];
  statistics: InterfaceStatistics | null;
  up: boolean;
  /** Has a carrier and is up. */
  running: boolean;
  loopback: boolean;
  mtuBytes: number;
}

export class NetworkFactsError extends Error {
  override name = 'NetworkFactsError';
  /** Positive. */
  readonly errno: number;
  constructor(errno: number, text: string) {
    super(text);
    this.errno = errno;
  }
}

const IFF_UP = 0x1;
const IFF_LOOPBACK = 0x8;
const IFF_RUNNING = 0x40;
const SCOPES: Record<number, InterfaceAddress['scope']> = {
  0: 'global',
  200: 'site',
  253: 'link',
  254: 'host',
};
/** How often a dump is repeated when the kernel's tables change meanwhile; then the last one is taken as it is. */
const DUMP_ATTEMPTS = 4;

/** All interfaces of this network namespace in the kernel's order. @throws {NetworkFactsError} */
export function networkInterfaces(
  native: Pick<NativeAddon, 'netlinkDump' | 'errorText'>,
): NetworkInterface[] {
  const interfaces = new Map<number, NetworkInterface>();
  for (const message of dump(native, RTM_GETLINK).messages) {
    const link = parseLink(message);
    if (link === null) continue;
    interfaces.set(link.index, {
      index: link.index,
      name: link.name,
      hardwareAddress: link.hardwareAddress,
      addresses: [],
      statistics: link.statistics,
      up: (link.flags & IFF_UP) !== 0,
      running: (link.flags & IFF_RUNNING) !== 0,
      loopback: (link.flags & IFF_LOOPBACK) !== 0,
      mtuBytes: link.mtu,
    });
  }
  for (const message of dump(native, RTM_GETADDR).messages) {
    const address = parseAddress(message);
    const owner = address && interfaces.get(address.linkIndex);
    if (!owner) continue;
    owner.addresses.push({
      family: address.family,
      address: address.address,
      prefixLength: address.prefixLength,
      label: address.label ?? owner.name,
      scope: SCOPES[address.scope] ?? 'other',
    });
  }
  return [...interfaces.values()];
}

function dump(native: Pick<NativeAddon, 'netlinkDump' | 'errorText'>, type: number): Dump {
  let last: Dump | null = null;
  for (let attempt = 0; attempt < DUMP_ATTEMPTS && (last === null || last.interrupted); attempt += 1) {
    const answer = native.netlinkDump(dumpRequest(type));
    last =
      typeof answer === 'number' ? { messages: [], interrupted: false, errno: -answer } : parseDump(answer);
  }
  if (last === null || last.errno !== 0) {
    const errno = last?.errno ?? 0;
    throw new NetworkFactsError(errno, `cannot list the network interfaces: ${native.errorText(errno)}`);
  }
  return last;
}
