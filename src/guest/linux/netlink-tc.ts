/**
 * The message codec of rtnetlink's traffic control: queueing disciplines with their counters, tbf's and fq_codel's options,
 * and the ids that network namespaces have in one another. Truth: rtnetlink(7) and the kernel's uapi headers
 * linux/rtnetlink.h, pkt_sched.h, gen_stats.h, net_namespace.h. Pure: no sockets here.
 */
import { type NetlinkMessage, parseAttributes, RTM_GETLINK, readMessages } from './netlink.ts';

export const RTM_NEWQDISC = 36;
const RTM_DELQDISC = 37;
const RTM_GETQDISC = 38;
const RTM_NEWNSID = 88;
const RTM_GETNSID = 90;
const NLMSG_ERROR = 2;

const NLM_F_REQUEST = 0x1;
const NLM_F_ACK = 0x4;
const NLM_F_DUMP = 0x300;
const NLM_F_REPLACE = 0x100;
const NLM_F_CREATE = 0x400;

const HEADER_BYTES = 16;
const TCMSG_BYTES = 20;
const IFINFOMSG_BYTES = 16;

/** tcm_parent of a root qdisc. */
export const TC_ROOT = 0xffff_ffff;

// --- attributes

const align = (bytes: number) => (bytes + 3) & ~3;

export function attribute(type: number, data: Uint8Array): Buffer {
  const whole = Buffer.alloc(align(4 + data.length));
  whole.writeUInt16LE(4 + data.length, 0);
  whole.writeUInt16LE(type, 2);
  whole.set(data, 4);
  return whole;
}

export function u32(value: number): Buffer {
  const data = Buffer.alloc(4);
  data.writeUInt32LE(value);
  return data;
}

const string = (value: string) => Buffer.from(`${value}\0`);

function message(type: number, flags: number, sequence: number, ...parts: Uint8Array[]): Buffer {
  const body = Buffer.concat(parts);
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt32LE(HEADER_BYTES + body.length, 0);
  header.writeUInt16LE(type, 4);
  header.writeUInt16LE(NLM_F_REQUEST | flags, 6);
  header.writeUInt32LE(sequence, 8);
  return Buffer.concat([header, body]);
}

/** What the kernel says to a request: errno 0 is yes. */
export interface Acknowledgement {
  /** Positive. */
  readonly errno: number;
  /** The kernel's own words, '' if it has none. */
  readonly text: string;
}

const NLMSGERR_ATTR_MSG = 1;

/** Of the answer to a request with NLM_F_ACK; null if there is none in it. */
export function parseAcknowledgement(answer: Buffer): Acknowledgement | null {
  for (const { type, payload } of readMessages(answer)) {
    if (type !== NLMSG_ERROR || payload.length < 4 + HEADER_BYTES) continue;
    const errno = Math.abs(payload.readInt32LE(0));
    // behind the request's header comes the request itself if it was refused
    const requestBytes = payload.readUInt32LE(4);
    for (const at of [4 + align(requestBytes), 4 + HEADER_BYTES]) {
      const text = parseAttributes(payload, at).get(NLMSGERR_ATTR_MSG);
      if (text !== undefined) return { errno, text: text.toString('utf8').replace(/\0.*$/s, '') };
      if (errno !== 0) break;
    }
    return { errno, text: '' };
  }
  return null;
}

// --- queueing disciplines

export interface QdiscStatistics {
  readonly sentBytes: number;
  readonly sentPackets: number;
  readonly drops: number;
  readonly overlimits: number;
  readonly backlogBytes: number;
  readonly backlogPackets: number;
}

export interface Qdisc {
  readonly linkIndex: number;
  /** Major number in the upper half; 0 for those the kernel made by itself. */
  readonly handle: number;
  /** {@link TC_ROOT}, or the class that it hangs under. */
  readonly parent: number;
  readonly kind: string;
  /** As its kind has them, for {@link parseTbf} and the like. */
  readonly options: Buffer;
  readonly statistics: QdiscStatistics | null;
}

const TCA_KIND = 1;
const TCA_OPTIONS = 2;
const TCA_STATS2 = 7;
const TCA_STATS_BASIC = 1;
const TCA_STATS_QUEUE = 3;
const TCA_STATS_PKT64 = 8;

