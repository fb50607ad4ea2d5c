/**
 * Runs one of the system's programs (hwclock, chpasswd, tc, poweroff) and waits for it, by the addon's vfork and a pidfd
 * (child_process.spawn blocks the event loop for 5 ms): own session, clean environment, stdin empty or given data, stdout and
 * stderr collected in the order they were written.
 */
import { closeSync, constants, openSync } from 'node:fs';
import type { NativeAddon, Poller } from '../native/addon.ts';
import { POLL_READABLE, POLL_WRITABLE } from '../native/addon.ts';
import { negativeErrno } from './linux/system-error.ts';

export interface ProgramRequest {
  /** Absolute paths; the first one that exists and may be executed is run. */
  candidates: readonly string[];
  /** Arguments after the program's name. */
  args: readonly string[];
  /** What the program reads from stdin; nothing if absent. */
  input?: Uint8Array;
  /** Kills the program and all of its process group. `AbortSignal.timeout(ms)` makes a time limit. */
  signal?: AbortSignal;
}

export type ProgramResult =
  | { kind: 'exited'; program: string; code: number; output: Buffer }
  | { kind: 'signaled'; program: string; signal: number; output: Buffer }
  /** `errno` is positive. */
  | { kind: 'not-started'; program: string; errno: number };

/** Rejects only for errors that are bugs, not for what the system says. */
export type RunProgram = (request: ProgramRequest) => Promise<ProgramResult>;

/** What is kept of the output; the rest is read and dropped, so that the program does not wait for us. */
export const MAX_OUTPUT_BYTES = 64 * 1024;
const ENVIRONMENT = ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', 'LC_ALL=C'];
/** Reads after the program's end: more than a pipe holds, and bounded, since what it left behind may still write. */
const MAX_LAST_READS = 16;
const EAGAIN = 11;
const SIGKILL = 9;

export function createProgramRunner(native: NativeAddon): RunProgram {
  return async (request) => {
    const program = request.candidates[0] ?? '';
    const started = start(native, request, program);
    if (typeof started === 'number') return { kind: 'not-started', program, errno: started };
    try {
      return { ...(await attend(native, request, started)), program };
    } finally {
      closeAll(native, [started.pidfd, started.outputFd, started.inputFd]);
    }
  };
}

/** The program as it runs: descriptors that are ours. */
interface Running {
  pid: number;
  pidfd: number;
  outputFd: number;
  /** -1 without input, and when all of it is written. */
  inputFd: number;
}

/** Starts the program; a number is the (positive) errno of why it did not start. */
function start(native: NativeAddon, request: ProgramRequest, program: string): Running | number {
  const [outputFd, outputEnd] = native.pipe();
  if (outputFd < 0) return -outputFd;
  const [inputEnd, inputFd] = request.input === undefined ? [-1, -1] : native.pipe();
  const childFds: number[] = [];
  let pid = -EAGAIN;
  let pidfd = -1;
  try {
    if (request.input !== undefined && inputEnd < 0) return -inputEnd;
    // the program gets open file descriptions of its own, since the ends of our pipes are non-blocking
    childFds.push(
      openSync(request.input === undefined ? '/dev/null' : `/proc/self/fd/${inputEnd}`, constants.O_RDONLY),
      openSync(`/proc/self/fd/${outputEnd}`, constants.O_WRONLY),
    );
    const [stdin = -1, stdout = -1] = childFds;
    ({ pid, pidfd } = native.spawn({
      candidates: [...request.candidates],
      argv: [program, ...request.args],
      env: ENVIRONMENT,
      cwd: '/',
      fds: [stdin, stdout, stdout],
      newSession: true,
    }));
    return pid < 0 ? -pid : { pid, pidfd, outputFd, inputFd };
  } catch (error) {
    return -negativeErrno(error);
  } finally {
    for (const fd of childFds) closeSync(fd);
    closeAll(native, pid < 0 ? [outputEnd, inputEnd, outputFd, inputFd] : [outputEnd, inputEnd]);
  }
}

