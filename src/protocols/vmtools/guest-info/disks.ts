/** The guest's file systems in both forms (spec vmware.md section 6.6). Pure. */

export interface ReportedDisk {
  readonly mountPoint: string;
  readonly type: string;
  readonly freeBytes: bigint;
  readonly sizeBytes: bigint;
  /** VMware's names of the disks that it lies on. */
  readonly devices: readonly string[];
}

/** A mounted file system. */
export interface DiskSource {
  /** Of its device. */
  readonly name: string;
  readonly mountPoint: string;
  readonly type: string;
  /** null: it did not tell in time. */
  readonly usage: {
    readonly usedBytes: bigint;
    /** Without what is kept for root. */
    readonly totalBytes: bigint;
    readonly totalBytesPrivileged: bigint;
  } | null;
}

/** No network, swap or pseudo file systems, and none that can only be read. */
const TYPES = new Set([
  'ext2',
  'ext3',
  'ext4',
  'xfs',
  'btrfs',
  'bcachefs',
  'f2fs',
  'jfs',
  'reiserfs',
  'vfat',
  'msdos',
  'exfat',
  'ntfs',
  'ntfs3',
  'fuseblk',
  'hfs',
  'hfsplus',
  'ufs',
  'zfs',
]);
const NAME_BYTES = 100;
const NUMBERS_BYTES = 16;
const ENTRY_BYTES = NUMBERS_BYTES + NAME_BYTES;
/** The count is one byte. */
const MAX_LISTED = 255;
const TRAILER = Buffer.alloc(2);

/**
 * @param includeReserved whether what only root can use counts as free
 * @param devicesOf the disks below a device, by VMware's names
 */
export function reportedDisks(
  fileSystems: readonly DiskSource[],
  includeReserved: boolean,
  devicesOf: (name: string) => readonly string[],
): ReportedDisk[] {
  return fileSystems.flatMap(({ name, mountPoint, type, usage }) => {
    if (usage === null || !TYPES.has(type)) return [];
    const usableBytes = includeReserved ? usage.totalBytesPrivileged : usage.totalBytes;
    const freeBytes = usableBytes - usage.usedBytes;
    const sizeBytes = usage.totalBytesPrivileged;
    return [{ mountPoint, type, freeBytes, sizeBytes, devices: devicesOf(name) }];
  });
}

/** What follows `SetGuestDiskInfo `. Hosts read it with less than a JSON parser: the lines are as they must be. */
export function encodeDiskJson(disks: readonly ReportedDisk[]): string {
  const lines = disks.map(({ mountPoint, type, freeBytes, sizeBytes, devices }) => {
    const name = Buffer.from(mountPoint).toString('base64');
    const list = devices.length > 0 ? `,"devices":${JSON.stringify(devices)}` : '';
    return `{"name":"${name}","free":"${freeBytes}","size":"${sizeBytes}","fstype":"${type}"${list}}`;
  });
  return `{\n"version":"1",\n"disks":[\n${lines.join(',\n')}${lines.length > 0 ? '\n' : ''}]}`;
}

/** Type 3. */
export function encodeDiskList(disks: readonly ReportedDisk[]): Buffer {
  const listed = disks.slice(0, MAX_LISTED);
  const entries = listed.map(({ mountPoint, freeBytes, sizeBytes }) => {
    const entry = Buffer.alloc(ENTRY_BYTES);
    entry.writeBigUInt64LE(freeBytes, 0);
    entry.writeBigUInt64LE(sizeBytes, 8);
    // the last byte stays NUL
    entry.write(mountPoint, NUMBERS_BYTES, NAME_BYTES - 1);
    return entry;
  });
  return Buffer.concat([Buffer.of(listed.length), ...entries, TRAILER]);
}
