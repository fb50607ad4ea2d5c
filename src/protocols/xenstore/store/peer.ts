/**
 * One client of the embedded store, from message to messages: dispatch, watches and transactions of a connection
 * (spec/xenstore.md section 2). Knows no sockets.
 */
import {
  decodeTexts,
  encodeMessage,
  encodeTexts,
  MAX_PAYLOAD_BYTES,
  type Message,
  MessageType,
} from '../wire.ts';
import { XenstoreError } from '../xenstore.ts';
import { operationsFor } from './operations.ts';
import { absolutePath, homeOf, isWithin } from './paths.ts';
import { formatPermission, parsePermissions } from './permissions.ts';
import type { Change, Transaction, Tree, TreeNode, View } from './tree.ts';

/** A guest's, over all its connections. They can be exceeded by one, as in C xenstored. */
const MAX_WATCHES = 128;
const MAX_TRANSACTIONS = 10;

/** What the connections have in common. */
export interface Store {
  readonly tree: Tree;
  readonly peers: Set<Peer>;
  /** Tells every peer of the changes. */
  publish(changes: readonly Change[]): void;
  readonly domains: {
    isIntroduced(domain: number): boolean;
    introduce(domain: number): void;
    /** false: there is none. */
    release(domain: number): boolean;
  };
}

export interface Peer {
  readonly domain: number;
  readonly watchCount: number;
  readonly transactionCount: number;
  /** Handles one request; everything that it causes is sent before this returns. */
  handle(message: Message): void;
  tell(change: Change): void;
  /** A path that is no node: `@introduceDomain`, `@releaseDomain`. */
  tellSpecial(name: string): void;
  /** The domain wakes up as another: its watches are told, transactions are gone (spec section 7). */
  becomeDomain(domain: number): void;
}

interface StoredWatch {
  readonly path: string;
  readonly token: string;
}

const OK = encodeTexts('OK');
const REQUESTS: ReadonlySet<number> = new Set(
  Object.values(MessageType).filter((type) => type !== MessageType.WATCH_EVENT && type !== MessageType.ERROR),
);
/** For domain 0 only. */
const PRIVILEGED: ReadonlySet<number> = new Set([
  MessageType.CONTROL,
  MessageType.INTRODUCE,
  MessageType.RELEASE,
  MessageType.IS_DOMAIN_INTRODUCED,
  MessageType.RESUME,
  MessageType.SET_TARGET,
]);
/** Requests that a transaction id means something to. */
const TRANSACTIONAL: ReadonlySet<number> = new Set([
  MessageType.DIRECTORY,
  MessageType.DIRECTORY_PART,
  MessageType.READ,
  MessageType.GET_PERMS,
  MessageType.TRANSACTION_START,
  MessageType.TRANSACTION_END,
  MessageType.WRITE,
  MessageType.MKDIR,
  MessageType.RM,
  MessageType.SET_PERMS,
]);

