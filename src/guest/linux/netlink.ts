/**
 * The message codec of rtnetlink: links and addresses, as far as the agent reads them. Truth: rtnetlink(7), netlink(7) and
 * the kernel's uapi headers linux/netlink.h, rtnetlink.h, if_link.h, if_addr.h. All numbers are in the machine's byte order
 * (little-endian on what we build for); attributes are aligned to 4 bytes. Pure: no sockets here.
 */

export const RTM_NEWLINK = 16;
export const RTM_GETLINK = 18;
export const RTM_NEWADDR = 20;
export const RTM_GETADDR = 22;
const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;

const NLM_F_REQUEST = 0x1;
const NLM_F_DUMP = 0x300;
/** The kernel's tables changed during the dump: it may be inconsistent. */
const NLM_F_DUMP_INTR = 0x10;

const HEADER_BYTES = 16;
const IFINFOMSG_BYTES = 16;
const IFADDRMSG_BYTES = 8;
/** Without NLA_F_NESTED and NLA_F_NET_BYTEORDER. */
const ATTRIBUTE_TYPE_MASK = 0x3fff;

export interface NetlinkMessage {
  type: number;
  flags: number;
  payload: Buffer;
}

export interface Dump {
  messages: NetlinkMessage[];
  /** Whether the dump should be repeated. */
  interrupted: boolean;
  /** 0, or the positive errno of the kernel's answer. */
  errno: number;
}

/** A dump request of a link or address table, for all families. */
export function dumpRequest(type: number): Buffer {
  const request = Buffer.alloc(HEADER_BYTES + IFINFOMSG_BYTES);
  request.writeUInt32LE(request.length, 0);
  request.writeUInt16LE(type, 4);
  request.writeUInt16LE(NLM_F_REQUEST | NLM_F_DUMP, 6);
  request.writeUInt32LE(1, 8);
  return request;
}

/** The messages of a datagram or of an answer, up to one that is cut off. */
export function* readMessages(data: Buffer): Generator<NetlinkMessage, 'whole' | 'cut off'> {
  for (let at = 0; at < data.length; ) {
    const lengthBytes = at + HEADER_BYTES <= data.length ? data.readUInt32LE(at) : 0;
    if (lengthBytes < HEADER_BYTES || at + lengthBytes > data.length) return 'cut off';
    yield {
      type: data.readUInt16LE(at + 4),
      flags: data.readUInt16LE(at + 6),
      payload: data.subarray(at + HEADER_BYTES, at + lengthBytes),
    };
    at += align(lengthBytes);
  }
  return 'whole';
}

/** Splits the answer to a dump; a message that is cut off ends it with EBADMSG. */
export function parseDump(answer: Buffer): Dump {
  const EBADMSG = 74;
  const dump: Dump = { messages: [], interrupted: false, errno: 0 };
  const messages = readMessages(answer);
  for (;;) {
    const next = messages.next();
    if (next.done) return next.value === 'whole' ? dump : { ...dump, errno: EBADMSG };
    const { type, flags, payload } = next.value;
    if ((flags & NLM_F_DUMP_INTR) !== 0) dump.interrupted = true;
    if (type === NLMSG_DONE || type === NLMSG_ERROR) {
      dump.errno = payload.length >= 4 ? Math.abs(payload.readInt32LE(0)) : 0;
      return dump;
    }
    dump.messages.push(next.value);
  }
}

/** The attributes of a message by type; of a type that comes twice the last. Stops at a damaged one. */
export function parseAttributes(payload: Buffer, offset: number): Map<number, Buffer> {
  const attributes = new Map<number, Buffer>();
  let at = align(offset);
  while (at + 4 <= payload.length) {
    const lengthBytes = payload.readUInt16LE(at);
    if (lengthBytes < 4 || at + lengthBytes > payload.length) break;
    attributes.set(
      payload.readUInt16LE(at + 2) & ATTRIBUTE_TYPE_MASK,
      payload.subarray(at + 4, at + lengthBytes),
    );
    at += align(lengthBytes);
  }
  return attributes;
}

/** Counters of rtnl_link_stats64 that the agent uses, as /proc/net/dev shows them. */
export interface LinkStatistics {
  rxBytes: bigint;
  rxPackets: bigint;
  rxErrors: bigint;
  rxDropped: bigint;
  txBytes: bigint;
  txPackets: bigint;
  txErrors: bigint;
  txDropped: bigint;
}

export interface Link {
  index: number;
  name: string;
  /** ARPHRD_*. */
  hardwareType: number;
  /** IFF_*. */
  flags: number;
  mtu: number;
  /** Lower-case, colons between bytes; null if the link has none. */
  hardwareAddress: string | null;
  statistics: LinkStatistics | null;
  /** Of a virtual one (`veth`, `bridge` …); null for most hardware. */
  kind: string | null;
  /** The device's name on its bus (`virtio2`); null for a virtual one, and on kernels before 5.14. */
  parentDevice: string | null;
}

const IFLA_ADDRESS = 1;
const IFLA_IFNAME = 3;
const IFLA_MTU = 4;
const IFLA_LINKINFO = 18;
const IFLA_INFO_KIND = 1;
const IFLA_PARENT_DEV_NAME = 56;
const IFLA_STATS64 = 23;

