/** The links and queueing disciplines of a network namespace, read over netlink. Changes go through the actions seam. */
import type { NativeAddon } from '../native/addon.ts';
import { type Dump, type Link, parseDump, parseLink } from './linux/netlink.ts';
import {
  assignNamespaceIdRequest,
  namespaceIdRequest,
  parseNamespaceId,
  parseQdisc,
  type Qdisc,
  qdiscDumpRequest,
  shortLinkDumpRequest,
} from './linux/netlink-tc.ts';
import { NetworkFactsError } from './network.ts';

type NetlinkRequests = Pick<NativeAddon, 'netlinkOpen' | 'netlinkRequest' | 'close' | 'errorText'>;

export interface TrafficControl {
  /** In the kernel's order, without counters. */
  readonly links: readonly Link[];
  /** By the link's index. */
  readonly qdiscs: ReadonlyMap<number, readonly Qdisc[]>;
}

/** How often a dump is repeated when the kernel's tables change meanwhile. */
const DUMP_ATTEMPTS = 4;

/**
 * @param namespaceFd an open namespace, or null for the own one
 * @throws {NetworkFactsError}
 */
export function readTrafficControl(native: NetlinkRequests, namespaceFd: number | null): TrafficControl {
  const socket = native.netlinkOpen(namespaceFd ?? -1);
  if (socket < 0) throw failure(native, -socket);
  try {
    const links = dump(native, socket, shortLinkDumpRequest()).messages.flatMap((message) => {
      const link = parseLink(message);
      return link === null ? [] : [link];
    });
    const qdiscs = new Map<number, Qdisc[]>();
    for (const message of dump(native, socket, qdiscDumpRequest()).messages) {
      const qdisc = parseQdisc(message);
      if (qdisc === null) continue;
      const others = qdiscs.get(qdisc.linkIndex);
      if (others === undefined) qdiscs.set(qdisc.linkIndex, [qdisc]);
      else others.push(qdisc);
    }
    return { links, qdiscs };
  } finally {
    native.close(socket);
  }
}

/**
 * The id of another namespace in the own one, which the kernel's events from there carry; made if it has none.
 * @returns null if the kernel refuses
 */
export function namespaceIdOf(native: NetlinkRequests, namespaceFd: number): number | null {
  const socket = native.netlinkOpen(-1);
  if (socket < 0) return null;
  try {
    const known = native.netlinkRequest(socket, namespaceIdRequest(namespaceFd, 1));
    const id = typeof known === 'number' ? null : parseNamespaceId(known);
    if (id !== null) return id;
    native.netlinkRequest(socket, assignNamespaceIdRequest(namespaceFd, 2));
    const made = native.netlinkRequest(socket, namespaceIdRequest(namespaceFd, 3));
    return typeof made === 'number' ? null : parseNamespaceId(made);
  } finally {
    native.close(socket);
  }
}

function dump(native: NetlinkRequests, socket: number, request: Buffer): Dump {
  let last: Dump | null = null;
  for (let attempt = 0; attempt < DUMP_ATTEMPTS && (last === null || last.interrupted); attempt += 1) {
    const answer = native.netlinkRequest(socket, request);
    if (typeof answer === 'number') throw failure(native, -answer);
    last = parseDump(answer);
    if (last.errno !== 0) throw failure(native, last.errno);
  }
  return last ?? { messages: [], interrupted: false, errno: 0 };
}

function failure(native: NetlinkRequests, errno: number): NetworkFactsError {
  return new NetworkFactsError(errno, `cannot read the queueing disciplines: ${native.errorText(errno)}`);
}
