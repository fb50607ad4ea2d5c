/**
 * What is mounted, and which of it counts as a file system of the guest's own: the list that guest-get-fsinfo, guest-fstrim
 * and the quiescer work on (spec qemu-ga.md section 5, "Mount list"). From /proc/self/mountinfo.
 *
 * Everything here is synchronous: never call it while file systems are frozen (the lookup of a btrfs device's node may need
 * the disk); read the list before the freeze and keep it.
 */
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { splitDeviceNumber } from './linux/device-number.ts';
import { readKernelFile } from './linux/kernel-file.ts';
import { type MountinfoEntry, parseMountinfo } from './linux/mountinfo.ts';

export interface Mount extends MountinfoEntry {
  /** Nothing writes to the file system, through whichever mount. (A mount alone may be read-only by its `options`.) */
  readOnly: boolean;
}

/**
 * All mounts of this process' mount namespace, in mount order.
 *
 * @param root prefix of /proc, for tests.
 * @throws {SystemCallError}
 */
export function readMounts(root = '/'): Mount[] {
  return parseMountinfo(readKernelFile(join(root, 'proc/self/mountinfo'))).map((entry) => ({
    ...entry,
    readOnly: entry.superOptions.includes('ro'),
  }));
}

/**
 * The mounts that stand for a block device, the first of each device, in mount order (most callers go through them in
 * reverse). What has no device of its own falls out: network, tmpfs, overlay, ZFS. btrfs shows a number of its own making
 * too; there the source's node gives the number, which then also stands in the result's `major` and `minor`.
 */
export function deviceMounts(
  mounts: readonly Mount[],
  nodeNumber: (path: string) => { major: number; minor: number } | null = blockDeviceNumber,
): Mount[] {
  const first = new Map<string, Mount>();
  for (const mount of mounts) {
    const resolved = withDevice(mount, nodeNumber);
    if (resolved === null) continue;
    const number = `${resolved.major}:${resolved.minor}`;
    if (!first.has(number)) first.set(number, resolved);
  }
  return [...first.values()];
}

function withDevice(
  mount: Mount,
  nodeNumber: (path: string) => { major: number; minor: number } | null,
): Mount | null {
  if (mount.major !== 0) return mount;
  if (mount.type !== 'btrfs') return null;
  const number = nodeNumber(mount.source);
  return number && { ...mount, ...number };
}

/** Number of a block device's node, null if the path is none. */
export function blockDeviceNumber(path: string): { major: number; minor: number } | null {
  try {
    const status = statSync(path, { bigint: true });
    return status.isBlockDevice() ? splitDeviceNumber(status.rdev) : null;
  } catch {
    return null;
  }
}
