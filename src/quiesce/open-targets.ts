/** The last step before a freeze: the guard opens every file system that is to be frozen. */
import type { Log } from '../log.ts';
import { QuiesceError } from './errors.ts';
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

const ENOTDIR = 20;

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
