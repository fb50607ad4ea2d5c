/**
 * Which file systems are frozen, and in which order: the real, writable ones, each device once (spec qemu-ga.md section 5).
 * Read-only ones have nothing to quiesce, network and stacked ones (overlay) no device, and FAT is not quiesced
 * (spec chr-wiki.txt).
 */
import { deviceMounts, type Mount } from '../guest/mounts.ts';
import { type DevicesBelow, devicesBelow } from './stacking.ts';

/** One file system to freeze. */
export interface FreezeTarget {
  /** Device number; for btrfs that of its source's node. */
  readonly major: number;
  readonly minor: number;
  /** Where it is mounted: at least one, the one to try first at the front. */
  readonly mountPoints: readonly [string, ...string[]];
  /** Whether stat(2) shows the device number in the mounted tree. btrfs shows one of its own making. */
  readonly showsDevice: boolean;
}

const FAT = new Set(['vfat', 'msdos', 'exfat']);

/**
 * The targets in the order in which to freeze them: reverse mount order, and whatever is mounted from a device (a loop
 * device, LVM) before the file system that holds this device's bytes.
 *
 * @param only if given: only file systems with one of these mount points
 */
export function freezeTargets(
  mounts: readonly Mount[],
  only?: readonly string[],
  below: DevicesBelow = devicesBelow,
): FreezeTarget[] {
  const targets = new Map<string, FreezeTarget>();
  for (const mount of mounts) {
    const [resolved] = deviceMounts([mount]);
    if (resolved === undefined || mount.readOnly || FAT.has(mount.type)) continue;
    const { major, minor, mountPoint } = resolved;
    const number = `${major}:${minor}`;
    const known = targets.get(number);
    targets.set(number, {
      major,
      minor,
      mountPoints: known === undefined ? [mountPoint] : [...known.mountPoints, mountPoint],
      showsDevice: mount.major !== 0,
    });
  }
  const all = inFreezeOrder([...targets].reverse(), below);
  if (only === undefined) return all;
  const wanted = new Set(only);
  return all.flatMap((target) => {
    const named = target.mountPoints.filter((each) => wanted.has(each));
    const [first, ...others] = named;
    if (first === undefined) return [];
    return [{ ...target, mountPoints: [first, ...others, ...target.mountPoints] as const }];
  });
}

/** Stable, but for what lies upon another one. */
function inFreezeOrder(targets: [string, FreezeTarget][], below: DevicesBelow): FreezeTarget[] {
  const nodes = targets.map(([number, target]) => ({ number, target, below: below(number) }));
  const visited = new Set<string>();
  const ordered: FreezeTarget[] = [];
  const visit = (node: (typeof nodes)[number]): void => {
    if (visited.has(node.number)) return;
    visited.add(node.number);
    for (const other of nodes) if (other.below.has(node.number)) visit(other);
    ordered.push(node.target);
  };
  for (const node of nodes) visit(node);
  return ordered;
}
