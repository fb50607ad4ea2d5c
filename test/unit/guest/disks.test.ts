/** guest-get-disks and guest-get-fsinfo on machines that this one is not. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createDisks } from '../../../src/guest/disks.ts';
import { createFileSystems } from '../../../src/guest/filesystems.ts';
import type { FileSystemSize } from '../../../src/native/addon.ts';
import { recordingLog } from '../../support/quiet-log.ts';
import { type FakeRoot, fakeRoot } from './fake-root.ts';

const SATA = 'pci0000:00/0000:00:1f.2';
const SDA = `${SATA}/ata1/host0/target0:0:0/0:0:0:0/block/sda`;
const SDB = `${SATA}/ata2/host1/target1:0:0/1:0:0:0/block/sdb`;
const NVME = 'pci0000:00/0000:00:07.0/nvme/nvme0/nvme0n1';
const MD = 'virtual/block/md0';
const LVM = 'virtual/block/dm-0';

let root: FakeRoot;
/** Two disks with a partition each, which make a RAID with a logical volume on it; an NVMe disk; loop devices. */
beforeEach(() => {
  root = fakeRoot();
  root.link(`/sys/devices/${SATA}/driver`, '/sys/bus/pci/drivers/ahci');
  root.link('/sys/devices/pci0000:00/0000:00:07.0/driver', '/sys/bus/pci/drivers/nvme');
  root.block({ path: SDA, number: '8:0', udev: { ID_SERIAL: 'QEMU_HARDDISK_QM00001' } });
  root.block({
    path: `${SDA}/sda1`,
    number: '8:1',
    partition: 1,
    udev: { ID_SERIAL: 'QEMU_HARDDISK_QM00001' },
  });
  root.block({ path: SDB, number: '8:16' });
  root.block({ path: `${SDB}/sdb1`, number: '8:17', partition: 1 });
  root.block({ path: MD, number: '9:0', slaves: [`${SDA}/sda1`, `${SDB}/sdb1`] });
  root.block({ path: LVM, number: '253:0', slaves: [MD], udev: { DM_NAME: 'vg-root' } });
  root.block({ path: NVME, number: '259:0' });
  root.block({ path: 'virtual/block/loop0', number: '7:0', size: 16 });
  root.block({ path: 'virtual/block/loop1', number: '7:1', size: 0 });
});
afterEach(() => root[Symbol.dispose]());

describe('disks', () => {
  const list = (nvmeLogPage: () => Promise<Buffer | number> = async () => -25) =>
    createDisks({ native: { nvmeLogPage }, log: recordingLog(), root: root.path, limitMs: 20 }).list();

  it('are listed with their partitions and what they lie on, the empty ones left out', async () => {
    const disks = await list();
    expect(disks.map(({ node, kind, dependencies }) => [node, kind, dependencies])).toEqual([
      ['/dev/dm-0', 'disk', ['/dev/md0']],
      ['/dev/loop0', 'disk', []],
      ['/dev/md0', 'disk', ['/dev/sda1', '/dev/sdb1']],
      ['/dev/nvme0n1', 'disk', []],
      ['/dev/sda', 'disk', []],
      ['/dev/sda1', 'partition', ['/dev/sda']],
      ['/dev/sdb', 'disk', []],
      ['/dev/sdb1', 'partition', ['/dev/sdb']],
    ]);
  });

  it('have an address if they are hardware', async () => {
    const addresses = (await list()).map(({ node, address }) => [node, address?.bus, address?.serial]);
    expect(addresses).toEqual([
      ['/dev/dm-0', undefined, undefined],
      ['/dev/loop0', undefined, undefined],
      ['/dev/md0', undefined, undefined],
      ['/dev/nvme0n1', 'nvme', null],
      ['/dev/sda', 'sata', 'QEMU_HARDDISK_QM00001'],
      ['/dev/sda1', undefined, undefined],
      ['/dev/sdb', 'sata', null],
      ['/dev/sdb1', undefined, undefined],
    ]);
  });

  it("have the device mapper's name for them, also without udev", async () => {
    root.block({ path: 'virtual/block/dm-1', number: '253:1' });
    root.file('/sys/devices/virtual/block/dm-1/dm/name', 'vg-swap\n');
    const names = (await list())
      .filter(({ alias }) => alias !== null)
      .map(({ node, alias }) => [node, alias]);
    expect(names).toEqual([
      ['/dev/dm-0', 'vg-root'],
      ['/dev/dm-1', 'vg-swap'],
    ]);
  });

  it('are asked for their health if they are NVMe', async () => {
    const page = Buffer.alloc(512);
    page.writeUInt16LE(300, 1);
    page.writeBigUInt64LE(7n, 112);
    page.writeBigUInt64LE(1n, 120);
    const disks = await list(async () => page);
    expect(disks.filter(({ nvmeHealth }) => nvmeHealth !== null)).toMatchObject([
      { node: '/dev/nvme0n1', nvmeHealth: { temperature: 300, powerCycles: (1n << 64n) + 7n } },
    ]);
  });

  it('are listed without it if they do not answer', async () => {
    const disks = await list(() => new Promise(() => {}));
    expect(disks.find(({ node }) => node === '/dev/nvme0n1')).toMatchObject({ nvmeHealth: null });
  });

  it('are none without sysfs', async () => {
    using empty = fakeRoot();
    const disks = createDisks({
      native: { nvmeLogPage: async () => -2 },
      log: recordingLog(),
      root: empty.path,
    });
    expect(await disks.list()).toEqual([]);
    expect(() => disks.statistics()).toThrow(expect.objectContaining({ call: 'open', errno: 2 }));
  });
});

