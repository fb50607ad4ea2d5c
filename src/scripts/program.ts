/**
 * Any program, started as the upstream qemu-ga does: spec/qemu-ga.md section 6. It shares the agent's session and directory,
 * has no time limit, is never killed, and outlives the agent.
 */
import {
  type ExitStatus,
  type NativeAddon,
  POLL_READABLE,
  POLL_WRITABLE,
  type Poller,
} from '../native/addon.ts';
import { type JobOutput, JobStartError } from './job.ts';
import type { Output, OutputArea } from './output.ts';
import { type PipeReader, readPipe } from './pipe-reader.ts';

/** Which streams are kept; what is not goes to /dev/null. `merged`: both in one, in order. */
export type Capture = 'none' | 'stdout' | 'stderr' | 'separated' | 'merged';

export interface ProgramOptions {
  /** With a slash: that file. Without: searched in PATH of `env` if it has one, else in the agent's. */
  path: string;
  args: string[];
  /** `NAME=value`; undefined: the agent's own environment. */
  env: string[] | undefined;
  /** What it reads on stdin; undefined: /dev/null. */
  input: Buffer | undefined;
  capture: Capture;
}

export interface ProgramExit {
  /** 0-255 if it ended by itself, else -1. */
  exitCode: number;
  /** The signal that ended it, else 0. */
  signal: number;
  /** What was captured, if anything was to be; also the merged stream. */
  stdout: JobOutput | undefined;
  stderr: JobOutput | undefined;
}

export interface RunningProgram {
  readonly pid: number;
  /** How it ended, once the process has and all captured streams are at their end. */
  exit(): ProgramExit | undefined;
  /** Resolves when {@link RunningProgram.exit} knows. Never rejects. */
  readonly exited: Promise<void>;
  /** Gives its output back. A program that still runs goes on, and what it writes is dropped. */
  release(): void;
}

export type ProgramNative = Pick<
  NativeAddon,
  'Poller' | 'read' | 'write' | 'close' | 'pipe' | 'spawn' | 'waitPidfd' | 'errorText'
>;

export interface ProgramStarterOptions {
  native: ProgramNative;
  outputs: OutputArea;
  /** A descriptor of /dev/null, open for both. */
  devNull: number;
  /** Resolves when this start's turn of the event loop has come. */
  takeTurn: () => Promise<void>;
}

export interface ProgramStarter {
  /** @throws {JobStartError} with the errno of the exec, or of the pipe that could not be had. */
  start(request: ProgramOptions): Promise<RunningProgram>;
  /** Closes all that is ours of the running programs, and leaves them running. */
  close(): void;
}

const ENOENT = 2;
const EAGAIN = 11;
const EINTR = 4;
const EINVAL = 22;
/** Input written in one turn of the event loop: as much as a pipe holds. */
const INPUT_TURN_BYTES = 64 * 1024;
/** Where a program is searched if no PATH says: execvp(3). */
const DEFAULT_PATH = '/bin:/usr/bin';

export function createProgramStarter(options: ProgramStarterOptions): ProgramStarter {
  const running = new Set<() => void>();
  return {
    async start(request) {
      await options.takeTurn();
      return startProgram(options, request, running);
    },
    close() {
      for (const abandon of running) abandon();
    },
  };
}

/** The paths to try for a program's name, best first. Exported for tests. */
export function searchCandidates(
  path: string,
  env: readonly string[],
  agentPath: string | undefined,
): string[] {
  if (path === '') return [];
  if (path.includes('/')) return [path];
  const own = env.find((entry) => entry.startsWith('PATH='))?.slice('PATH='.length);
  const places = (own ?? agentPath ?? DEFAULT_PATH).split(':');
  // an empty place is the working directory
  return places.map((place) => (place === '' ? `./${path}` : `${place.replace(/\/+$/, '')}/${path}`));
}

