/**
 * One script under the helper program (native/helper/job.c has the protocol): starts it, collects its output, and knows
 * how it ended.
 */
import type { NativeAddon } from '../native/addon.ts';
import { errnoOf } from './files.ts';
import { readLines, reap } from './helper-stream.ts';
import { type JobAccount, JobStartError } from './job.ts';
import type { Output } from './output.ts';
import { type PipeReader, readPipe } from './pipe-reader.ts';

export type ScriptEnd =
  | { kind: 'exited'; code: number }
  | { kind: 'signaled'; signal: number }
  /** All of its tree was ended, because of the time limit, or because we asked. */
  | { kind: 'timed-out' }
  | { kind: 'killed'; signal: number };

export interface ScriptCommand {
  argv: string[];
  /** `NAME=value`, exactly the script's environment. */
  env: string[];
  cwd: string;
  /** 0: none. */
  timeLimitMs: number;
  /** Between SIGTERM and SIGKILL. */
  graceMs: number;
  /** A writable cgroup2 directory, if there is one. */
  cgroup: string | null;
  /** Who it runs as; null: as the agent. */
  account: JobAccount | null;
  /** Where stdout and stderr go, in the order in which they were written; null: /dev/null. */
  output: Output | null;
}

export interface Script {
  readonly pid: number;
  /** Resolves when it has ended and all that it wrote by then is in the output. Never rejects. */
  readonly ended: Promise<ScriptEnd>;
  /** Resolves when the helper is gone too. */
  readonly gone: Promise<void>;
  /** Asks for the end of the whole tree. */
  kill(): void;
}

export type SupervisorNative = Pick<
  NativeAddon,
  'Poller' | 'read' | 'write' | 'close' | 'pipe' | 'socketPair' | 'spawn' | 'waitPidfd' | 'errorText'
>;

const SIGKILL = 9;
const ETIMEDOUT = 110;
const ESRCH = 3;
const EIO = 5;

/**
 * Starts a script: the part up to the first `await` takes a few tenths of a millisecond. `devNull` is a descriptor of /dev/null
 * open for both.
 * @throws {JobStartError} with the errno of what failed.
 */
export async function startScript(
  native: SupervisorNative,
  helperPath: string,
  devNull: number,
  command: ScriptCommand,
): Promise<Script> {
  const { output } = command;
  const failed = (errno: number): JobStartError => new JobStartError(errno, native.errorText(errno));
  const [control, helperControl] = native.socketPair();
  if (control < 0) throw failed(-control);
  const [outputRead, outputWrite] = output === null ? [-1, devNull] : native.pipe();
  const closeAll = (...fds: number[]): void => {
    for (const fd of fds) if (fd >= 0 && fd !== devNull) native.close(fd);
  };
  if (output !== null && outputRead < 0) {
    closeAll(control, helperControl);
    throw failed(-outputRead);
  }
  const { pid: helperPid, pidfd } = native.spawn({
    candidates: [helperPath],
    argv: helperArguments(command),
    env: command.env,
    cwd: command.cwd,
    fds: [devNull, outputWrite, outputWrite, helperControl],
    newSession: false,
  });
  closeAll(helperControl, outputWrite);
  if (helperPid < 0) {
    closeAll(control, outputRead);
    throw failed(-helperPid);
  }

  let reader: PipeReader | null;
  try {
    reader = output === null ? null : readPipe(native, outputRead, output);
  } catch (error) {
    // the helper ends the script when its control stream does
    native.close(control);
    reap(native, pidfd, () => undefined);
    throw failed(errnoOf(error) ?? EIO);
  }
  const started = Promise.withResolvers<number>();
  const ended = Promise.withResolvers<ScriptEnd>();
  const gone = Promise.withResolvers<void>();
  let pid: number | null = null;
  let end: ScriptEnd | null = null;
  let startErrno = ESRCH;
  let controlOpen = true;

  const stopControl = readLines(native, control, onLine, () => {
    controlOpen = false;
    stopControl();
    native.close(control);
    if (end === null && pid !== null) killGroup(pid);
    finish(end ?? { kind: 'signaled', signal: SIGKILL });
    reap(native, pidfd, gone.resolve);
  });

  function onLine(line: string): void {
    const [word, text] = line.split(' ');
    const number = Number(text);
    switch (word) {
      case 'started':
        pid = number;
        started.resolve(number);
        break;
      case 'error':
        startErrno = number;
        break;
      case 'exited':
        finish({ kind: 'exited', code: number });
        break;
      case 'signaled':
        finish({ kind: 'signaled', signal: number });
        break;
      case 'killed':
        finish({ kind: 'killed', signal: number });
        break;
      case 'timed-out':
        startErrno = ETIMEDOUT;
        finish({ kind: 'timed-out' });
        break;
    }
  }

  function finish(how: ScriptEnd): void {
    if (end === null) {
      end = how;
      if (reader === null) ended.resolve(how);
      // a failure of the reader is none of the script's
      else
        reader.drain().then(
          () => ended.resolve(how),
          () => ended.resolve(how),
        );
    }
    if (pid === null) started.reject(failed(startErrno));
  }

  return {
    pid: await started.promise,
    ended: ended.promise,
    gone: gone.promise,
    kill() {
      if (controlOpen) native.write(control, KILL, 0, KILL.length);
    },
  };
}

/**
 * Somebody killed the helper, and the kernel the script with it (PR_SET_PDEATHSIG); this gets at least those of its
 * processes that stayed in its group.
 */
function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // none is left
  }
}

const KILL = Buffer.from('kill\n');

function helperArguments(command: ScriptCommand): string[] {
  const { timeLimitMs, graceMs, cgroup, account, argv } = command;
  return [
    'chr-agent-helper',
    'job',
    '--time-limit-ms',
    String(Math.round(timeLimitMs)),
    '--grace-ms',
    String(Math.round(graceMs)),
    ...(cgroup === null ? [] : ['--cgroup', cgroup]),
    ...(account === null ? [] : ['--account', accountArgument(account)]),
    '--',
    ...argv,
  ];
}

/** As the helper's modes take it (native/helper/account.c). */
export function accountArgument({ uid, gid, groups }: Pick<JobAccount, 'uid' | 'gid' | 'groups'>): string {
  return `${uid}:${gid}:${groups.join(',')}`;
}
