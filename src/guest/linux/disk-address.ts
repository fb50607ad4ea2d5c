/**
 * Where a disk sits, as a host that has made the machine knows it: read off the device's path in sysfs and the driver
 * that its controller has (spec qemu-ga.md section 5, "Disk address").
 */
import type { BlockSysfs } from './sysfs-block.ts';

export interface PciAddress {
  domain: number;
  bus: number;
  slot: number;
  function: number;
}

/** A device on a mainframe's channel subsystem. */
export interface CcwAddress {
  subsystemId: number;
  subchannelSet: number;
  subchannel: number;
  device: number;
}

export type DiskBus = 'ide' | 'scsi' | 'virtio' | 'usb' | 'sata' | 'nvme' | 'unknown';

export interface DiskAddress {
  bus: DiskBus;
  /** Of several on one controller. */
  busNumber: number;
  target: number;
  unit: number;
  /** The controller's, null if unknown. */
  pci: PciAddress | null;
  ccw: CcwAddress | null;
  /** Path of the disk's or partition's own node. */
  node: string | null;
  serial: string | null;
}

type Place = Pick<DiskAddress, 'bus'> & Partial<DiskAddress>;

/**
 * @param devicePath a real device's path in sysfs, all links followed.
 * @returns null if nothing at all is known.
 */
export function diskAddress(devicePath: string, sysfs: BlockSysfs): DiskAddress | null {
  const place = placeOf(devicePath, sysfs);
  const node = sysfs.node(devicePath);
  const serial = sysfs.udevProperty(devicePath, 'ID_SERIAL');
  if (place === null && node === null && serial === null) return null;
  return { bus: 'unknown', busNumber: 0, target: 0, unit: 0, pci: null, ccw: null, ...place, node, serial };
}

function placeOf(devicePath: string, sysfs: BlockSysfs): Place | null {
  if (devicePath.includes('/devices/pci')) return pciPlace(devicePath, sysfs);
  if (devicePath.includes('/devices/css')) return ccwPlace(devicePath);
  return devicePath.includes('/virtio') ? virtioPlace(devicePath) : null;
}

/** The controller is the first PCI device on the path that has a driver known here; those before it are bridges. */
function pciPlace(devicePath: string, sysfs: BlockSysfs): Place | null {
  const bridge = /^.*?\/devices\/pci[0-9a-f]+:[0-9a-f]+/.exec(devicePath);
  if (bridge === null) return null;
  let path = bridge[0];
  for (;;) {
    const step = /^\/([0-9a-f]+):([0-9a-f]+):([0-9a-f]+)\.([0-9a-f]+)(?=\/|$)/.exec(
      devicePath.slice(path.length),
    );
    if (step === null) return null;
    path += step[0];
    const find = CONTROLLERS[sysfs.driver(path) ?? ''];
    if (find === undefined) continue;
    const [domain = 0, bus = 0, slot = 0, pciFunction = 0] = step.slice(1).map((each) => parseInt(each, 16));
    const place = find(devicePath, path, sysfs);
    return place && { ...place, pci: { domain, bus, slot, function: pciFunction } };
  }
}

type Controller = (devicePath: string, controllerPath: string, sysfs: BlockSysfs) => Place | null;

const CONTROLLERS: Readonly<Record<string, Controller>> = {
  // a host for each of the controller's buses, two targets on each
  ata_piix: (devicePath, controllerPath, sysfs) => {
    const port = portIndex(devicePath, controllerPath, sysfs);
    const scsi = scsiAddress(devicePath);
    return port === null || scsi === null ? null : { bus: 'ide', busNumber: port, unit: scsi.target };
  },
  sym53c8xx: (devicePath) => {
    const scsi = scsiAddress(devicePath);
    return scsi && { bus: 'scsi', unit: scsi.target };
  },
  'virtio-pci': (devicePath) => {
    const scsi = scsiAddress(devicePath);
    return scsi === null ? { bus: 'virtio' } : { bus: 'scsi', unit: scsi.lun };
  },
  // a host for each port, one disk on each
  ahci: (devicePath, controllerPath, sysfs) => {
    const port = portIndex(devicePath, controllerPath, sysfs);
    return port === null || scsiAddress(devicePath) === null ? null : { bus: 'sata', unit: port };
  },
  nvme: () => ({ bus: 'nvme' }),
  xhci_hcd: () => ({ bus: 'usb' }),
  'ehci-pci': () => ({ bus: 'usb' }),
};

/** From `/targetH:C:T/H:C:T:L`. */
function scsiAddress(devicePath: string): { channel: number; target: number; lun: number } | null {
  const found = /\/target\d+:\d+:\d+\/\d+:(\d+):(\d+):(\d+)(?:\/|$)/.exec(devicePath);
  if (found === null) return null;
  return { channel: Number(found[1]), target: Number(found[2]), lun: Number(found[3]) };
}

/** Which of the controller's ATA ports (or SCSI hosts, on an old kernel) the path goes through, from 0 on. */
function portIndex(devicePath: string, controllerPath: string, sysfs: BlockSysfs): number | null {
  const found = /^\/(ata|host)(\d+)\//.exec(devicePath.slice(controllerPath.length));
  if (found === null) return null;
  const [, kind = '', number] = found;
  const numbers = (sysfs.list(controllerPath) ?? [])
    .filter((name) => name.startsWith(kind) && /^\d+$/.test(name.slice(kind.length)))
    .map((name) => Number(name.slice(kind.length)))
    .sort((a, b) => a - b);
  const index = numbers.indexOf(Number(number));
  return index < 0 ? null : index;
}

function virtioPlace(devicePath: string): Place {
  const scsi = scsiAddress(devicePath);
  if (scsi === null) return { bus: 'virtio' };
  return { bus: 'scsi', busNumber: scsi.channel, target: scsi.target, unit: scsi.lun };
}

/** `/devices/css0/0.0.0001/0.0.0002/…`: subchannel, then device. */
function ccwPlace(devicePath: string): Place | null {
  const found =
    /\/devices\/css[0-9a-f]+\/([0-9a-f]+)\.([0-9a-f]+)\.([0-9a-f]+)\/[0-9a-f]+\.[0-9a-f]+\.([0-9a-f]+)/.exec(
      devicePath,
    );
  if (found === null) return null;
  const [subsystemId = 0, subchannelSet = 0, subchannel = 0, device = 0] = found
    .slice(1)
    .map((each) => parseInt(each, 16));
  const place: Place = devicePath.includes('/virtio') ? virtioPlace(devicePath) : { bus: 'unknown' };
  return { ...place, ccw: { subsystemId, subchannelSet, subchannel, device } };
}
