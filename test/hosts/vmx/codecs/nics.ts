/** The guest's network report, version 3, as the host reads it; vmware.md section 6.7. */
import { SocketAddress } from 'node:net';
import { XdrError, type XdrReader, xdrReader } from './xdr.ts';

export interface GuestAddress {
  /** 1 IPv4, 2 IPv6, 3 and 4 the same with a zone, 16 a name, 0 unknown. */
  readonly type: number;
  /** In the usual notation; hexadecimal when it is no IP address. */
  readonly address: string;
}

export interface GuestIp extends GuestAddress {
  readonly prefixLength: number;
  readonly origin: number | undefined;
  readonly status: number | undefined;
}

export interface GuestDns {
  readonly host: string | undefined;
  readonly domain: string | undefined;
  readonly servers: readonly GuestAddress[];
  readonly searchSuffixes: readonly string[];
}

export interface GuestWins {
  readonly primary: GuestAddress;
  readonly secondary: GuestAddress;
}

export interface GuestDhcp {
  readonly enabled: boolean;
  readonly settings: string;
}

export interface GuestNic {
  readonly mac: string;
  readonly ips: readonly GuestIp[];
  readonly dns: GuestDns | undefined;
  readonly wins: GuestWins | undefined;
  readonly dhcp4: GuestDhcp | undefined;
  readonly dhcp6: GuestDhcp | undefined;
}

export interface GuestRoute {
  readonly destination: GuestAddress;
  readonly prefixLength: number;
  readonly nextHop: GuestAddress | undefined;
  /** Position in the list of NICs. */
  readonly nic: number;
  readonly type: number;
  readonly metric: number;
}

export interface GuestNics {
  readonly nics: readonly GuestNic[];
  readonly routes: readonly GuestRoute[];
  readonly dns: GuestDns | undefined;
  readonly wins: GuestWins | undefined;
  readonly dhcp4: GuestDhcp | undefined;
  readonly dhcp6: GuestDhcp | undefined;
}

const MAX_STRING = 1024;
const VERSION = 3;

function addressText(bytes: Buffer): string {
  if (bytes.length === 4) return [...bytes].join('.');
  if (bytes.length !== 16) return bytes.toString('hex');
  const groups = Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(i * 2).toString(16));
  // node writes it in the canonical form
  return new SocketAddress({ address: groups.join(':'), family: 'ipv6' }).address;
}

const address = (xdr: XdrReader): GuestAddress => ({
  type: xdr.u32(),
  address: addressText(xdr.opaque(255)),
});
const u32 = (xdr: XdrReader) => () => xdr.u32();
const text = (xdr: XdrReader) => () => xdr.string(MAX_STRING);

const dns = (xdr: XdrReader): GuestDns => ({
  host: xdr.optional(text(xdr)),
  domain: xdr.optional(text(xdr)),
  servers: xdr.array(16, () => address(xdr)),
  searchSuffixes: xdr.array(10, text(xdr)),
});
const wins = (xdr: XdrReader): GuestWins => ({ primary: address(xdr), secondary: address(xdr) });
const dhcp = (xdr: XdrReader): GuestDhcp => ({ enabled: xdr.bool(), settings: xdr.string(MAX_STRING) });

const services = (xdr: XdrReader) => ({
  dns: xdr.optional(() => dns(xdr)),
  wins: xdr.optional(() => wins(xdr)),
  dhcp4: xdr.optional(() => dhcp(xdr)),
  dhcp6: xdr.optional(() => dhcp(xdr)),
});

const ip = (xdr: XdrReader): GuestIp => ({
  ...address(xdr),
  prefixLength: xdr.u32(),
  origin: xdr.optional(u32(xdr)),
  status: xdr.optional(u32(xdr)),
});

const nic = (xdr: XdrReader): GuestNic => ({
  mac: xdr.string(17),
  ips: xdr.array(2048, () => ip(xdr)),
  ...services(xdr),
});

const route = (xdr: XdrReader): GuestRoute => ({
  destination: address(xdr),
  prefixLength: xdr.u32(),
  nextHop: xdr.optional(() => address(xdr)),
  nic: xdr.u32(),
  type: xdr.u32(),
  metric: xdr.u32(),
});

/** @throws XdrError if the bytes are not exactly one report of version 3. */
export function decodeNics(bytes: Buffer): GuestNics {
  const xdr = xdrReader(bytes);
  const version = xdr.u32();
  if (version !== VERSION) throw new XdrError(`version ${version}, not ${VERSION}`);
  if (!xdr.bool()) throw new XdrError('an empty report');
  const report = {
    nics: xdr.array(16, () => nic(xdr)),
    routes: xdr.array(100, () => route(xdr)),
    ...services(xdr),
  };
  xdr.end();
  return report;
}
