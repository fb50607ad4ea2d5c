/** Orders to the guard for one freeze: it opens every file system that is to be frozen, then freezes one after the other. */
import type { Log } from '../log.ts';
import { QuiesceError, stoppingError } from './errors.ts';
import type { Guard } from './guard.ts';
import type { FreezeTarget } from './mounts.ts';

/** One that is open in the guard. */
export interface OpenTarget {
  /** The guard's. */
  readonly number: number;
  readonly mountPoint: string;
}

export interface OpenTargetsOptions {
  log: Log;
  /** @throws {ActionRefused} */
  mayFreeze(action: 'freeze', mount: { mountPoint: string; major: number }): void;
  errorText(errno: number): string;
}

const EBUSY = 16;
const ENOTDIR = 20;
const EOPNOTSUPP = 95;

/**
 * @returns the targets in their order, without those that no path leads to
 * @throws {QuiesceError | ActionRefused | GuardEndedError | GuardError}
 */
export async function openTargets(
  guard: Guard,
  targets: readonly FreezeTarget[],
  { log, mayFreeze, errorText }: OpenTargetsOptions,
): Promise<OpenTarget[]> {
  const open: OpenTarget[] = [];
  /** Everything the guard opens gets the next number, also what turns out to be another file system. */
  let next = 0;
  for (const target of targets) {
    const opened = await openTarget(target);
    if (opened !== null) open.push(opened);
  }
  return open;

  async function openTarget(target: FreezeTarget): Promise<OpenTarget | null> {
    let failure: QuiesceError | null = null;
    for (const mountPoint of target.mountPoints) {
      mayFreeze('freeze', { mountPoint, major: target.major });
      const opened = await guard.open(mountPoint);
      if (opened.kind === 'opened') {
        const number = next;
        next += 1;
        // another mount may lie upon this mount point
        const isIt = opened.major === target.major && opened.minor === target.minor;
        if (isIt || !target.showsDevice) return { number, mountPoint };
      } else if (opened.errno !== ENOTDIR) {
        failure ??= new QuiesceError('freeze', `failed to open ${mountPoint}: ${errorText(opened.errno)}`);
      }
    }
    if (failure !== null) throw failure;
    log.warning(`${target.mountPoints[0]} cannot be frozen: no directory leads to its file system`);
    return null;
  }
}

/**
 * @param signal gives it up, also while one hangs
 * @returns the mount points of what is frozen now: neither what cannot be frozen, nor what somebody else had frozen
 * @throws {QuiesceError | GuardEndedError}
 */
export async function freezeOpened(
  guard: Guard,
  targets: readonly OpenTarget[],
  signal: AbortSignal,
  errorText: (errno: number) => string,
): Promise<string[]> {
  const giveUp = (): void => void guard.thaw();
  signal.addEventListener('abort', giveUp, { once: true });
  const frozen: string[] = [];
  try {
    for (const { number, mountPoint } of targets) {
      if (signal.aborted) throw stoppingError();
      const errno = await guard.freeze(number);
      if (errno === 0) frozen.push(mountPoint);
      else if (errno !== EOPNOTSUPP && errno !== EBUSY) {
        throw new QuiesceError('freeze', `failed to freeze ${mountPoint}: ${errorText(errno)}`);
      }
    }
    if (signal.aborted) throw stoppingError();
    return frozen;
  } finally {
    signal.removeEventListener('abort', giveUp);
  }
}
