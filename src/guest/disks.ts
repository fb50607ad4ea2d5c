/** The guest's disks and partitions, and their counters. From sysfs, udev's database, /proc/diskstats and the disks themselves (NVMe). */
import { join } from 'node:path';
import type { Log } from '../log.ts';
import type { NativeAddon } from '../native/addon.ts';
import { createLimitedQuestion, type QuestionSeries } from './limited-question.ts';
import { type DiskAddress, diskAddress } from './linux/disk-address.ts';
import { type DiskStatistics, parseDiskStatistics } from './linux/diskstats.ts';
import { readKernelFile } from './linux/kernel-file.ts';
import { HEALTH_LOG_BYTES, HEALTH_LOG_PAGE, type NvmeHealth, parseNvmeHealth } from './linux/nvme-health.ts';
import { type BlockSysfs, createBlockSysfs, VIRTUAL_DEVICES } from './linux/sysfs-block.ts';

export interface Disk {
  /** Path of its node. */
  node: string;
  kind: 'disk' | 'partition';
  /** Nodes that it lies on: a partition on its disk, a device-mapper or RAID device on its slaves; null if unknown. */
  dependencies: string[] | null;
  /** null for partitions and for what is no hardware. */
  address: DiskAddress | null;
  /** The device mapper's name for it. */
  alias: string | null;
  /** null for all but NVMe disks, and for those that did not tell in time. */
  nvmeHealth: NvmeHealth | null;
}

export interface Disks {
  /** Each disk that has a size, then its partitions. Takes 2 s at most, whatever hangs. Not to be called while frozen. */
  list(): Promise<Disk[]>;
  /** @throws {SystemCallError} */
  statistics(): DiskStatistics[];
}

export interface DisksOptions {
  native: Pick<NativeAddon, 'nvmeLogPage'>;
  log: Log;
  /** Prefix of /proc, /sys and /run, for tests. */
  root?: string;
  /** How long one list waits for disks that are asked. */
  limitMs?: number;
}

export function createDisks(options: DisksOptions): Disks {
  const { native, log, root = '/', limitMs } = options;
  const sysfs = createBlockSysfs(root);
  const health = createLimitedQuestion<Buffer | number>({
    what: 'its health',
    ask: (node) => native.nvmeLogPage(node, HEALTH_LOG_PAGE, HEALTH_LOG_BYTES),
    log,
    ...(limitMs !== undefined && { limitMs }),
  });

  return {
    async list() {
      using series = health.series();
      const disks = (sysfs.list('/sys/block') ?? []).map(async (name) => {
        const disk = wholeDisk(name, sysfs);
        if (disk === null) return [];
        const nvmeHealth = await healthOf(disk, series);
        return [{ ...disk, nvmeHealth }, ...partitions(name, disk.node, sysfs)];
      });
      return (await Promise.all(disks)).flat();
    },
    statistics: () => parseDiskStatistics(readKernelFile(join(root, 'proc/diskstats'))),
  };
}

/** null: no disk, an empty drive, or gone meanwhile. */
function wholeDisk(name: string, sysfs: BlockSysfs): Disk | null {
  const path = sysfs.resolve(`/sys/block/${name}`);
  const sectors = path && sysfs.read(`${path}/size`)?.trim();
  const node = path && sysfs.node(path);
  if (!path || !sectors || sectors === '0' || !node) return null;
  return {
    node,
    kind: 'disk',
    dependencies: slaveNodes(path, sysfs),
    address: path.includes(VIRTUAL_DEVICES) ? null : diskAddress(path, sysfs),
    // udev has it from there
    alias: sysfs.udevProperty(path, 'DM_NAME') ?? (sysfs.read(`${path}/dm/name`)?.trim() || null),
    nvmeHealth: null,
  };
}

function slaveNodes(path: string, sysfs: BlockSysfs): string[] | null {
  const slaves = sysfs.list(`${path}/slaves`);
  if (slaves === null) return null;
  return slaves.flatMap((name) => {
    const slave = sysfs.resolve(`${path}/slaves/${name}`);
    return (slave && sysfs.node(slave)) ?? [];
  });
}

function partitions(disk: string, diskNode: string, sysfs: BlockSysfs): Disk[] {
  const path = `/sys/block/${disk}`;
  return (sysfs.list(path) ?? []).flatMap((name) => {
    const node = sysfs.read(`${path}/${name}/partition`) === null ? null : sysfs.node(`${path}/${name}`);
    if (node === null) return [];
    return {
      node,
      kind: 'partition',
      dependencies: [diskNode],
      address: null,
      alias: null,
      nvmeHealth: null,
    };
  });
}

async function healthOf(disk: Disk, series: QuestionSeries<Buffer | number>): Promise<NvmeHealth | null> {
  if (disk.address?.bus !== 'nvme') return null;
  const page = await series.ask(disk.node);
  return page === null || typeof page === 'number' ? null : parseNvmeHealth(page);
}
