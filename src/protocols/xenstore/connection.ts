/**
 * A client of the store over one stream (spec/xenstore.md sections 2 and 3): requests by id, replies, watch events. It lasts as
 * long as the stream; {@link link.ts} makes new ones.
 *
 * What the device demands is kept on every stream: one message a write, nothing but requests that a guest's user space may send
 * (never RESET_WATCHES, which would take the kernel's own watches away).
 */
import type { Duplex } from 'node:stream';
import type { Log } from '../../log.ts';
import { createAccess } from './access.ts';
import { runTransaction } from './transaction.ts';
import {
  createDecoder,
  decodeTexts,
  encodeMessage,
  encodeTexts,
  HEADER_BYTES,
  MAX_PAYLOAD_BYTES,
  type Message,
  MessageType,
  type MessageTypeNumber,
  messageTypeName,
  XenstoreProtocolError,
} from './wire.ts';
import { type Watch, type Xenstore, XenstoreError, XenstoreGone } from './xenstore.ts';

export interface ConnectionOptions {
  readonly log: Log;
  /** Header and payload of a request; the device takes {@link DEVICE_MESSAGE_BYTES}. */
  readonly maxRequestBytes?: number;
  /** The connection ends when a request has waited for its reply for one to two times this long. */
  readonly answerTimeoutMs?: number;
  /** In [0, 1). */
  readonly random?: () => number;
  readonly firstRequestId?: number;
}

/** What Linux's xenbus device takes as one request (spec section 3). */
export const DEVICE_MESSAGE_BYTES = 4096;
/** A store that is being updated or a host that swaps may take its time; one that has lost a request never answers. */
const ANSWER_TIMEOUT_MS = 30_000;
const MAX_REQUEST_ID = 0xffff_ffff;

export interface Connection extends Xenstore {
  /** A request of any type, outside of transactions, for what {@link Xenstore} does not have. Resolves with the reply's payload. */
  request(type: MessageTypeNumber, payload: Buffer, what?: string): Promise<Buffer>;
  /** Why the connection has ended; settles once, never rejects. */
  readonly ended: Promise<XenstoreGone>;
  /** Ends it now: what is pending rejects with {@link XenstoreGone}. */
  close(): void;
}

interface Pending {
  readonly type: MessageTypeNumber;
  readonly what: string;
  resolve(payload: Buffer): void;
  reject(error: Error): void;
}

type State = { is: 'open' } | { is: 'ended'; reason: XenstoreGone };

