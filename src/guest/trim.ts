/** Tells the disks which blocks are free: FITRIM on each of the guest's file systems, one after the other. */
import { constants, promises as fs } from 'node:fs';
import type { Actions } from './actions.ts';
import { negativeErrno } from './linux/system-error.ts';
import { deviceMounts, readMounts } from './mounts.ts';

export type TrimOutcome = { mountPoint: string } & (
  | { kind: 'trimmed'; trimmedBytes: bigint; minimumBytes: bigint }
  /** The file system, or its device, can't do it. */
  | { kind: 'not-supported' }
  | { kind: 'failed'; step: 'open' | 'trim'; errno: number }
);

const UNSUPPORTED = new Set([-25 /* ENOTTY */, -95 /* EOPNOTSUPP */]);

/**
 * Outcomes in mount order. May take minutes.
 *
 * @param minimumBytes shorter free extents are left alone, 0 to 2^64-1. The file system may raise it.
 * @param root prefix of /proc, for tests.
 * @throws {ActionRefused}
 * @throws {SystemCallError} if mountinfo can't be read.
 */
export async function trimFileSystems(
  actions: Pick<Actions, 'trim'>,
  minimumBytes: bigint,
  root = '/',
): Promise<TrimOutcome[]> {
  const outcomes: TrimOutcome[] = [];
  for (const { mountPoint } of deviceMounts(readMounts(root))) {
    outcomes.push({ mountPoint, ...(await trimOne(actions, mountPoint, minimumBytes)) });
  }
  return outcomes;
}

async function trimOne(actions: Pick<Actions, 'trim'>, mountPoint: string, minimumBytes: bigint) {
  const opened = await open(mountPoint);
  if (typeof opened === 'number') return { kind: 'failed', step: 'open', errno: -opened } as const;
  await using file = opened;
  const result = await actions.trim({ mountPoint, fd: file.fd }, minimumBytes);
  if (typeof result !== 'number') return { kind: 'trimmed', ...result } as const;
  if (UNSUPPORTED.has(result)) return { kind: 'not-supported' } as const;
  return { kind: 'failed', step: 'trim', errno: -result } as const;
}

async function open(path: string) {
  try {
    // not waiting: a mount point may be a FIFO that something is bound to
    return await fs.open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    return negativeErrno(error);
  }
}
