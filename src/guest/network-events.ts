/**
 * What the kernel tells about changes of the network: rtnetlink(7)'s multicast groups of links, addresses, routes and
 * qdiscs. A change is only a hint to look again; nothing is promised about its details or their order.
 */
import type { Log } from '../log.ts';
import { type NativeAddon, POLL_READABLE } from '../native/addon.ts';
import { parseAttributes, readMessages } from './linux/netlink.ts';

export type NetworkSubject = 'links' | 'addresses' | 'routes' | 'qdiscs';

export type NetworkChange =
  | {
      readonly subject: NetworkSubject;
      readonly removed: boolean;
      /** Of the interface; 0 for a route. */
      readonly linkIndex: number;
      /** Id of the network namespace as seen from the own one, null for the own one itself. */
      readonly namespaceId: number | null;
      /** Where a removed link lives on: in another namespace, of this id and under that index. */
      readonly movedTo: { readonly namespaceId: number; readonly linkIndex: number } | null;
    }
  /** So much happened that the kernel dropped some of it: anything may be different now. */
  | { readonly subject: 'everything' };

export interface NetworkWatch {
  close(): void;
}

export interface NetworkWatchOptions {
  native: Pick<NativeAddon, 'netlinkListen' | 'netlinkReceive' | 'Poller' | 'close' | 'errorText'>;
  log: Log;
  /** Default: links and addresses. */
  groups?: readonly NetworkSubject[];
  /** Also the changes in other network namespaces, of those that have an id in the own one. */
  allNamespaces?: boolean;
  /** All that one wake-up brought, at least one. A burst gives many calls: coalesce. */
  onChange(changes: readonly NetworkChange[]): void;
}

/** Bit n-1 is RTNLGRP_n. */
const GROUPS: Record<NetworkSubject, number> = {
  links: 1 << 0,
  addresses: (1 << 4) | (1 << 8),
  routes: (1 << 6) | (1 << 10),
  qdiscs: 1 << 3,
};
/** RTM_NEW*: what ends with the next number is its RTM_DEL*. */
const SUBJECTS = new Map<number, NetworkSubject>([
  [16, 'links'],
  [20, 'addresses'],
  [24, 'routes'],
  [36, 'qdiscs'],
]);
const RTM_DELLINK = 17;
const IFINFOMSG_BYTES = 16;
const IFLA_NEW_NETNSID = 45;
const IFLA_NEW_IFINDEX = 49;
const EAGAIN = 11;
const ENOBUFS = 105;
const EMSGSIZE = 90;
/** The kernel's messages of one event are below 32 KiB. */
const DATAGRAM_BYTES = 32 * 1024;
/** Then the event loop gets its turn; the socket stays readable. */
const MAX_DATAGRAMS_AT_ONCE = 256;

/**
 * Listens from now on; does not keep the process alive.
 * @returns null if the kernel refuses, which is logged: then only looking from time to time is left
 */
export function watchNetwork(options: NetworkWatchOptions): NetworkWatch | null {
  const { native, log, groups = ['links', 'addresses'], allNamespaces = false, onChange } = options;
  const mask = groups.reduce((bits, group) => bits | GROUPS[group], 0);
  const fd = native.netlinkListen(mask, allNamespaces ? 1 : 0);
  if (fd < 0) {
    log.warning(`network: changes cannot be watched: ${native.errorText(fd)}`);
    return null;
  }
  const datagram = Buffer.alloc(DATAGRAM_BYTES);
  let isOpen = true;
  const poller = new native.Poller(fd, 'level', () => {
    const changes = receive();
    if (changes.length > 0) onChange(changes);
  });
  poller.interest(POLL_READABLE);
  poller.unref();

  function receive(): NetworkChange[] {
    const changes: NetworkChange[] = [];
    for (let count = 0; isOpen && count < MAX_DATAGRAMS_AT_ONCE; count += 1) {
      const [lengthBytes, namespaceId] = native.netlinkReceive(fd, datagram);
      if (lengthBytes >= 0) {
        changes.push(...parseChanges(datagram.subarray(0, lengthBytes), namespaceId));
      } else if (lengthBytes === -EAGAIN) {
        break;
      } else if (lengthBytes === -ENOBUFS || lengthBytes === -EMSGSIZE) {
        changes.push({ subject: 'everything' });
      } else {
        log.warning(`network: changes are no longer watched: ${native.errorText(lengthBytes)}`);
        changes.push({ subject: 'everything' });
        close();
      }
    }
    return changes;
  }

  function close(): void {
    if (!isOpen) return;
    isOpen = false;
    poller.close();
    native.close(fd);
  }

  return { close };
}

/** @param namespaceId -1: the own namespace */
export function parseChanges(datagram: Buffer, namespaceId: number): NetworkChange[] {
  const changes: NetworkChange[] = [];
  for (const { type, payload } of readMessages(datagram)) {
    // RTM_DEL* is one above its RTM_NEW*, which is a multiple of four
    const subject = SUBJECTS.get(type & ~1);
    if (subject === undefined) continue;
    changes.push({
      subject,
      removed: (type & 1) === 1,
      // ifinfomsg, ifaddrmsg and tcmsg have it at the same place
      linkIndex: subject === 'routes' || payload.length < 8 ? 0 : payload.readInt32LE(4),
      namespaceId: namespaceId < 0 ? null : namespaceId,
      movedTo: type === RTM_DELLINK ? newPlace(payload) : null,
    });
  }
  return changes;
}

function newPlace(payload: Buffer): { namespaceId: number; linkIndex: number } | null {
  const attributes = parseAttributes(payload, IFINFOMSG_BYTES);
  const namespaceId = attributes.get(IFLA_NEW_NETNSID);
  if (namespaceId?.length !== 4) return null;
  const linkIndex = attributes.get(IFLA_NEW_IFINDEX);
  return {
    namespaceId: namespaceId.readInt32LE(0),
    linkIndex: (linkIndex?.length === 4 ? linkIndex : payload.subarray(4)).readInt32LE(0),
  };
}