/** Takes over the stream. */
export function connectOver(stream: Duplex, options: ConnectionOptions): Connection {
  const { log, random = Math.random, answerTimeoutMs = ANSWER_TIMEOUT_MS } = options;
  const maxRequestBytes = options.maxRequestBytes ?? HEADER_BYTES + MAX_PAYLOAD_BYTES;
  const decoder = createDecoder();
  /** In the order in which they were sent. */
  const pending = new Map<number, Pending>();
  const watches = new Map<string, (path: string) => void>();
  const stopped = new AbortController();
  const ended = Promise.withResolvers<XenstoreGone>();
  let state: State = { is: 'open' };
  let nextId = options.firstRequestId ?? 1;
  let nextToken = 1;
  let answerTimer: NodeJS.Timeout | undefined;
  let oldestAtLastCheck = 0;

  stream.on('data', receive);
  stream.on('error', (error) => end(error.message));
  stream.on('end', () =>
    end(decoder.isMidMessage ? 'it ended in the middle of a message' : 'the store closed it'),
  );
  stream.on('close', () => end('it was closed'));

  const outside = createAccess((type, payload, what) => send(type, 0, payload, what));
  return {
    ...outside,
    transaction: (work) => runTransaction(send, work, random, stopped.signal),
    watch,
    request: (type, payload, what = '') => send(type, 0, payload, what),
    ended: ended.promise,
    close: () => end('it was closed by this side'),
  };

  function send(
    type: MessageTypeNumber,
    transactionId: number,
    payload: Buffer,
    what: string,
  ): Promise<Buffer> {
    if (state.is === 'ended') return Promise.reject(goneOf(state.reason));
    if (payload.length > MAX_PAYLOAD_BYTES || HEADER_BYTES + payload.length > maxRequestBytes)
      return Promise.reject(new XenstoreError('E2BIG', describe(type, what)));
    return new Promise((resolve, reject) => {
      const requestId = takeId();
      pending.set(requestId, { type, what, resolve, reject });
      if (answerTimer === undefined) watchAnswers();
      // one call for the whole message: the stream keeps calls in order and hands them on one by one
      stream.write(encodeMessage({ type, requestId, transactionId, payload }));
    });
  }

  /** Never 0, which events have, and none that still waits. */
  function takeId(): number {
    while (nextId > MAX_REQUEST_ID || nextId === 0 || pending.has(nextId))
      nextId = nextId >= MAX_REQUEST_ID ? 1 : nextId + 1;
    return nextId++;
  }

  function receive(chunk: Buffer): void {
    try {
      for (const message of decoder.push(chunk)) {
        if (state.is === 'ended') return;
        if (message.type === MessageType.WATCH_EVENT) deliverEvent(message);
        else settle(message);
      }
    } catch (error) {
      if (!(error instanceof XenstoreProtocolError)) throw error;
      end(error.message);
    }
  }

  function deliverEvent({ payload }: Message): void {
    const [path, token] = decodeTexts(payload);
    if (path === undefined || token === undefined)
      throw new XenstoreProtocolError('an event without a token');
    // without a watch: it was on its way when the watch was taken away
    const onEvent = watches.get(token);
    try {
      onEvent?.(path);
    } catch (error) {
      log.error(`the handler of a xenstore watch failed on ${path}: ${String(error)}`);
    }
  }

  function settle(message: Message): void {
    const requestId = message.requestId === 0 ? oldestWatchRequest() : message.requestId;
    const request = requestId === undefined ? undefined : pending.get(requestId);
    if (requestId === undefined || request === undefined)
      throw new XenstoreProtocolError(
        `a reply to nothing that was asked (${messageTypeName(message.type)}, id ${message.requestId})`,
      );
    if (message.type !== request.type && message.type !== MessageType.ERROR)
      throw new XenstoreProtocolError(
        `${messageTypeName(message.type)} as the reply to ${messageTypeName(request.type)}`,
      );
    pending.delete(requestId);
    if (pending.size === 0) stopWatchingAnswers();
    if (message.type === MessageType.ERROR)
      request.reject(
        new XenstoreError(decodeTexts(message.payload)[0] ?? '', describe(request.type, request.what)),
      );
    else request.resolve(message.payload);
  }

  /** Kernels before 4.11 may answer WATCH and UNWATCH with the id 0 (spec section 3). */
  function oldestWatchRequest(): number | undefined {
    for (const [id, { type }] of pending)
      if (type === MessageType.WATCH || type === MessageType.UNWATCH) return id;
    return undefined;
  }

  async function watch(path: string, onEvent: (path: string) => void): Promise<Watch> {
    const token = `w${nextToken++}`;
    watches.set(token, onEvent);
    try {
      // the store calls back once by itself, right behind the reply
      await send(MessageType.WATCH, 0, encodeTexts(path, token), path);
    } catch (error) {
      watches.delete(token);
      throw error;
    }
    return {
      async close() {
        if (!watches.delete(token)) return;
        // gone or unknown there: then it is no more either
        await send(MessageType.UNWATCH, 0, encodeTexts(path, token), path).catch(() => undefined);
      },
    };
  }

  /**
   * The first check after a stop of the whole process (a paused guest) must not take the time asleep for a store that is silent:
   * what is there to be read comes after the timer. So a request has to be the oldest at two checks.
   */
  function watchAnswers(): void {
    answerTimer = setInterval(() => {
      const [oldest = 0] = pending.keys();
      if (oldest === oldestAtLastCheck && oldest !== 0)
        end(`no answer to ${describeRequest(oldest)} for ${answerTimeoutMs / 1000} s`);
      oldestAtLastCheck = oldest;
    }, answerTimeoutMs);
  }

  function stopWatchingAnswers(): void {
    clearInterval(answerTimer);
    answerTimer = undefined;
    oldestAtLastCheck = 0;
  }

  function describeRequest(id: number): string {
    const request = pending.get(id);
    return request === undefined ? 'a request' : describe(request.type, request.what);
  }

  function end(why: string): void {
    if (state.is === 'ended') return;
    const reason = new XenstoreGone(`the connection to the store is gone: ${why}`);
    state = { is: 'ended', reason };
    stopWatchingAnswers();
    stopped.abort(reason);
    watches.clear();
    const waiting = [...pending.values()];
    pending.clear();
    for (const request of waiting) request.reject(goneOf(reason));
    stream.destroy();
    ended.resolve(reason);
  }
}

/** Each caller has an error of its own. */
function goneOf(reason: XenstoreGone): XenstoreGone {
  return new XenstoreGone(reason.message);
}

function describe(type: number, what: string): string {
  return what === '' ? messageTypeName(type) : `${messageTypeName(type)} ${what}`;
}