type Ended =
  | { kind: 'exited'; code: number; output: Buffer }
  | { kind: 'signaled'; signal: number; output: Buffer };

/** Feeds and drains the program until it has ended. */
function attend(native: NativeAddon, request: ProgramRequest, running: Running): Promise<Ended> {
  const output = createOutput(native, running.outputFd);
  const pollers = new Set<Poller>();
  const watch = (fd: number, events: number, onEvents: (poller: Poller) => void): void => {
    const poller = new native.Poller(fd, 'level', () => onEvents(poller));
    pollers.add(poller);
    poller.interest(events);
  };
  const unwatch = (poller: Poller): void => {
    if (pollers.delete(poller)) poller.close();
  };
  const kill = (): void => killGroup(native, running);

  return new Promise<Ended>((resolve) => {
    watch(running.pidfd, POLL_READABLE, () => {
      const status = native.waitPidfd(running.pidfd);
      if (status === null) return;
      // what the program itself wrote is in the pipe by now; what it left running is not waited for
      for (let reads = 0; reads < MAX_LAST_READS && output.read() === 'more'; reads += 1);
      const text = output.text();
      if (typeof status === 'object' && status.signal !== 0) {
        resolve({ kind: 'signaled', signal: status.signal, output: text });
      } else {
        resolve({ kind: 'exited', code: typeof status === 'object' ? status.code : 255, output: text });
      }
    });
    watch(running.outputFd, POLL_READABLE, (poller) => {
      if (output.read() === 'end') unwatch(poller);
    });
    if (running.inputFd >= 0) {
      const feed = createFeeder(native, running.inputFd, request.input ?? Buffer.alloc(0));
      watch(running.inputFd, POLL_WRITABLE, (poller) => {
        if (!feed()) return;
        unwatch(poller);
        native.close(running.inputFd);
        running.inputFd = -1;
      });
    }
    if (request.signal?.aborted) kill();
    else request.signal?.addEventListener('abort', kill, { once: true });
  }).finally(() => {
    request.signal?.removeEventListener('abort', kill);
    for (const poller of [...pollers]) unwatch(poller);
  });
}

interface Output {
  read(): 'more' | 'nothing-now' | 'end';
  text(): Buffer;
}

function createOutput(native: NativeAddon, fd: number): Output {
  const chunks: Buffer[] = [];
  let keptBytes = 0;
  return {
    read() {
      const chunk = Buffer.allocUnsafeSlow(16 * 1024);
      const count = native.read(fd, chunk, 0, chunk.length);
      if (count === -EAGAIN) return 'nothing-now';
      if (count <= 0) return 'end';
      const keep = Math.min(count, MAX_OUTPUT_BYTES - keptBytes);
      if (keep > 0) chunks.push(chunk.subarray(0, keep));
      keptBytes += keep;
      return 'more';
    },
    text: () => Buffer.concat(chunks),
  };
}

/** Writes what the pipe takes; true when all is written or the program does not want the rest (EPIPE). */
function createFeeder(native: NativeAddon, fd: number, input: Uint8Array): () => boolean {
  let at = 0;
  return () => {
    while (at < input.length) {
      const count = native.write(fd, input, at, input.length);
      if (count === -EAGAIN) return false;
      if (count <= 0) return true;
      at += count;
    }
    return true;
  };
}

function killGroup(native: NativeAddon, running: Running): void {
  try {
    // the group is the program's own, and its leader is not reaped yet: the number cannot belong to another
    process.kill(-running.pid, SIGKILL);
  } catch {
    native.signalPidfd(running.pidfd, SIGKILL);
  }
}

function closeAll(native: NativeAddon, fds: readonly number[]): void {
  for (const fd of fds) if (fd >= 0) native.close(fd);
}
