/** The network report: version 3 (types 10 and 9), and the older versions 2 and 1 (spec vmware.md section 6.7). Pure. */
import { addressBytes, addressText, writeAddress } from './address.ts';
import { type Dns, writeDns } from './dns.ts';
import { type ReportedRoute, writeRoute } from './routes.ts';
import { type XdrWriter, xdrWriter } from './xdr.ts';

export interface ReportedAddress {
  readonly bytes: Buffer;
  readonly prefixLength: number;
}

export interface Nic {
  /** Of the interface, for routes. */
  readonly name: string;
  /** Lower case, with colons. */
  readonly mac: string;
  readonly addresses: readonly ReportedAddress[];
}

export interface NicReport {
  readonly nics: readonly Nic[];
  readonly routes: readonly ReportedRoute[];
  readonly dns: Dns | null;
}

/** What a report of an interface is made from. */
export interface NicSource {
  readonly name: string;
  readonly hardwareAddress: string | null;
  readonly addresses: readonly { readonly address: string; readonly prefixLength: number }[];
}

const MAX_NICS = 16;
const MAX_ADDRESSES = 2048;
const VERSION_3 = 3;
const VERSION_2 = 2;
const MAC_CHARACTERS = 17;
/** What older hosts take in all. */
const CUT_ADDRESSES = 64;
const STATUS_PREFERRED = 1;
const STATUS_UNKNOWN = 5;
const V2_CHARACTERS = { mac: 18, address: 64, mask: 64 };
/** As open-vm-tools 12.2 sends it: places for 16 interfaces of 8 IPv4 addresses, in the byte order of the machine. */
const V1_BYTES = { macAt: 4, addressesAt: 23, address: 16, nic: 152 };
const V1_ADDRESSES = 8;

/** In their order, those with an Ethernet address; at most 16. */
export function reportedNics(interfaces: readonly NicSource[]): Nic[] {
  const nics: Nic[] = [];
  for (const each of interfaces.filter(isReported).slice(0, MAX_NICS)) {
    const { name, hardwareAddress, addresses } = each;
    const reported = addresses.flatMap(({ address, prefixLength }) => {
      const bytes = addressBytes(address);
      return bytes === null ? [] : [{ bytes, prefixLength }];
    });
    nics.push({ name, mac: hardwareAddress.toLowerCase(), addresses: reported.slice(0, MAX_ADDRESSES) });
  }
  return nics;
}

/** Whether it has an Ethernet address, by which the host knows it. */
export function isReported<Source extends NicSource>(
  source: Source,
): source is Source & { hardwareAddress: string } {
  return source.hardwareAddress?.length === MAC_CHARACTERS;
}

export function encodeNicsV3({ nics, routes, dns }: NicReport): Buffer {
  const xdr = xdrWriter().u32(VERSION_3).bool(true).array(nics, writeNic).array(routes, writeRoute);
  return writeServices(xdr, dns).bytes();
}

/** The same with at most 64 addresses. */
export function cutAddresses(report: NicReport): NicReport {
  let left = CUT_ADDRESSES;
  const nics = report.nics.map((nic) => {
    const addresses = nic.addresses.slice(0, left);
    left -= addresses.length;
    return { ...nic, addresses };
  });
  return { ...report, nics };
}

export function encodeNicsV2({ nics }: NicReport): Buffer {
  const xdr = xdrWriter().u32(VERSION_2).bool(true);
  return xdr
    .array(nics, (each, { mac, addresses }) => {
      each.chars(mac, V2_CHARACTERS.mac).array(addresses, writeAddressV2);
    })
    .bytes();
}

/** Has no place for IPv6, nor for routes. */
export function encodeNicsV1({ nics }: NicReport): Buffer {
  const bytes = Buffer.alloc(4 + MAX_NICS * V1_BYTES.nic);
  bytes.writeUInt32LE(nics.length);
  for (const [index, { mac, addresses }] of nics.entries()) {
    const nic = bytes.subarray(4 + index * V1_BYTES.nic);
    const ipv4 = addresses.filter(({ bytes: address }) => address.length === 4).slice(0, V1_ADDRESSES);
    nic.writeUInt32LE(ipv4.length);
    nic.write(mac, V1_BYTES.macAt);
    for (const [place, { bytes: address }] of ipv4.entries())
      nic.write(addressText(address), V1_BYTES.addressesAt + place * V1_BYTES.address);
  }
  return bytes;
}

/** Of the NIC that stands first; IPv4 before IPv6. null: it has none. */
export function primaryAddress(nics: readonly NicSource[]): string | null {
  for (const { addresses } of nics) {
    const ipv4 = addresses.find(({ address }) => !address.includes(':'));
    const first = ipv4 ?? addresses.find(({ address }) => !/^fe[89ab]/i.test(address));
    if (first !== undefined) return first.address;
  }
  return null;
}

function writeNic(xdr: XdrWriter, { mac, addresses }: Nic): void {
  xdr.string(mac).array(addresses, writeIp);
  writeServices(xdr, null);
}

function writeIp(xdr: XdrWriter, { bytes, prefixLength }: ReportedAddress): void {
  writeAddress(xdr, bytes);
  const status = bytes.length === 4 ? STATUS_PREFERRED : STATUS_UNKNOWN;
  xdr
    .u32(prefixLength)
    .optional(null, () => {})
    .optional(status, (each, value) => each.u32(value));
}

/** DNS, WINS, DHCP for IPv4 and for IPv6; only the first is ever known. */
function writeServices(xdr: XdrWriter, dns: Dns | null): XdrWriter {
  return xdr.optional(dns, writeDns).bool(false).bool(false).bool(false);
}

function writeAddressV2(xdr: XdrWriter, { bytes, prefixLength }: ReportedAddress): void {
  const isIpv4 = bytes.length === 4;
  xdr
    .u32(isIpv4 ? 0 : 1)
    .bool(false)
    .chars(addressText(bytes), V2_CHARACTERS.address)
    // not the mask that the field is named after, as open-vm-tools does
    .chars(String(prefixLength), V2_CHARACTERS.mask);
}
