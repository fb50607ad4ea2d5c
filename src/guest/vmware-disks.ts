/**
 * What VMware calls the disks of a machine, by its configuration: `scsi0:1`, `sata0:0`, `ide1:0`, `nvme0:0`. The same names as
 * open-vm-tools 12.2 gave in a sysfs made for that: the firmware's label of the controller (`SCSI0`), and the disk's place on it.
 */
import { type BlockSysfs, createBlockSysfs, VIRTUAL_DEVICES } from './linux/sysfs-block.ts';

/** The first two bytes of a PCI class. */
const IDE_CLASS = /^0x0101/;
/** A stack of devices that is deeper is a cycle. */
const DEEPEST = 32;

/**
 * @param deviceName of a file system: `sda1`, `dm-0`
 * @returns none where the disks are not of a VMware machine's kinds
 */
export function vmwareDisks(deviceName: string, root = '/'): string[] {
  const sysfs = createBlockSysfs(root);
  return [...new Set(disksBelow(`/sys/class/block/${deviceName}`, sysfs))];
}

function disksBelow(device: string, sysfs: BlockSysfs, depth = 0): string[] {
  const path = sysfs.resolve(device);
  if (path === null || depth > DEEPEST) return [];
  if (path.includes(VIRTUAL_DEVICES)) {
    const slaves = sysfs.list(`${path}/slaves`) ?? [];
    return slaves.flatMap((name) => disksBelow(`${path}/slaves/${name}`, sysfs, depth + 1));
  }
  const name = vmwareDisk(path, sysfs);
  return name === null ? [] : [name];
}

function vmwareDisk(path: string, sysfs: BlockSysfs): string | null {
  const found = /^(.*\/[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-9a-f])\/(.*)$/.exec(path);
  if (found === null) return null;
  const [, controller = '', below = ''] = found;
  const label = sysfs.read(`${controller}/label`)?.trim().toLowerCase() || null;
  const nvme = /^nvme\/nvme\d+\/nvme\d+n(\d+)(?:\/|$)/.exec(below);
  if (nvme !== null) return label && `${label}:${Number(nvme[1]) - 1}`;
  const ata = /^(ata\d+)\/host\d+\/target\d+:\d+:(\d+)\//.exec(below);
  if (ata !== null) {
    const [, port = '', target = ''] = ata;
    const index = ataPorts(controller, sysfs).indexOf(port);
    if (IDE_CLASS.test(sysfs.read(`${controller}/class`) ?? '')) return `ide${index}:${target}`;
    return label && `${label}:${index}`;
  }
  const scsi = /^host\d+\/target\d+:\d+:(\d+)\//.exec(below);
  return scsi && `${label ?? 'scsi0'}:${scsi[1]}`;
}

/** In the order of their numbers, which go through all controllers of the machine. */
function ataPorts(controller: string, sysfs: BlockSysfs): string[] {
  const ports = (sysfs.list(controller) ?? []).filter((name) => /^ata\d+$/.test(name));
  return ports.sort((a, b) => Number(a.slice(3)) - Number(b.slice(3)));
}
