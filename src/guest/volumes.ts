/** What the machine's disks are divided into, and what is on it. From sysfs, udev's database and the mounted file systems. */
import type { FileSystem } from './filesystems.ts';
import { type BlockSysfs, createBlockSysfs, VIRTUAL_DEVICES } from './linux/sysfs-block.ts';

/** A partition, or a whole disk that is used without any. */
export interface Volume {
  /** Path of its node. */
  node: string;
  sizeBytes: bigint;
  /** As mounted, else as udev found it (`LVM2_member`, `swap`); null: unknown. */
  type: string | null;
  /** Of the file system. */
  uuid: string | null;
  mountPoint: string | null;
  /** Also the part that is kept for root; null: not mounted, or it did not tell in time. */
  freeBytes: bigint | null;
  /** Xen's name for the disk (`device/vbd/51712`), null on others. */
  xenDevice: string | null;
}

/** sysfs counts in these whatever the disk's own sectors are. */
const SECTOR_BYTES = 512n;

/**
 * All partitions of real disks, disks and partitions by name; also disks without partitions that are mounted.
 * @param fileSystems those that are mounted now
 */
export function volumes(fileSystems: readonly FileSystem[], root = '/'): Volume[] {
  const sysfs = createBlockSysfs(root);
  const mounted = new Map(fileSystems.map((each) => [each.name, each]));
  const found: Volume[] = [];
  for (const disk of sysfs.list('/sys/block') ?? []) {
    const path = `/sys/block/${disk}`;
    if (sysfs.resolve(path)?.includes(VIRTUAL_DEVICES) !== false) continue;
    const xenDevice = sysfs.read(`${path}/device/nodename`)?.trim() || null;
    const partitions = (sysfs.list(path) ?? []).filter(
      (name) => sysfs.read(`${path}/${name}/partition`) !== null,
    );
    const own = partitions.length > 0 || !mounted.has(disk) ? [] : [volume(path, mounted.get(disk), sysfs)];
    for (const each of [
      ...own,
      ...partitions.map((name) => volume(`${path}/${name}`, mounted.get(name), sysfs)),
    ]) {
      if (each !== null) found.push({ ...each, xenDevice });
    }
  }
  return found;
}

/** null: it is gone, or an empty drive. */
function volume(
  path: string,
  fileSystem: FileSystem | undefined,
  sysfs: BlockSysfs,
): Omit<Volume, 'xenDevice'> | null {
  const sectors = sysfs.read(`${path}/size`)?.trim();
  const node = sysfs.node(path);
  if (!sectors || !/^\d+$/.test(sectors) || sectors === '0' || node === null) return null;
  const usage = fileSystem?.usage ?? null;
  return {
    node,
    sizeBytes: BigInt(sectors) * SECTOR_BYTES,
    type: fileSystem?.type ?? sysfs.udevProperty(path, 'ID_FS_TYPE'),
    uuid: sysfs.udevProperty(path, 'ID_FS_UUID'),
    mountPoint: fileSystem?.mountPoint ?? null,
    freeBytes: usage === null ? null : usage.totalBytesPrivileged - usage.usedBytes,
  };
}
