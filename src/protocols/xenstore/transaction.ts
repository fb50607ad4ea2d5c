/** Transactions with their repetitions (spec/xenstore.md section 2, "Transactions"). */
import { setTimeout as delay } from 'node:timers/promises';
import { createAccess } from './access.ts';
import { encodeTexts, MessageType, type MessageTypeNumber } from './wire.ts';
import { type XenstoreAccess, XenstoreError, XenstoreGone } from './xenstore.ts';

/** Sends one request in a transaction (0: in none). */
export type Send = (
  type: MessageTypeNumber,
  transactionId: number,
  payload: Buffer,
  what: string,
) => Promise<Buffer>;

/** Contenders are few and quick: after as many there must be one that never lets go. */
export const MAX_ATTEMPTS = 50;
const FIRST_PAUSE_MS = 2;
const LONGEST_PAUSE_MS = 200;

/**
 * Runs `work` in transactions until one is committed.
 * @throws {XenstoreError} EAGAIN after {@link MAX_ATTEMPTS}; else what the store said to a request, or what `work` threw
 * @throws {XenstoreGone} also during a pause, when `signal` says that the connection has ended
 */
export async function runTransaction<T>(
  send: Send,
  work: (access: XenstoreAccess) => Promise<T>,
  random: () => number,
  signal: AbortSignal,
): Promise<T> {
  for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt += 1) {
    const outcome = await tryOnce(send, work);
    if (outcome.committed) return outcome.value;
    await pause(random() * Math.min(FIRST_PAUSE_MS * 2 ** attempt, LONGEST_PAUSE_MS), signal);
  }
  throw new XenstoreError('EAGAIN', `a transaction after ${MAX_ATTEMPTS} attempts`);
}

type Outcome<T> = { committed: true; value: T } | { committed: false };

async function tryOnce<T>(send: Send, work: (access: XenstoreAccess) => Promise<T>): Promise<Outcome<T>> {
  const id = await start(send);
  if (id === null) return { committed: false };
  let isOver = false;
  const access = createAccess((type, payload, what) =>
    isOver ? Promise.reject(new Error('the transaction is over')) : send(type, id, payload, what),
  );
  let value: T;
  try {
    value = await work(access);
  } catch (error) {
    isOver = true;
    const wasAlive = await finish(send, id, 'F');
    if (wasAlive && !isCode(error, 'EAGAIN')) throw error;
    return { committed: false };
  }
  isOver = true;
  return (await finish(send, id, 'T')) ? { committed: true, value } : { committed: false };
}

/** null: not now (the domain is resuming). */
async function start(send: Send): Promise<number | null> {
  try {
    const payload = await send(MessageType.TRANSACTION_START, 0, encodeTexts(''), '');
    return Number.parseInt(payload.toString('latin1'), 10);
  } catch (error) {
    if (isCode(error, 'EAGAIN')) return null;
    throw error;
  }
}

/**
 * false: begin again. Besides a conflict that is a transaction which the store does not know any more, since the domain has resumed
 * in the middle; then an ENOENT that `work` has met may have meant the transaction, not a node.
 */
async function finish(send: Send, id: number, how: 'T' | 'F'): Promise<boolean> {
  try {
    await send(MessageType.TRANSACTION_END, id, encodeTexts(how), how === 'T' ? 'commit' : 'abandon');
    return true;
  } catch (error) {
    if (isCode(error, 'EAGAIN') || isCode(error, 'ENOENT')) return false;
    throw error;
  }
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof XenstoreError && error.code === code;
}

async function pause(timeMs: number, signal: AbortSignal): Promise<void> {
  try {
    await delay(timeMs, undefined, { signal });
  } catch {
    throw new XenstoreGone(signal.reason instanceof Error ? signal.reason.message : 'the connection is gone');
  }
}