/** A RTM_NEWLINK message, null if it is damaged or another. */
export function parseLink({ type, payload }: NetlinkMessage): Link | null {
  if (type !== RTM_NEWLINK || payload.length < IFINFOMSG_BYTES) return null;
  const attributes = parseAttributes(payload, IFINFOMSG_BYTES);
  const name = attributes.get(IFLA_IFNAME);
  if (name === undefined) return null;
  const address = attributes.get(IFLA_ADDRESS);
  const mtu = attributes.get(IFLA_MTU);
  const statistics = attributes.get(IFLA_STATS64);
  const information = attributes.get(IFLA_LINKINFO);
  const kind = information && parseAttributes(information, 0).get(IFLA_INFO_KIND);
  const parentDevice = attributes.get(IFLA_PARENT_DEV_NAME);
  return {
    index: payload.readInt32LE(4),
    name: text(name),
    hardwareType: payload.readUInt16LE(2),
    flags: payload.readUInt32LE(8),
    mtu: mtu !== undefined && mtu.length >= 4 ? mtu.readUInt32LE(0) : 0,
    hardwareAddress: address && address.length > 0 ? formatHardwareAddress(address) : null,
    statistics: statistics ? parseStatistics(statistics) : null,
    kind: kind ? text(kind) : null,
    parentDevice: parentDevice ? text(parentDevice) : null,
  };
}

/** Offsets in rtnl_link_stats64, eight bytes each. */
function parseStatistics(data: Buffer): LinkStatistics | null {
  if (data.length < 96) return null;
  const counter = (index: number) => data.readBigUInt64LE(index * 8);
  return {
    rxPackets: counter(0),
    txPackets: counter(1),
    rxBytes: counter(2),
    txBytes: counter(3),
    rxErrors: counter(4),
    txErrors: counter(5),
    // /proc/net/dev counts the missed ones (index 14) as dropped
    rxDropped: counter(6) + (data.length >= 120 ? counter(14) : 0n),
    txDropped: counter(7),
  };
}

export interface LinkAddress {
  linkIndex: number;
  family: 'ipv4' | 'ipv6';
  /** The local address in its usual text form, without a zone. */
  address: string;
  prefixLength: number;
  /** IPv4 only: the alias name (`eth0:1`), else the interface's name. */
  label: string | null;
  /** RT_SCOPE_*: 0 global, 253 link, 254 host. */
  scope: number;
}

const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const IFA_LABEL = 3;
const AF_INET = 2;
const AF_INET6 = 10;

/** A RTM_NEWADDR message, null if it is damaged, another, or of an other family. */
export function parseAddress({ type, payload }: NetlinkMessage): LinkAddress | null {
  if (type !== RTM_NEWADDR || payload.length < IFADDRMSG_BYTES) return null;
  const family = payload.readUInt8(0);
  const attributes = parseAttributes(payload, IFADDRMSG_BYTES);
  // on a point-to-point link IFA_ADDRESS is the peer's
  const address = attributes.get(IFA_LOCAL) ?? attributes.get(IFA_ADDRESS);
  const label = attributes.get(IFA_LABEL);
  const common = {
    prefixLength: payload.readUInt8(1),
    scope: payload.readUInt8(3),
    linkIndex: payload.readUInt32LE(4),
    label: label ? text(label) : null,
  };
  if (family === AF_INET && address?.length === 4) {
    return { ...common, family: 'ipv4', address: address.join('.') };
  }
  if (family === AF_INET6 && address?.length === 16) {
    return { ...common, family: 'ipv6', address: formatIpv6(address) };
  }
  return null;
}

export function formatHardwareAddress(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(':');
}

/** Sixteen bytes in the text form that inet_ntop(3) of glibc gives. */
export function formatIpv6(bytes: Buffer): string {
  const groups = Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(index * 2));
  const zeros = longestZeroRun(groups);
  // ::a.b.c.d and ::ffff:a.b.c.d
  const embedsIpv4 =
    zeros.start === 0 && (zeros.length === 6 || (zeros.length === 5 && groups[5] === 0xffff));
  const hex = (part: number[]) => part.map((group) => group.toString(16));
  const last = embedsIpv4 ? [bytes.subarray(12).join('.')] : [];
  const end = embedsIpv4 ? 6 : 8;
  if (zeros.length < 2) return hex(groups).join(':');
  const before = hex(groups.slice(0, zeros.start)).join(':');
  const after = [...hex(groups.slice(zeros.start + zeros.length, end)), ...last].join(':');
  return `${before}::${after}`;
}

/** The first of the longest runs of zero groups. */
function longestZeroRun(groups: readonly number[]): { start: number; length: number } {
  let best = { start: 0, length: 0 };
  let length = 0;
  for (const [index, group] of groups.entries()) {
    length = group === 0 ? length + 1 : 0;
    if (length > best.length) best = { start: index - length + 1, length };
  }
  return best;
}

/** A NUL-terminated string attribute. */
function text(data: Buffer): string {
  const end = data.indexOf(0);
  return data.toString('utf8', 0, end < 0 ? data.length : end);
}

const align = (bytes: number) => (bytes + 3) & ~3;
