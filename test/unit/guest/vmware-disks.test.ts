/** The names were seen of open-vm-tools 12.2 in the same trees (its debug log, and its SetGuestDiskInfo). */
import { describe, expect, it } from 'vitest';
import { vmwareDisks } from '../../../src/guest/vmware-disks.ts';
import { type BlockDevice, type FakeRoot, fakeRoot } from './fake-root.ts';

const SCSI = 'pci0000:00/0000:00:15.0/0000:03:00.0';
const SATA = 'pci0000:00/0000:00:11.0';
const IDE = 'pci0000:00/0000:00:07.1';
const NVME = 'pci0000:00/0000:00:16.0/0000:0b:00.0';

const machine = (files: Readonly<Record<string, string>>) => {
  const root = fakeRoot();
  for (const [path, content] of Object.entries(files)) root.file(`/sys/devices/${path}`, `${content}\n`);
  return root;
};

const block = (root: FakeRoot, device: BlockDevice) => {
  root.block(device);
  const name = device.path.slice(device.path.lastIndexOf('/') + 1);
  root.link(`/sys/class/block/${name}`, `/sys/devices/${device.path}`);
};

describe("VMware's name of a disk", () => {
  it.each<[string, string, Record<string, string>, string[]]>([
    ['SCSI', `${SCSI}/host2/target2:0:1/2:0:1:0/block/sda`, { [`${SCSI}/label`]: 'SCSI1' }, ['scsi1:1']],
    [
      'SCSI, another unit',
      `${SCSI}/host2/target2:0:1/2:0:1:4/block/sda`,
      { [`${SCSI}/label`]: 'SCSI1' },
      ['scsi1:1'],
    ],
    ['SCSI without a label', `${SCSI}/host2/target2:0:1/2:0:1:0/block/sda`, {}, ['scsi0:1']],
    [
      'SCSI, another label',
      `${SCSI}/host2/target2:0:1/2:0:1:0/block/sda`,
      { [`${SCSI}/label`]: 'Slot7' },
      ['slot7:1'],
    ],
    [
      'SATA',
      `${SATA}/ata10/host3/target3:0:0/3:0:0:0/block/sda`,
      {
        [`${SATA}/label`]: 'SATA0',
        [`${SATA}/class`]: '0x010601',
        [`${SATA}/ata9/x`]: '',
        [`${SATA}/ata11/x`]: '',
      },
      ['sata0:1'],
    ],
    [
      'SATA without a label',
      `${SATA}/ata4/host3/target3:0:0/3:0:0:0/block/sda`,
      { [`${SATA}/class`]: '0x010601' },
      [],
    ],
    [
      'IDE',
      `${IDE}/ata2/host1/target1:0:1/1:0:1:0/block/sda`,
      { [`${IDE}/class`]: '0x01018a', [`${IDE}/ata1/x`]: '' },
      ['ide1:1'],
    ],
    ['NVMe', `${NVME}/nvme/nvme3/nvme3n2`, { [`${NVME}/label`]: 'NVME1' }, ['nvme1:1']],
    ['NVMe without a label', `${NVME}/nvme/nvme3/nvme3n2`, {}, []],
    ['virtio', 'pci0000:00/0000:00:02.0/virtio1/block/vda', {}, []],
  ])('%s', (_what, path, files, names) => {
    using root = machine(files);
    block(root, { path, number: '8:0' });
    const disk = path.slice(path.lastIndexOf('/') + 1);
    block(root, { path: `${path}/${disk}p1`, number: '8:1', partition: 1 });
    expect(vmwareDisks(disk, root.path)).toEqual(names);
    expect(vmwareDisks(`${disk}p1`, root.path)).toEqual(names);
  });

  it('goes through what lies between, each disk once', () => {
    using root = machine({ [`${SCSI}/label`]: 'SCSI0' });
    const [first, second] = [0, 2].map(
      (target) => `${SCSI}/host2/target2:0:${target}/2:0:${target}:0/block/sd${target}`,
    );
    block(root, { path: `${first}`, number: '8:0' });
    block(root, { path: `${first}/sd0p1`, number: '8:1', partition: 1 });
    block(root, { path: `${first}/sd0p2`, number: '8:2', partition: 2 });
    block(root, { path: `${second}`, number: '8:16' });
    block(root, {
      path: 'virtual/block/dm-0',
      number: '253:0',
      slaves: [`${first}/sd0p1`, `${first}/sd0p2`, `${second}`],
    });
    expect(vmwareDisks('dm-0', root.path)).toEqual(['scsi0:0', 'scsi0:2']);
    expect(vmwareDisks('gone', root.path)).toEqual([]);
  });
});
