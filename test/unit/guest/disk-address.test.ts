/** Disk addresses (spec qemu-ga.md section 5, "Disk address"): paths and drivers as QEMU's machines give them. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { diskAddress } from '../../../src/guest/linux/disk-address.ts';
import { createBlockSysfs } from '../../../src/guest/linux/sysfs-block.ts';
import { type FakeRoot, fakeRoot } from './fake-root.ts';

let root: FakeRoot;
beforeAll(() => {
  root = fakeRoot();
  const drivers: [device: string, driver: string][] = [
    ['pci0000:00/0000:00:01.1', 'ata_piix'],
    ['pci0000:00/0000:00:1f.2', 'ahci'],
    ['pci0000:00/0000:00:02.1', 'pcieport'],
    ['pci0000:00/0000:00:02.1/0000:02:00.0', 'virtio-pci'],
    ['pci0000:00/0000:00:05.0', 'virtio-pci'],
    ['pci0000:00/0000:00:06.0', 'sym53c8xx'],
    ['pci0000:00/0000:00:07.0', 'nvme'],
    ['pci0000:00/0000:00:08.0', 'xhci_hcd'],
    ['pci0000:00/0000:00:1d.7', 'ehci-pci'],
    ['pci0000:00/0000:00:09.0', 'megaraid_sas'],
    ['pci0001:0a/0001:0a:1e.7', 'virtio-pci'],
  ];
  for (const [device, driver] of drivers) {
    root.link(`/sys/devices/${device}/driver`, `/sys/bus/pci/drivers/${driver}`);
  }
  // ports in an order that is not that of the names
  for (const port of ['ata9', 'ata10', 'ata_device', 'host8']) {
    root.file(`/sys/devices/pci0000:00/0000:00:01.1/${port}/uevent`, '');
  }
  for (const port of ['ata1', 'ata2', 'ata3', 'ata4', 'ata5', 'ata6']) {
    root.file(`/sys/devices/pci0000:00/0000:00:1f.2/${port}/uevent`, '');
  }
});
afterAll(() => root[Symbol.dispose]());

function addressOf(path: string) {
  return diskAddress(`/sys/devices/${path}`, createBlockSysfs(root.path));
}

const pci = (slot: number, pciFunction = 0, bus = 0, domain = 0) => ({
  domain,
  bus,
  slot,
  function: pciFunction,
});

describe('the address of a disk', () => {
  it.each([
    [
      'virtio-blk on a bridge',
      'pci0000:00/0000:00:02.1/0000:02:00.0/virtio3/block/vda/vda1',
      { bus: 'virtio', pci: pci(0, 0, 2) },
    ],
    [
      'virtio-blk in another domain',
      'pci0001:0a/0001:0a:1e.7/virtio3/block/vda',
      { bus: 'virtio', pci: pci(0x1e, 7, 10, 1) },
    ],
    [
      'virtio-scsi',
      'pci0000:00/0000:00:05.0/virtio2/host4/target4:0:0/4:0:0:3/block/sdb',
      { bus: 'scsi', busNumber: 0, target: 0, unit: 3, pci: pci(5) },
    ],
    [
      'IDE, second bus',
      'pci0000:00/0000:00:01.1/ata10/host1/target1:0:1/1:0:1:0/block/sr0',
      { bus: 'ide', busNumber: 1, unit: 1, pci: pci(1, 1) },
    ],
    [
      'IDE, first bus',
      'pci0000:00/0000:00:01.1/ata9/host0/target0:0:0/0:0:0:0/block/sda',
      { bus: 'ide', busNumber: 0, unit: 0, pci: pci(1, 1) },
    ],
    [
      'IDE, old kernel',
      'pci0000:00/0000:00:01.1/host8/target8:0:1/8:0:1:0/block/sda',
      { bus: 'ide', busNumber: 0, unit: 1, pci: pci(1, 1) },
    ],
    [
      'SATA',
      'pci0000:00/0000:00:1f.2/ata3/host2/target2:0:0/2:0:0:0/block/sda/sda2',
      { bus: 'sata', busNumber: 0, unit: 2, pci: pci(0x1f, 2) },
    ],
    [
      'LSI SCSI',
      'pci0000:00/0000:00:06.0/host3/target3:0:5/3:0:5:0/block/sdc',
      { bus: 'scsi', unit: 5, pci: pci(6) },
    ],
    ['NVMe', 'pci0000:00/0000:00:07.0/nvme/nvme0/nvme0n1', { bus: 'nvme', pci: pci(7) }],
    [
      'USB 3',
      'pci0000:00/0000:00:08.0/usb2/2-1/2-1:1.0/host5/target5:0:0/5:0:0:0/block/sdd',
      { bus: 'usb', unit: 0, pci: pci(8) },
    ],
    [
      'USB 2',
      'pci0000:00/0000:00:1d.7/usb1/1-1/1-1:1.0/host5/target5:0:0/5:0:0:0/block/sdd',
      { bus: 'usb', pci: pci(0x1d, 7) },
    ],
    ['virtio-mmio', 'platform/a003e00.virtio_mmio/virtio1/block/vda', { bus: 'virtio', pci: null }],
    [
      'virtio-scsi without PCI',
      'platform/a003e00.virtio_mmio/virtio1/host0/target0:0:2/0:1:2:7/block/sda',
      { bus: 'scsi', busNumber: 1, target: 2, unit: 7, pci: null },
    ],
    [
      'virtio-ccw',
      'css0/0.0.001f/0.0.abcd/virtio1/block/vda',
      {
        bus: 'virtio',
        pci: null,
        ccw: { subsystemId: 0, subchannelSet: 0, subchannel: 0x1f, device: 0xabcd },
      },
    ],
    [
      'DASD',
      'css0/0.1.0002/0.1.0100/block/dasda',
      { bus: 'unknown', ccw: { subsystemId: 0, subchannelSet: 1, subchannel: 2, device: 0x100 } },
    ],
  ])('%s', (_what, path, expected) => {
    expect(addressOf(path)).toMatchObject({ busNumber: 0, target: 0, node: null, serial: null, ...expected });
  });

  it.each([
    ['an unknown controller', 'pci0000:00/0000:00:09.0/host0/target0:2:0/0:2:0:0/block/sda'],
    ['a SATA port that is not there', 'pci0000:00/0000:00:1f.2/ata7/host6/target6:0:0/6:0:0:0/block/sda'],
    ['Xen', 'vbd-51712/block/xvda'],
  ])('of %s is not known', (_what, path) => {
    expect(addressOf(path)).toBeNull();
  });

  it('has the node and the serial even if the place is not known', () => {
    root.block({
      path: 'vbd-51712/block/xvda',
      number: '202:0',
      udev: { ID_SERIAL: 'disk 1', ID_SERIAL_SHORT: '1' },
    });
    expect(addressOf('vbd-51712/block/xvda')).toEqual({
      bus: 'unknown',
      busNumber: 0,
      target: 0,
      unit: 0,
      pci: null,
      ccw: null,
      node: '/dev/xvda',
      serial: 'disk 1',
    });
  });
});
