/**
 * /proc/net/route and /proc/net/ipv6_route, a line a route; kernel: net/ipv4/fib_trie.c (fib_route_seq_show),
 * net/ipv6/route.c (ipv6_route_native_seq_show). Pure.
 */
import { formatIpv6 } from './netlink.ts';

/** Numbers are the kernel's, unsigned 32-bit. */
export interface Ipv4Route {
  interface: string;
  destination: string;
  gateway: string;
  /** Dotted. */
  mask: string;
  flags: number;
  references: number;
  uses: number;
  metric: number;
  /** As the kernel shows it: from the advertised MSS, 0 if none is set. */
  mtuBytes: number;
  windowBytes: number;
  /** Initial round trip time as the kernel shows it. */
  irtt: number;
}

export interface Ipv6Route {
  interface: string;
  destination: string;
  prefixLength: number;
  source: string;
  sourcePrefixLength: number;
  nextHop: string;
  metric: number;
  references: number;
  uses: number;
  flags: number;
}

/** @param byteOrder the machine's: addresses are printed as numbers of its own. @returns null for the head line and for rubbish. */
export function parseIpv4Route(line: string, byteOrder: 'LE' | 'BE' = 'LE'): Ipv4Route | null {
  const fields = line.trim().split(/\s+/);
  const [name = '', destination = '', gateway = '', flags = '', ...others] = fields;
  const [references = '', uses = '', metric = '', mask = '', mtu = '', window = '', irtt = ''] = others;
  const areHex = [destination, gateway, mask].every((field) => /^[\da-f]{8}$/i.test(field));
  const areNumbers = [references, uses, metric, mtu, window, irtt].every((field) => /^-?\d+$/.test(field));
  if (!areHex || !areNumbers || !/^[\da-f]{1,8}$/i.test(flags)) return null;
  const address = (hex: string) => {
    const bytes = Buffer.from(hex, 'hex');
    return (byteOrder === 'LE' ? bytes.reverse() : bytes).join('.');
  };
  return {
    interface: name,
    destination: address(destination),
    gateway: address(gateway),
    mask: address(mask),
    flags: Number.parseInt(flags, 16),
    references: unsigned(references),
    uses: unsigned(uses),
    // the kernel prints this one as signed
    metric: unsigned(metric),
    mtuBytes: unsigned(mtu),
    windowBytes: unsigned(window),
    irtt: unsigned(irtt),
  };
}

const IPV6_ROUTE =
  /^([\da-f]{32}) ([\da-f]{2}) ([\da-f]{32}) ([\da-f]{2}) ([\da-f]{32}) ([\da-f]{1,8}) ([\da-f]{1,8}) ([\da-f]{1,8}) ([\da-f]{1,8}) +(\S+)\s*$/i;

/** @returns null for rubbish. */
export function parseIpv6Route(line: string): Ipv6Route | null {
  const match = IPV6_ROUTE.exec(line);
  if (match === null) return null;
  const [, destination = '', prefix = '', source = '', sourcePrefix = '', nextHop = '', ...others] = match;
  const [metric = '', references = '', uses = '', flags = '', name = ''] = others;
  const address = (hex: string) => formatIpv6(Buffer.from(hex, 'hex'));
  const number = (hex: string) => Number.parseInt(hex, 16);
  return {
    interface: name,
    destination: address(destination),
    prefixLength: number(prefix),
    source: address(source),
    sourcePrefixLength: number(sourcePrefix),
    nextHop: address(nextHop),
    metric: number(metric),
    references: number(references),
    uses: number(uses),
    flags: number(flags),
  };
}

const unsigned = (decimal: string) => Number(decimal) >>> 0;