export function createPeer(store: Store, firstDomain: number, send: (bytes: Buffer) => void): Peer {
  let domain = firstDomain;
  let watches: StoredWatch[] = [];
  const transactions = new Map<number, Transaction>();
  let nextTransaction = 1;

  const peer: Peer = {
    get domain() {
      return domain;
    },
    get watchCount() {
      return watches.length;
    },
    get transactionCount() {
      return transactions.size;
    },
    handle,
    tell,
    tellSpecial(name) {
      for (const watch of watches) if (watch.path === name) sendEvent(name, watch);
    },
    becomeDomain(next) {
      domain = next;
      transactions.clear();
      for (const watch of [...watches].reverse()) sendEvent(watch.path, watch);
    },
  };
  return peer;

  function handle(message: Message): void {
    const { type, requestId, transactionId } = message;
    const reply = (replyType: number, payload: Buffer) =>
      send(encodeMessage({ type: replyType, requestId, transactionId, payload }));
    try {
      const transaction = transactionOf(message);
      // changes are told before the request that caused them is answered
      const view = transaction ?? store.tree.direct((change) => store.publish([change]));
      const payload = answer(message, view, transaction);
      reply(type, payload);
    } catch (error) {
      if (!(error instanceof XenstoreError)) throw error;
      reply(MessageType.ERROR, encodeTexts(error.code));
      return;
    }
    if (type === MessageType.WATCH) {
      const watch = watches.at(-1);
      if (watch !== undefined) sendEvent(watch.path, watch);
    }
  }

  function transactionOf({ type, transactionId }: Message): Transaction | undefined {
    if (!REQUESTS.has(type)) throw fail('ENOSYS');
    if (PRIVILEGED.has(type) && domain !== 0) throw fail('EACCES');
    if (transactionId === 0 || !TRANSACTIONAL.has(type)) return undefined;
    const transaction = transactions.get(transactionId);
    if (transaction === undefined) throw fail('ENOENT');
    return transaction;
  }

  function answer(message: Message, view: View, transaction: Transaction | undefined): Buffer {
    const { type, payload, transactionId } = message;
    const operations = operationsFor(view, domain);
    switch (type) {
      case MessageType.DIRECTORY:
        return directory(operations.read(onePath(payload)));
      case MessageType.DIRECTORY_PART: {
        const [path, offset] = twoTexts(payload);
        return directoryPart(operations.read(absolute(path)), Number.parseInt(offset, 10) || 0);
      }
      case MessageType.READ:
        return operations.read(onePath(payload)).value;
      case MessageType.GET_PERMS:
        return encodeTexts(...operations.read(onePath(payload)).permissions.map(formatPermission));
      case MessageType.WRITE: {
        const end = payload.indexOf(0);
        if (end < 0) throw fail('EINVAL');
        const path = absolute(payload.toString('latin1', 0, end));
        operations.write(path, Buffer.from(payload.subarray(end + 1)));
        return OK;
      }
      case MessageType.MKDIR:
        operations.makeDirectory(onePath(payload));
        return OK;
      case MessageType.RM:
        operations.remove(onePath(payload));
        return OK;
      case MessageType.SET_PERMS: {
        const [path = '', ...list] = decodeTexts(payload);
        const permissions = parsePermissions(list);
        if (permissions === null || payload.at(-1) !== 0) throw fail('EINVAL');
        operations.setPermissions(absolute(path), permissions);
        return OK;
      }
      case MessageType.WATCH:
        addWatch(twoTexts(payload));
        return OK;
      case MessageType.UNWATCH:
        removeWatch(twoTexts(payload));
        return OK;
      case MessageType.RESET_WATCHES:
        watches = [];
        transactions.clear();
        return OK;
      case MessageType.TRANSACTION_START:
        if (transaction !== undefined) throw fail('EBUSY');
        return encodeTexts(String(startTransaction()));
      case MessageType.TRANSACTION_END:
        endTransaction(transactionId, transaction, payload);
        return OK;
      default:
        return answerAboutDomains(type, payload);
    }
  }

  function answerAboutDomains(type: number, payload: Buffer): Buffer {
    if (type === MessageType.CONTROL) throw fail('ENOSYS');
    const about = Number.parseInt(decodeTexts(payload)[0] ?? '', 10);
    if (payload.at(-1) !== 0) throw fail('EINVAL');
    switch (type) {
      case MessageType.GET_DOMAIN_PATH:
        return encodeTexts(homeOf(about || 0));
      case MessageType.IS_DOMAIN_INTRODUCED:
        return encodeTexts(about === 0 || store.domains.isIntroduced(about) ? 'T' : 'F');
      case MessageType.INTRODUCE:
        if (!(about > 0)) throw fail('EINVAL');
        store.domains.introduce(about);
        return OK;
      case MessageType.RELEASE:
        if (!(about > 0)) throw fail('EINVAL');
        if (!store.domains.release(about)) throw fail('ENOENT');
        return OK;
      default: // RESUME and SET_TARGET mean something to a hypervisor only
        return OK;
    }
  }

  /** A payload that is no path and NUL counts as a node that is not there (spec section 2, "Details"). */
  function onePath(payload: Buffer): string {
    if (payload.length === 0 || payload.indexOf(0) !== payload.length - 1) throw fail('ENOENT');
    return absolute(payload.toString('latin1', 0, payload.length - 1));
  }

  function absolute(path: string): string {
    const found = absolutePath(domain, path);
    if (found === null) throw fail('EINVAL');
    return found;
  }

  function addWatch([path, token]: [string, string]): void {
    if (!path.startsWith('@')) absolute(path);
    if (watches.some((watch) => watch.path === path && watch.token === token)) throw fail('EEXIST');
    if (domain !== 0 && sum((other) => other.watchCount) > MAX_WATCHES) throw fail('E2BIG');
    watches.push({ path, token });
  }

  function removeWatch([path, token]: [string, string]): void {
    const at = watches.findIndex((watch) => watch.path === path && watch.token === token);
    if (at < 0) throw fail('ENOENT');
    watches.splice(at, 1);
  }

  function startTransaction(): number {
    if (domain !== 0 && sum((other) => other.transactionCount) > MAX_TRANSACTIONS) throw fail('ENOSPC');
    const id = nextTransaction++;
    transactions.set(id, store.tree.begin());
    return id;
  }

  function endTransaction(id: number, transaction: Transaction | undefined, payload: Buffer): void {
    const how = payload.toString('latin1');
    if (how !== 'T\0' && how !== 'F\0') throw fail('EINVAL');
    if (transaction === undefined) throw fail('ENOENT');
    transactions.delete(id);
    if (how === 'F\0') return;
    const changes = transaction.commit();
    if (changes === null) throw fail('EAGAIN');
    store.publish(changes);
  }

  function sum(count: (other: Peer) => number): number {
    let total = 0;
    for (const other of store.peers) if (other.domain === domain) total += count(other);
    return total;
  }

  function tell(change: Change): void {
    if (!change.mayBeSeenBy(domain)) return;
    for (const watch of watches) {
      const watched = absolutePath(domain, watch.path);
      if (watched === null) continue;
      const isMeant = change.isExact ? change.path === watched : isWithin(change.path, watched);
      if (!isMeant) continue;
      // in the form in which the watch was given
      const isRelative = !watch.path.startsWith('/');
      sendEvent(isRelative ? change.path.slice(homeOf(domain).length + 1) : change.path, watch);
    }
  }

  function sendEvent(path: string, { token }: StoredWatch): void {
    const payload = encodeTexts(path, token);
    // C xenstored drops it as well
    if (payload.length > MAX_PAYLOAD_BYTES) return;
    send(encodeMessage({ type: MessageType.WATCH_EVENT, requestId: 0, transactionId: 0, payload }));
  }
}

function fail(code: string): XenstoreError {
  return new XenstoreError(code, 'the request');
}

function twoTexts(payload: Buffer): [string, string] {
  const [first, second, ...rest] = payload.at(-1) === 0 ? decodeTexts(payload) : [];
  if (first === undefined || second === undefined || rest.length > 0) throw fail('EINVAL');
  return [first, second];
}

function directory({ children }: TreeNode): Buffer {
  const payload = encodeTexts(...children);
  if (payload.length > MAX_PAYLOAD_BYTES) throw fail('E2BIG');
  return payload;
}

function directoryPart({ children, generation }: TreeNode, offset: number): Buffer {
  const list = encodeTexts(...children);
  const start = encodeTexts(String(generation));
  const limit = offset + MAX_PAYLOAD_BYTES - start.length - 1;
  if (list.length <= limit) return Buffer.concat([start, list.subarray(offset), Buffer.alloc(1)]);
  // only whole names
  const end = list.lastIndexOf(0, limit - 1) + 1;
  return Buffer.concat([start, list.subarray(offset, Math.max(end, offset))]);
}
