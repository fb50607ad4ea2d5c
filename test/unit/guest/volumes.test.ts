import { describe, expect, it } from 'vitest';
import type { FileSystem } from '../../../src/guest/filesystems.ts';
import { volumes } from '../../../src/guest/volumes.ts';
import { xenVifNumber } from '../../../src/guest/xen-devices.ts';
import { fakeRoot } from './fake-root.ts';

const mounted = (name: string, mountPoint: string): FileSystem => ({
  name,
  mountPoint,
  type: 'ext4',
  usage: { usedBytes: 300n, totalBytes: 900n, totalBytesPrivileged: 1000n },
  disks: [],
});

describe('volumes', () => {
  it('are the partitions of real disks, and disks that are mounted whole', () => {
    using root = fakeRoot();
    const disk = (name: string, number: number, minor: number) => {
      root.block({ path: `vbd-${number}/block/${name}`, number: `202:${minor}`, size: 4096 });
      root.file(`/sys/devices/vbd-${number}/nodename`, `device/vbd/${number}\n`);
      root.link(`/sys/devices/vbd-${number}/block/${name}/device`, `/sys/devices/vbd-${number}`);
    };
    disk('xvdb', 51728, 16);
    disk('xvda', 51712, 0);
    disk('xvdc', 51744, 32);
    root.block({
      path: 'vbd-51712/block/xvda/xvda1',
      number: '202:1',
      size: 2048,
      partition: 1,
      udev: { ID_FS_TYPE: 'ext4', ID_FS_UUID: 'aa-bb' },
    });
    root.block({
      path: 'vbd-51712/block/xvda/xvda2',
      number: '202:2',
      size: 1024,
      partition: 2,
      udev: { ID_FS_TYPE: 'LVM2_member', ID_FS_UUID: 'lvm' },
    });
    root.block({ path: 'virtual/block/loop0', number: '7:0', size: 4096 });
    const found = volumes(
      [mounted('xvda1', '/'), mounted('xvdb', '/srv'), mounted('loop0', '/mnt')],
      root.path,
    );
    expect(found).toEqual([
      {
        node: '/dev/xvda1',
        sizeBytes: 1_048_576n,
        type: 'ext4',
        uuid: 'aa-bb',
        mountPoint: '/',
        freeBytes: 700n,
        xenDevice: 'device/vbd/51712',
      },
      {
        node: '/dev/xvda2',
        sizeBytes: 524_288n,
        type: 'LVM2_member',
        uuid: 'lvm',
        mountPoint: null,
        freeBytes: null,
        xenDevice: 'device/vbd/51712',
      },
      {
        node: '/dev/xvdb',
        sizeBytes: 2_097_152n,
        type: 'ext4',
        uuid: null,
        mountPoint: '/srv',
        freeBytes: 700n,
        xenDevice: 'device/vbd/51728',
      },
    ]);
  });

  it('are none on a machine without sysfs', () => {
    using root = fakeRoot();
    expect(volumes([mounted('sda1', '/')], root.path)).toEqual([]);
  });
});

describe("Xen's number of an interface", () => {
  it.each([
    ['device/vif/3\n', 3],
    ['device/vif/12', 12],
    ['device/vbd/3\n', null],
    ['', null],
  ])('%j', (nodeName, expected) => {
    using root = fakeRoot();
    root.file('/sys/class/net/enX0/device/nodename', nodeName);
    expect(xenVifNumber('enX0', root.path)).toBe(expected);
  });

  it('is none for other kinds', () => {
    using root = fakeRoot();
    expect(xenVifNumber('eth0', root.path)).toBeNull();
  });
});
