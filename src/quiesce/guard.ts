/**
 * The daemon's side of the freeze guard (native/helper/guard.c has the protocol): one order at a time, and how the guard
 * ended. Nothing here touches a file, so that it works while everything is frozen.
 */
import type { Actions } from '../guest/actions.ts';
import type { NativeAddon } from '../native/addon.ts';
import { readLines, reap } from '../scripts/helper-stream.ts';

export type GuardEnd =
  /** We asked. `count`: file systems that were frozen. */
  | { kind: 'thawed'; count: number }
  /** Its time limit passed, and it has thawed all. */
  | { kind: 'expired'; count: number }
  /** It is gone without having thawed: what was frozen still is. */
  | { kind: 'died' };

/** The guard cannot be had. */
export class GuardError extends Error {
  override name = 'GuardError';
}

/** The guard ended while it was to do something else. */
export class GuardEndedError extends Error {
  override name = 'GuardEndedError';
  readonly end: GuardEnd;
  constructor(end: GuardEnd) {
    super(end.kind === 'expired' ? 'the freeze time limit has passed' : 'the freeze guard has ended');
    this.end = end;
  }
}

export type Opened =
  | { kind: 'opened'; major: number; minor: number }
  /** A positive errno. */
  | { kind: 'failed'; errno: number };

export interface Guard {
  /** Opens a mount's directory; they are numbered 0, 1 … @throws {GuardEndedError | GuardError} */
  open(path: string): Promise<Opened>;
  /** FIFREEZE: 0 or a positive errno. It may take long: all that is dirty is written. @throws {GuardEndedError} */
  freeze(number: number): Promise<number>;
  /** Thaws all that was opened, and ends the guard. */
  thaw(): Promise<GuardEnd>;
  /** Resolves when the guard has ended. */
  readonly ended: Promise<GuardEnd>;
  /** Lets go of a guard that has frozen nothing; any other one thaws. Resolves when its process is gone. */
  release(): Promise<void>;
}

export type GuardNative = Pick<
  NativeAddon,
  'Poller' | 'read' | 'write' | 'close' | 'waitPidfd' | 'signalPidfd' | 'errorText'
>;

export interface GuardOptions {
  native: GuardNative;
  actions: Pick<Actions, 'startFreezeGuard'>;
  helperPath: string;
  /** From the first freeze on; 0: none. */
  timeLimitMs: number;
}

/** For what takes no time unless something is wrong: the start, and opening a directory. */
const PROMPT_LIMIT_MS = 10_000;
const SIGKILL = 9;

/** Starts a guard; resolves when it is up and locked in memory. @throws {GuardError} */
export async function startGuard({ native, actions, helperPath, timeLimitMs }: GuardOptions): Promise<Guard> {
  const started = actions.startFreezeGuard({ helperPath, timeLimitMs });
  if (typeof started === 'number') {
    throw new GuardError(`the freeze guard cannot be started: ${native.errorText(-started)}`);
  }
  const { control, pidfd } = started;
  const ended = Promise.withResolvers<GuardEnd>();
  const gone = Promise.withResolvers<void>();
  let end: GuardEnd | null = null;
  let isOpen = true;
  let pending: { answered(words: string[]): void; broken(error: Error): void } | null = null;

  const stopReading = readLines(native, control, onLine, close);

  function onLine(line: string): void {
    const words = line.split(' ');
    const [word] = words;
    if (word === 'thawed' || word === 'expired') {
      finish({ kind: word, count: Number(words[1]) });
      return;
    }
    const order = pending;
    pending = null;
    order?.answered(words);
  }

  function finish(how: GuardEnd): void {
    if (end !== null) return;
    end = how;
    ended.resolve(how);
    pending?.broken(new GuardEndedError(how));
    pending = null;
  }

  function close(): void {
    if (!isOpen) return;
    isOpen = false;
    stopReading();
    native.close(control);
    finish({ kind: 'died' });
    reap(native, pidfd, gone.resolve);
  }

  function answer(): Promise<string[]> {
    if (end !== null) return Promise.reject(new GuardEndedError(end));
    const { promise, resolve, reject } = Promise.withResolvers<string[]>();
    pending = { answered: resolve, broken: reject };
    return promise;
  }

  function send(text: string): void {
    if (!isOpen) return;
    // one order at a time: there is room for it, or the guard is gone, which the end of the stream tells
    const bytes = Buffer.from(`${text}\0`);
    native.write(control, bytes, 0, bytes.length);
  }

  /** An answer that must come soon. A guard that hangs before anything is frozen is given up. */
  async function promptAnswer(what: string): Promise<string[]> {
    const timer = setTimeout(() => {
      pending?.broken(new GuardError(`the freeze guard does not answer (${what})`));
      pending = null;
      native.signalPidfd(pidfd, SIGKILL);
    }, PROMPT_LIMIT_MS);
    try {
      return await answer();
    } finally {
      clearTimeout(timer);
    }
  }

  try {
    await promptAnswer('start');
  } catch (error) {
    close();
    throw error instanceof GuardEndedError ? new GuardError(error.message) : error;
  }

  return {
    ended: ended.promise,
    async open(path) {
      send(`open ${path}`);
      const [word, first, second] = await promptAnswer(path);
      return word === 'opened'
        ? { kind: 'opened', major: Number(first), minor: Number(second) }
        : { kind: 'failed', errno: Number(first) };
    },
    async freeze(number) {
      send(`freeze ${number}`);
      const [word, errno] = await answer();
      return word === 'frozen' ? 0 : Number(errno);
    },
    thaw() {
      if (end === null) send('thaw');
      return ended.promise;
    },
    release() {
      close();
      return gone.promise;
    },
  };
}
