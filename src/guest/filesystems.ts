/** The file systems of the guest's block devices, how full they are and which disks they lie on. From mountinfo, sysfs and statfs(2). */
import type { Log } from '../log.ts';
import type { FileSystemSize, NativeAddon } from '../native/addon.ts';
import { createLimitedQuestion, type QuestionSeries } from './limited-question.ts';
import { type DiskAddress, diskAddress } from './linux/disk-address.ts';
import { type BlockSysfs, createBlockSysfs, VIRTUAL_DEVICES } from './linux/sysfs-block.ts';
import { deviceMounts, type Mount, readMounts } from './mounts.ts';

export interface FileSystemUsage {
  usedBytes: bigint;
  /** What users without privileges can have altogether, used or not. */
  totalBytes: bigint;
  /** With the part that is kept for root. */
  totalBytesPrivileged: bigint;
}

export interface FileSystem {
  /** The device's name: `vda1`, `dm-0`. */
  name: string;
  mountPoint: string;
  type: string;
  /** null: the file system did not tell in time. */
  usage: FileSystemUsage | null;
  /** The disks, or partitions, below it. None for a virtual device that lies on no other. */
  disks: DiskAddress[];
}

export interface FileSystems {
  /**
   * In mount order, each device once. Takes 2 s at most, whatever hangs. Not to be called while frozen.
   *
   * @param withoutDevice types that count although they lie on no device of their own (`zfs`); they come last
   * @throws {SystemCallError}
   */
  list(withoutDevice?: readonly string[]): Promise<FileSystem[]>;
}

export interface FileSystemsOptions {
  native: Pick<NativeAddon, 'statfs'>;
  log: Log;
  /** Prefix of /proc, /sys and /run, for tests. */
  root?: string;
  /** How long one list waits for sizes. */
  limitMs?: number;
}

/** How many are asked at a time. */
const LANES = 8;

export function createFileSystems(options: FileSystemsOptions): FileSystems {
  const { native, log, root = '/', limitMs } = options;
  const sysfs = createBlockSysfs(root);
  const size = createLimitedQuestion<FileSystemSize | number>({
    what: 'its size',
    ask: (mountPoint) => native.statfs(mountPoint),
    log,
    mostHanging: LANES,
    ...(limitMs !== undefined && { limitMs }),
  });

  return {
    async list(withoutDevice = []) {
      const all = readMounts(root);
      const mounts = [...deviceMounts(all), ...all.filter(({ type }) => withoutDevice.includes(type))];
      using series = size.series();
      const usages = await askAll(mounts, series);
      return mounts.map((mount, index) => {
        const device = `/sys/dev/block/${mount.major}:${mount.minor}`;
        const path = sysfs.resolve(device) ?? device;
        return {
          // without sysfs (a container) the number is all there is
          name: path.slice(path.lastIndexOf('/') + 1),
          mountPoint: mount.mountPoint,
          type: mount.type,
          usage: usages[index] ?? null,
          disks: disksBelow(device, sysfs),
        };
      });
    },
  };
}

async function askAll(
  mounts: readonly Mount[],
  series: QuestionSeries<FileSystemSize | number>,
): Promise<(FileSystemUsage | null)[]> {
  const usages = new Array<FileSystemUsage | null>(mounts.length).fill(null);
  const queue = mounts.entries();
  const lane = async () => {
    for (const [index, { mountPoint }] of queue) {
      const answer = await series.ask(mountPoint);
      if (answer !== null && typeof answer !== 'number') usages[index] = usageOf(answer);
    }
  };
  await Promise.all(Array.from({ length: LANES }, lane));
  return usages;
}

/** Pure. */
export function usageOf({
  blocks,
  freeBlocks,
  availableBlocks,
  blockBytes,
}: FileSystemSize): FileSystemUsage {
  const used = blocks - freeBlocks;
  return {
    usedBytes: used * blockBytes,
    totalBytes: (used + availableBlocks) * blockBytes,
    totalBytesPrivileged: blocks * blockBytes,
  };
}

/** A device-mapper or RAID device lies on its slaves, which may be such devices too. */
function disksBelow(device: string, sysfs: BlockSysfs, depth = 0): DiskAddress[] {
  const path = sysfs.resolve(device);
  if (path === null || depth > DEEPEST) return [];
  if (path.includes(VIRTUAL_DEVICES)) {
    const slaves = sysfs.list(`${path}/slaves`) ?? [];
    return slaves.flatMap((name) => disksBelow(`${path}/slaves/${name}`, sysfs, depth + 1));
  }
  const address = diskAddress(path, sysfs);
  return address === null ? [] : [address];
}

/** The kernel has no cycles there; who builds a deeper stack has other problems. */
const DEEPEST = 32;