/** Also those that `tc` only shows as `invisible`: the queue that a tbf makes by itself. */
export function qdiscDumpRequest(): Buffer {
  const TCA_DUMP_INVISIBLE = 10;
  const invisibleToo = attribute(TCA_DUMP_INVISIBLE, Buffer.alloc(0));
  return message(RTM_GETQDISC, NLM_F_DUMP, 1, Buffer.alloc(TCMSG_BYTES), invisibleToo);
}

/** Links without their counters: a fraction of the answer. */
export function shortLinkDumpRequest(): Buffer {
  const IFLA_EXT_MASK = 29;
  const RTEXT_FILTER_SKIP_STATS = 8;
  const mask = attribute(IFLA_EXT_MASK, u32(RTEXT_FILTER_SKIP_STATS));
  return message(RTM_GETLINK, NLM_F_DUMP, 1, Buffer.alloc(IFINFOMSG_BYTES), mask);
}

/** A RTM_NEWQDISC message, null if it is damaged or another. */
export function parseQdisc({ type, payload }: NetlinkMessage): Qdisc | null {
  if (type !== RTM_NEWQDISC || payload.length < TCMSG_BYTES) return null;
  const attributes = parseAttributes(payload, TCMSG_BYTES);
  const kind = attributes.get(TCA_KIND);
  if (kind === undefined) return null;
  const statistics = attributes.get(TCA_STATS2);
  return {
    linkIndex: payload.readInt32LE(4),
    handle: payload.readUInt32LE(8),
    parent: payload.readUInt32LE(12),
    kind: kind.toString('latin1').replace(/\0.*$/s, ''),
    options: attributes.get(TCA_OPTIONS) ?? Buffer.alloc(0),
    statistics: statistics === undefined ? null : parseStatistics(statistics),
  };
}

function parseStatistics(data: Buffer): QdiscStatistics | null {
  const parts = parseAttributes(data, 0);
  const basic = parts.get(TCA_STATS_BASIC);
  const queue = parts.get(TCA_STATS_QUEUE);
  const packets = parts.get(TCA_STATS_PKT64);
  if (basic === undefined || basic.length < 12 || queue === undefined || queue.length < 20) return null;
  return {
    sentBytes: Number(basic.readBigUInt64LE(0)),
    sentPackets: packets?.length === 8 ? Number(packets.readBigUInt64LE(0)) : basic.readUInt32LE(8),
    backlogPackets: queue.readUInt32LE(0),
    backlogBytes: queue.readUInt32LE(4),
    drops: queue.readUInt32LE(8),
    overlimits: queue.readUInt32LE(16),
  };
}

/** Makes it, takes the place of another one, or changes the parameters of the same one in place. */
export interface QdiscPut {
  readonly change: 'put';
  readonly linkIndex: number;
  readonly handle: number;
  readonly parent: number;
  readonly kind: string;
  readonly options: Buffer;
}

export type QdiscChange =
  | QdiscPut
  | {
      readonly change: 'remove';
      readonly linkIndex: number;
      readonly handle: number;
      readonly parent: number;
    };

export function qdiscRequest(change: QdiscChange, sequence: number): Buffer {
  const head = Buffer.alloc(TCMSG_BYTES);
  head.writeInt32LE(change.linkIndex, 4);
  head.writeUInt32LE(change.handle, 8);
  head.writeUInt32LE(change.parent, 12);
  if (change.change === 'remove') return message(RTM_DELQDISC, NLM_F_ACK, sequence, head);
  const flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
  const kind = attribute(TCA_KIND, string(change.kind));
  const options = change.options.length === 0 ? [] : [attribute(TCA_OPTIONS, change.options)];
  return message(RTM_NEWQDISC, flags, sequence, head, kind, ...options);
}

// --- tbf

export interface TbfOptions {
  readonly rateBytesPerSecond: number;
  readonly burstBytes: number;
  /** Of the queue, if it is the fifo that tbf makes by itself. */
  readonly limitBytes: number;
}

/** As the kernel tells it: the burst as a time, rounded. */
export interface TbfState {
  readonly rateBytesPerSecond: number;
  readonly peakRateBytesPerSecond: number;
  readonly limitBytes: number;
  /** Of 64 ns. */
  readonly burstTicks: number;
}

const TCA_TBF_PARMS = 1;
const TCA_TBF_BURST = 6;
const TBF_QOPT_BYTES = 36;
const TC_LINKLAYER_ETHERNET = 1;
const TICK_NS = 64;

