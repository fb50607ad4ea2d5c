/** Starts the freeze guard (native/helper/guard.c): only the actions seam does that. */
import { closeSync, openSync } from 'node:fs';
import type { NativeAddon } from '../../native/addon.ts';
import { negativeErrno } from '../linux/system-error.ts';

/** A guard that was started. The descriptors are the caller's to close; when `control` is, the guard thaws and ends. */
export interface GuardProcess {
  pid: number;
  pidfd: number;
  /** Our end of the stream that carries orders and answers. */
  control: number;
}

/**
 * @param timeLimitMs 0: none
 * @param loopOnly whether it refuses what is on no loop device
 * @returns -errno if it does not start
 */
export function startGuardProcess(
  native: Pick<NativeAddon, 'socketPair' | 'spawn' | 'close'>,
  helperPath: string,
  timeLimitMs: number,
  loopOnly: boolean,
): GuardProcess | number {
  let devNull: number;
  try {
    devNull = openSync('/dev/null', 'r+');
  } catch (error) {
    return negativeErrno(error);
  }
  const [control, guardEnd] = native.socketPair();
  try {
    if (control < 0) return control;
    const { pid, pidfd } = native.spawn({
      candidates: [helperPath],
      argv: [
        'chr-agent-helper',
        'guard',
        '--time-limit-ms',
        String(Math.round(timeLimitMs)),
        ...(loopOnly ? ['--loop-only'] : []),
      ],
      env: [],
      cwd: '/',
      fds: [devNull, devNull, devNull, guardEnd],
      // out of reach of what is meant for the daemon's process group
      newSession: true,
    });
    native.close(guardEnd);
    if (pid >= 0) return { pid, pidfd, control };
    native.close(control);
    return pid;
  } finally {
    closeSync(devNull);
  }
}