function startProgram(
  { native, outputs, devNull }: ProgramStarterOptions,
  request: ProgramOptions,
  running: Set<() => void>,
): RunningProgram {
  const { capture, input } = request;
  const env = request.env ?? Object.entries(process.env).map(([name, value]) => `${name}=${value}`);
  const candidates = searchCandidates(request.path, env, process.env.PATH);
  /** Descriptors to close if it does not start, and those to close in any case. */
  const ours: number[] = [];
  const theirs: number[] = [];

  /** [our end, the child's end]. */
  function pipeFor(direction: 'to-child' | 'from-child'): [number, number] {
    const [readEnd, writeEnd] = native.pipe();
    if (readEnd < 0) throw failed(-readEnd);
    const [mine, other] = direction === 'to-child' ? [writeEnd, readEnd] : [readEnd, writeEnd];
    ours.push(mine);
    theirs.push(other);
    return [mine, other];
  }

  function failed(errno: number): JobStartError {
    return new JobStartError(errno, native.errorText(errno));
  }

  function spawn(): { pid: number; pidfd: number; pipes: { input: number; out: number; err: number } } {
    const [inputFd, childInput] = input === undefined ? [-1, devNull] : pipeFor('to-child');
    const [out, childOut] =
      capture === 'none' || capture === 'stderr' ? [-1, devNull] : pipeFor('from-child');
    const [err, childErr] =
      capture === 'merged'
        ? [-1, childOut]
        : capture === 'stderr' || capture === 'separated'
          ? pipeFor('from-child')
          : [-1, devNull];
    const { pid, pidfd } = native.spawn({
      candidates,
      argv: [request.path, ...request.args],
      env,
      cwd: null,
      fds: [childInput, childOut, childErr],
      newSession: false,
    });
    if (pid < 0) throw failed(-pid);
    return { pid, pidfd, pipes: { input: inputFd, out, err } };
  }

  if (candidates.length === 0) throw failed(ENOENT);
  if ([request.path, ...request.args, ...env].some((text) => text.includes('\0'))) throw failed(EINVAL);
  let started: ReturnType<typeof spawn>;
  try {
    started = spawn();
  } catch (error) {
    for (const fd of ours) native.close(fd);
    throw error;
  } finally {
    for (const fd of theirs) native.close(fd);
  }
  const { pid, pidfd, pipes } = started;

  const captured = (fd: number): { output: Output; reader: PipeReader } | null => {
    if (fd < 0) return null;
    const output = outputs.create();
    return { output, reader: readPipe(native, fd, output) };
  };
  const stdout = captured(pipes.out);
  const stderr = captured(pipes.err);
  const process_ = waitForEnd(native, pidfd);
  const writer = input === undefined ? null : writeAll(native, pipes.input, input);

  let exit: ProgramExit | undefined;
  const streamsEnded = Promise.all([stdout?.reader.ended, stderr?.reader.ended]);
  const exited = Promise.all([process_.ended, streamsEnded]).then(([end]) => {
    running.delete(abandon);
    writer?.close();
    if (end === null) return;
    exit = { exitCode: end.code, signal: end.signal, stdout: stdout?.output, stderr: stderr?.output };
  });

  function release(): void {
    stdout?.output.release();
    stderr?.output.release();
  }

  function abandon(): void {
    writer?.close();
    stdout?.reader.close();
    stderr?.reader.close();
    process_.close();
    release();
  }

  running.add(abandon);
  return { pid, exit: () => exit, exited, release };
}

/** Waits for a process and reaps it; null if that was given up. */
function waitForEnd(
  native: ProgramNative,
  pidfd: number,
): { ended: Promise<ExitStatus | null>; close: () => void } {
  const ended = Promise.withResolvers<ExitStatus | null>();
  let open = true;
  const poller = new native.Poller(pidfd, 'level', () => {
    const status = native.waitPidfd(pidfd);
    if (status === null) return;
    // a process that somebody else reaped: nothing is known of its end
    ended.resolve(typeof status === 'number' ? { code: 0, signal: 0 } : status);
    close();
  });
  poller.interest(POLL_READABLE);

  function close(): void {
    if (!open) return;
    open = false;
    poller.close();
    native.close(pidfd);
    ended.resolve(null);
  }

  return { ended: ended.promise, close };
}

/** Writes all of `bytes` to a pipe and closes it; a reader that goes away is no error. */
function writeAll(native: ProgramNative, fd: number, bytes: Buffer): { close: () => void } {
  let done = 0;
  let open = true;
  let poller: Poller | null = null;

  function close(): void {
    if (!open) return;
    open = false;
    poller?.close();
    native.close(fd);
  }

  function writeMore(): void {
    if (done < bytes.length) {
      const wrote = native.write(fd, bytes, done, Math.min(bytes.length, done + INPUT_TURN_BYTES));
      if (wrote === -EAGAIN || wrote === -EINTR) return;
      if (wrote < 0) return close();
      done += wrote;
    }
    if (done === bytes.length) close();
  }

  writeMore();
  if (open) {
    poller = new native.Poller(fd, 'level', writeMore);
    poller.interest(POLL_WRITABLE);
  }
  return { close };
}