/** Rates below 2^32 bytes a second. */
export function tbfOptions({ rateBytesPerSecond, burstBytes, limitBytes }: TbfOptions): Buffer {
  const parameters = Buffer.alloc(TBF_QOPT_BYTES);
  // with a link layer named the kernel needs no rate table
  parameters.writeUInt8(TC_LINKLAYER_ETHERNET, 1);
  parameters.writeUInt32LE(rateBytesPerSecond, 8);
  parameters.writeUInt32LE(limitBytes, 24);
  parameters.writeUInt32LE(burstTicks(rateBytesPerSecond, burstBytes), 28);
  return Buffer.concat([
    attribute(TCA_TBF_PARMS, parameters),
    // exact, and the largest packet that passes whole
    attribute(TCA_TBF_BURST, u32(burstBytes)),
  ]);
}

export function parseTbf(options: Buffer): TbfState | null {
  const parameters = parseAttributes(options, 0).get(TCA_TBF_PARMS);
  if (parameters === undefined || parameters.length < TBF_QOPT_BYTES) return null;
  return {
    rateBytesPerSecond: parameters.readUInt32LE(8),
    peakRateBytesPerSecond: parameters.readUInt32LE(20),
    limitBytes: parameters.readUInt32LE(24),
    burstTicks: parameters.readUInt32LE(28),
  };
}

export function burstTicks(rateBytesPerSecond: number, burstBytes: number): number {
  return Math.floor((burstBytes * 1e9) / rateBytesPerSecond / TICK_NS);
}

// --- fq_codel

export interface FqCodelOptions {
  readonly targetUs: number;
  readonly intervalUs: number;
  readonly limitPackets: number;
  readonly memoryLimitBytes: number;
}

const FQ_CODEL: Record<keyof FqCodelOptions, number> = {
  targetUs: 1,
  limitPackets: 2,
  intervalUs: 3,
  memoryLimitBytes: 9,
};

export function fqCodelOptions(options: FqCodelOptions): Buffer {
  const { targetUs, intervalUs, limitPackets, memoryLimitBytes } = FQ_CODEL;
  return Buffer.concat([
    attribute(targetUs, u32(options.targetUs)),
    attribute(limitPackets, u32(options.limitPackets)),
    attribute(intervalUs, u32(options.intervalUs)),
    attribute(memoryLimitBytes, u32(options.memoryLimitBytes)),
  ]);
}

/** 0 for what an older kernel does not tell. */
export function parseFqCodel(options: Buffer): FqCodelOptions {
  const attributes = parseAttributes(options, 0);
  const value = (type: number) => {
    const data = attributes.get(type);
    return data?.length === 4 ? data.readUInt32LE(0) : 0;
  };
  return {
    targetUs: value(FQ_CODEL.targetUs),
    intervalUs: value(FQ_CODEL.intervalUs),
    limitPackets: value(FQ_CODEL.limitPackets),
    memoryLimitBytes: value(FQ_CODEL.memoryLimitBytes),
  };
}

// --- ids of network namespaces

const NETNSA_NSID = 1;
const NETNSA_FD = 3;
const RTGENMSG_BYTES = 4;

/** Gives the namespace of an open descriptor an id in this one, of the kernel's choice. EEXIST: it has one. */
export function assignNamespaceIdRequest(namespaceFd: number, sequence: number): Buffer {
  const any = attribute(NETNSA_NSID, u32(0xffff_ffff));
  const which = attribute(NETNSA_FD, u32(namespaceFd));
  return message(RTM_NEWNSID, NLM_F_ACK, sequence, Buffer.alloc(RTGENMSG_BYTES), any, which);
}

export function namespaceIdRequest(namespaceFd: number, sequence: number): Buffer {
  const which = attribute(NETNSA_FD, u32(namespaceFd));
  return message(RTM_GETNSID, NLM_F_ACK, sequence, Buffer.alloc(RTGENMSG_BYTES), which);
}

/** null: it has none, or the answer is another. */
export function parseNamespaceId(answer: Buffer): number | null {
  for (const { type, payload } of readMessages(answer)) {
    if (type !== RTM_NEWNSID) continue;
    const id = parseAttributes(payload, RTGENMSG_BYTES).get(NETNSA_NSID);
    return id?.length === 4 && id.readInt32LE(0) >= 0 ? id.readInt32LE(0) : null;
  }
  return null;
}