describe('counters', () => {
  const statistics = (text: string) => {
    root.file('/proc/diskstats', text);
    return createDisks({
      native: { nvmeLogPage: async () => -2 },
      log: recordingLog(),
      root: root.path,
    }).statistics();
  };
  const first11 = {
    reads: 1n,
    readMerges: 2n,
    readSectors: 3n,
    readTicks: 4n,
    writes: 5n,
    writeMerges: 6n,
    writeSectors: 7n,
    writeTicks: 8n,
    inFlight: 9n,
    totalTicks: 10n,
    weightedTicks: 11n,
  };
  const discards = { discards: 12n, discardMerges: 13n, discardSectors: 14n, discardTicks: 15n };
  const flushes = { flushes: 16n, flushTicks: 17n };

  it.each([
    ['14 fields', '1 2 3 4 5 6 7 8 9 10 11', first11],
    ['18 fields', '1 2 3 4 5 6 7 8 9 10 11 12 13 14 15', { ...first11, ...discards }],
    ['20 fields', '1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17', { ...first11, ...discards, ...flushes }],
    [
      'more than today',
      '1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18',
      { ...first11, ...discards, ...flushes },
    ],
    ['7 fields', '1 2 3 4', { reads: 1n, readSectors: 2n, writes: 3n, writeSectors: 4n }],
    [
      '64 bits',
      '18446744073709551615 2 3 4',
      { reads: 2n ** 64n - 1n, readSectors: 2n, writes: 3n, writeSectors: 4n },
    ],
  ])('%s', (_what, values, counters) => {
    expect(statistics(` 254       0 vda ${values}\n`)).toEqual([
      { name: 'vda', major: 254, minor: 0, counters },
    ]);
  });

  it('come in the order of the file, and only from lines that are whole', () => {
    const names = statistics(
      '   7 0 loop0 0 0 0 0\n garbage\n 8 0 sda 1 2 3\n 253 0 dm-0 0 0 0 0 0 0 0 0 0 0 0\n',
    );
    expect(names.map(({ name }) => name)).toEqual(['loop0', 'dm-0']);
  });
});

describe('file systems', () => {
  const size: FileSystemSize = { blocks: 1000n, freeBlocks: 400n, availableBlocks: 300n, blockBytes: 4096n };
  const list = (statfs: (path: string) => Promise<FileSystemSize | number> = async () => size) =>
    createFileSystems({ native: { statfs }, log: recordingLog(), root: root.path, limitMs: 20 }).list();

  beforeEach(() => {
    root.file(
      '/proc/self/mountinfo',
      [
        '20 1 253:0 / / rw - ext4 /dev/mapper/vg-root rw',
        '21 20 8:17 / /boot rw - ext4 /dev/sdb1 rw',
        '22 20 7:0 / /snap ro - squashfs /dev/loop0 ro',
        '23 20 99:9 / /gone rw - ext4 /dev/gone rw',
        '',
      ].join('\n'),
    );
  });

  it('are those of block devices, and of types that are wanted without one', async () => {
    root.file(
      '/proc/self/mountinfo',
      '20 1 0:30 / / rw - zfs tank rw\n21 20 8:17 / /boot rw - ext4 /dev/sdb1 rw\n22 20 0:31 / /run rw - tmpfs tmpfs rw\n',
    );
    const systems = createFileSystems({
      native: { statfs: async () => size },
      log: recordingLog(),
      root: root.path,
    });
    const names = async (withoutDevice?: string[]) =>
      (await systems.list(withoutDevice)).map(({ mountPoint }) => mountPoint);
    expect(await names()).toEqual(['/boot']);
    expect(await names(['zfs'])).toEqual(['/boot', '/']);
  });

  it('are named after their devices and lie on the disks at the bottom', async () => {
    const systems = await list();
    expect(
      systems.map(({ name, mountPoint, type, disks }) => [name, mountPoint, type, disks.map((d) => d.node)]),
    ).toEqual([
      ['dm-0', '/', 'ext4', ['/dev/sda1', '/dev/sdb1']],
      ['sdb1', '/boot', 'ext4', ['/dev/sdb1']],
      ['loop0', '/snap', 'squashfs', []],
      ['99:9', '/gone', 'ext4', []],
    ]);
    expect(systems[0]?.disks.map(({ bus, unit, serial }) => [bus, unit, serial])).toEqual([
      ['sata', 0, 'QEMU_HARDDISK_QM00001'],
      ['sata', 1, null],
    ]);
  });

  it('count what is reserved for root apart', async () => {
    expect((await list())[0]?.usage).toEqual({
      usedBytes: 600n * 4096n,
      totalBytes: 900n * 4096n,
      totalBytesPrivileged: 1000n * 4096n,
    });
  });

  it('have no sizes if they do not answer, or do not know', async () => {
    const systems = await list((path) => {
      if (path === '/boot') return new Promise(() => {});
      return Promise.resolve(path === '/gone' ? -5 : size);
    });
    expect(systems.map(({ mountPoint, usage }) => [mountPoint, usage !== null])).toEqual([
      ['/', true],
      ['/boot', false],
      ['/snap', true],
      ['/gone', false],
    ]);
  });

  it('do not keep each other from answering', async () => {
    const many = Array.from(
      { length: 30 },
      (_, index) => `${index} 1 8:${100 + index} / /m${index} rw - xfs /dev/x rw`,
    );
    root.file('/proc/self/mountinfo', many.join('\n'));
    const systems = await list((path) => (path === '/m0' ? new Promise(() => {}) : Promise.resolve(size)));
    expect(systems.filter(({ usage }) => usage === null).map(({ mountPoint }) => mountPoint)).toEqual([
      '/m0',
    ]);
  });
});
