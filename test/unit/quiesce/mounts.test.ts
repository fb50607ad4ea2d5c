// Which file systems are frozen, and in which order: spec qemu-ga.md section 5; issue 5 item 2.
import { mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { splitDeviceNumber } from '../../../src/guest/linux/device-number.ts';
import { parseMountinfo } from '../../../src/guest/linux/mountinfo.ts';
import { freezeTargets } from '../../../src/quiesce/mounts.ts';
import { devicesBelow } from '../../../src/quiesce/stacking.ts';

const none = () => new Set<string>();

function targets(mountinfo: string, only?: string[], below: (number: string) => ReadonlySet<string> = none) {
  const mounts = parseMountinfo(mountinfo).map((entry) => ({
    ...entry,
    readOnly: entry.superOptions.includes('ro'),
  }));
  return freezeTargets(mounts, only, below);
}

const MACHINE = `\
21 1 253:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
22 21 0:20 / /proc rw - proc proc rw
23 21 0:21 / /run rw - tmpfs tmpfs rw
24 21 253:15 / /boot/efi rw - vfat /dev/vda15 rw
25 21 253:2 / /data rw - xfs /dev/vda2 rw
26 21 253:2 /sub /srv/sub ro - xfs /dev/vda2 rw
27 21 7:0 / /snap/core ro - squashfs /dev/loop0 ro
28 21 253:3 / /backup ro - ext4 /dev/vda3 ro
29 21 0:44 / /net rw - nfs4 server:/x rw
30 21 0:45 / /var/lib/docker/overlay rw - overlay overlay rw
31 21 253:1 /home /mnt/home rw - ext4 /dev/vda1 rw
32 21 8:1 / /usb rw - exfat /dev/sda1 rw
`;

describe('freeze targets', () => {
  it('real and writable ones, each device once, in reverse mount order', () => {
    expect(targets(MACHINE)).toEqual([
      { major: 253, minor: 2, mountPoints: ['/data', '/srv/sub'], showsDevice: true },
      { major: 253, minor: 1, mountPoints: ['/', '/mnt/home'], showsDevice: true },
    ]);
  });

  it.each([
    [[], []],
    [['/nowhere', '/run', '/boot/efi', '/backup'], []],
    [['/'], ['/']],
    [['/data/'], []],
    [
      ['/', '/data'],
      ['/data', '/'],
    ],
    [
      ['/mnt/home', '/srv/sub'],
      ['/srv/sub', '/mnt/home'],
    ],
    [['/mnt/home', '/'], ['/']],
  ])('of %j: %j', (only, expected) => {
    expect(targets(MACHINE, only).map(({ mountPoints: [first] }) => first)).toEqual(expected);
  });

  it('what lies upon another one comes first, whatever the mount order', () => {
    const mountinfo = `\
1 0 7:1 / /top rw - ext4 /dev/loop1 rw
2 0 7:0 / /upper rw - ext4 /dev/loop0 rw
3 0 253:1 / /other rw - ext4 /dev/vda1 rw
4 0 253:2 / /lower rw - ext4 /dev/vda2 rw
`;
    const stack: Record<string, string[]> = { '7:1': ['7:0', '253:2'], '7:0': ['253:2'] };
    const order = targets(mountinfo, undefined, (number) => new Set(stack[number]));
    expect(order.map(({ mountPoints: [first] }) => first)).toEqual(['/top', '/upper', '/lower', '/other']);
  });
});

describe('devices below', () => {
  let root: string;
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'chr-agent-stacking-'));
    mkdirSync(join(root, 'sys/dev/block'), { recursive: true });
  });
  afterEach(() => rmSync(root, { recursive: true }));

  function device(number: string, path: string, files: Record<string, string> = {}): void {
    const directory = join(root, 'sys/devices', path);
    mkdirSync(directory, { recursive: true });
    writeFileSync(join(directory, 'dev'), `${number}\n`);
    for (const [name, content] of Object.entries(files)) {
      mkdirSync(join(directory, name, '..'), { recursive: true });
      writeFileSync(join(directory, name), content);
    }
    symlinkSync(directory, join(root, 'sys/dev/block', number));
  }

  it('a partition: its disk; device mapper: its slaves; a loop device: where its image is', () => {
    const image = join(root, 'image');
    writeFileSync(image, '');
    const { major, minor } = splitDeviceNumber(statSync(image, { bigint: true }).dev);
    device('8:0', 'sda');
    device('8:1', 'sda/sda1', { partition: '1\n' });
    device('7:0', 'loop0', { 'loop/backing_file': `${image}\n` });
    device('252:0', 'dm-0');
    mkdirSync(join(root, 'sys/devices/dm-0/slaves'));
    symlinkSync(join(root, 'sys/devices/sda/sda1'), join(root, 'sys/devices/dm-0/slaves/sda1'));
    symlinkSync(join(root, 'sys/devices/loop0'), join(root, 'sys/devices/dm-0/slaves/loop0'));
    expect(devicesBelow('8:0', root)).toEqual(new Set());
    expect(devicesBelow('8:1', root)).toEqual(new Set(['8:0']));
    expect(devicesBelow('7:0', root)).toEqual(new Set([`${major}:${minor}`]));
    expect(devicesBelow('252:0', root)).toEqual(new Set(['8:1', '8:0', '7:0', `${major}:${minor}`]));
    expect(devicesBelow('9:9', root)).toEqual(new Set());
  });
});
