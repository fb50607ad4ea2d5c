/** Thawing what no guard of ours holds: after its death, what an earlier daemon left, and what others have frozen. */
import { setTimeout as delay } from 'node:timers/promises';
import { ActionRefused } from '../guest/actions.ts';
import type { Mount } from '../guest/mounts.ts';
import type { Log } from '../log.ts';
import { type Guard, type GuardEnd, GuardEndedError, GuardError } from './guard.ts';
import type { MarkerFile } from './marker.ts';
import { type FreezeTarget, freezeTargets } from './mounts.ts';

export interface RescueOptions {
  log: Log;
  /** @throws {GuardError} */
  startGuard(timeLimitMs: number): Promise<Guard>;
}

const FIRST_RETRY_MS = 100;
const LAST_RETRY_MS = 10_000;
const NO_LIMIT = 0;
/** An agent that cannot thaw is better than one that does not come up. */
const TRIES_AT_START = 4;

/** One try by a guard of its own. FITHAW tells the truth by itself: it fails on what is not frozen. @throws {GuardError} */
export async function tryThaw(mountPoints: readonly string[], options: RescueOptions): Promise<GuardEnd> {
  const guard = await options.startGuard(NO_LIMIT);
  try {
    for (const mountPoint of mountPoints) await guard.open(mountPoint);
    return await guard.thaw();
  } catch (error) {
    if (error instanceof GuardEndedError) return error.end;
    throw error;
  } finally {
    await guard.release();
  }
}

/**
 * Thaws what is frozen of `targets`, by whomever. @returns how many were
 * @throws {GuardError | GuardEndedError}
 */
export async function thawByWhomever(
  targets: readonly FreezeTarget[],
  options: RescueOptions & { mayFreeze(action: 'thaw', mount: { mountPoint: string; major: number }): void },
): Promise<number> {
  const mountPoints = targets.flatMap(({ mountPoints: [mountPoint], major }) => {
    try {
      options.mayFreeze('thaw', { mountPoint, major });
      return [mountPoint];
    } catch (error) {
      if (error instanceof ActionRefused) return [];
      throw error;
    }
  });
  if (mountPoints.length === 0) return 0;
  const end = await tryThaw(mountPoints, options);
  if (end.kind !== 'thawed') throw new GuardEndedError(end);
  return end.count;
}

/**
 * Tries until it is done: nothing must stay frozen.
 *
 * @param tries after that many it gives up
 * @returns how many file systems were frozen, null if it gave up
 */
export async function thawMountPoints(
  mountPoints: readonly string[],
  options: RescueOptions,
  tries = Number.POSITIVE_INFINITY,
): Promise<number | null> {
  let retryMs = FIRST_RETRY_MS;
  for (let left = tries; left > 0; left -= 1) {
    try {
      const end = await tryThaw(mountPoints, options);
      if (end.kind !== 'died') return end.count;
      options.log.error('file systems are frozen and the guard has ended; trying again to thaw them');
    } catch (error) {
      if (!(error instanceof GuardError)) throw error;
      options.log.error(`file systems may be frozen: ${error.message}; trying again`);
    }
    await delay(retryMs);
    retryMs = Math.min(2 * retryMs, LAST_RETRY_MS);
  }
  return null;
}

/** What an earlier daemon left to be told. */
export interface LeftFrozen {
  readonly owner: string;
  readonly mountPoints: readonly string[];
  /** Null: it has not been told yet that everything was thawed without having been asked for. */
  readonly notice: string | null;
}

/**
 * At the start, before anything is written: thaws what a daemon that was killed together with its guard has left frozen.
 * @returns null if there was none
 */
export async function thawLeftFrozen(
  options: RescueOptions & { marker: MarkerFile; readMounts(): readonly Mount[] },
): Promise<LeftFrozen | null> {
  const found = options.marker.find();
  if (found.kind === 'none') return null;
  const { owner, mountPoints, notice } =
    found.kind === 'marker'
      ? found.marker
      : { owner: UNKNOWN_OWNER, mountPoints: everyMountPoint(options.readMounts()), notice: null };
  if (notice !== null) return { owner, mountPoints, notice };
  const count = mountPoints.length === 0 ? 0 : await thawMountPoints(mountPoints, options, TRIES_AT_START);
  const became =
    count === null
      ? 'they may be frozen still'
      : count === 0
        ? 'its guard has thawed them'
        : `${count} were still, and are thawed`;
  options.log.warning(`an earlier run was ended while ${owner} had file systems frozen; ${became}`);
  return { owner, mountPoints, notice };
}

/** Of a marker that cannot be read: qemu-ga's own is empty. */
const UNKNOWN_OWNER = 'qemu-ga';

function everyMountPoint(mounts: readonly Mount[]): string[] {
  return freezeTargets(mounts).map(({ mountPoints: [first] }) => first);
}
