/** The mount list (spec qemu-ga.md section 5, "Mount list"). */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { splitDeviceNumber } from '../../../src/guest/linux/device-number.ts';
import { type MountinfoEntry, parseMountinfo } from '../../../src/guest/linux/mountinfo.ts';
import { blockDeviceNumber, deviceMounts, readMounts } from '../../../src/guest/mounts.ts';
import { fakeRoot } from './fake-root.ts';

/** Seen on a Debian 12 guest, with a btrfs, a bind mount of a directory, an overlay and a stick with a space in its name. */
const SEEN = String.raw`22 28 0:21 / /proc rw,nosuid,nodev,noexec,relatime shared:12 - proc proc rw
28 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro
31 28 0:26 / /run/lock rw - tmpfs tmpfs rw,size=5120k
40 28 254:16 / /data ro,noatime shared:33 master:2 - xfs /dev/vdb ro,attr2,inode64
41 28 254:1 /srv/www /var/www rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro
44 28 0:38 /@home /home rw,relatime - btrfs /dev/vdc rw,space_cache=v2,subvol=/@home
45 28 0:38 /@log /var/log rw,relatime - btrfs /dev/vdc rw,space_cache=v2,subvol=/@log
50 28 0:45 / /merged rw,relatime - overlay overlay rw,lowerdir=/l\134\054x,upperdir=/u
52 28 8:17 / /media/my\040stick\011\134\043 rw - vfat /dev/sdb1 rw,codepage=437
60 28 0:50 / /net rw,relatime - nfs4 server:/export rw,vers=4.2
this is no mount
`;

describe('mountinfo', () => {
  const mounts = parseMountinfo(Buffer.from(SEEN).toString('latin1'));

  it('has a mount a line', () => {
    expect(mounts).toHaveLength(10);
    expect(mounts[3]).toEqual({
      id: 40,
      parentId: 28,
      major: 254,
      minor: 16,
      root: '/',
      mountPoint: '/data',
      type: 'xfs',
      source: '/dev/vdb',
      options: ['ro', 'noatime'],
      superOptions: ['ro', 'attr2', 'inode64'],
    });
  });

  it('escapes in octal', () => {
    expect(mounts[8]?.mountPoint).toBe('/media/my stick\t\\#');
  });

  const name = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 12 }).filter((s) => !s.includes('\0'));
  const path = name.map((each) => `/${each}`);
  const number = fc.nat({ max: 0xfffff });
  const entry: fc.Arbitrary<MountinfoEntry> = fc.record({
    id: number,
    parentId: number,
    major: number,
    minor: number,
    root: path,
    mountPoint: path,
    type: fc.constantFrom('ext4', 'fuse.sshfs', 'btrfs'),
    source: fc.oneof(path, fc.constant('')),
    options: fc.constant(['rw', 'noatime']),
    superOptions: fc.array(
      name.filter((each) => !each.includes(',')),
      { minLength: 1, maxLength: 3 },
    ),
  });

  it('is read as the kernel writes it, whatever the names', () => {
    fc.assert(
      fc.property(fc.array(entry), fc.array(fc.constantFrom('shared:1', 'master:7')), (entries, tags) => {
        const text = entries.map((each) => kernelLine(each, tags)).join('');
        expect(parseMountinfo(text)).toEqual(entries);
      }),
    );
  });

  it('never fails', () => {
    fc.assert(fc.property(fc.string({ unit: 'binary' }), (text) => Array.isArray(parseMountinfo(text))));
  });
});

/** One character a byte, as the parser gets it. */
function kernelLine(entry: MountinfoEntry, tags: readonly string[]): string {
  const mangle = (field: string) =>
    Buffer.from(field)
      .toString('latin1')
      .replace(/[ \t\n\\#]/g, (byte) => `\\${byte.charCodeAt(0).toString(8).padStart(3, '0')}`);
  const { id, parentId, major, minor, root, mountPoint, type, source, options, superOptions } = entry;
  const before = [
    id,
    parentId,
    `${major}:${minor}`,
    mangle(root),
    mangle(mountPoint),
    options.join(','),
    ...tags,
  ];
  return `${before.join(' ')} - ${type} ${mangle(source)} ${superOptions.map(mangle).join(',')}\n`;
}

describe('the mounts of devices', () => {
  using root = fakeRoot();
  root.file('/proc/self/mountinfo', SEEN);
  const all = readMounts(root.path);
  const numberOfNode = (path: string) => (path === '/dev/vdc' ? { major: 254, minor: 32 } : null);

  it('are the first of each device, in their order', () => {
    const list = deviceMounts(all, numberOfNode).map(({ mountPoint, major, minor }) => [
      mountPoint,
      major,
      minor,
    ]);
    expect(list).toEqual([
      ['/', 254, 1],
      ['/data', 254, 16],
      ['/home', 254, 32],
      ['/media/my stick\t\\#', 8, 17],
    ]);
  });

  it('have no btrfs whose device is no longer there', () => {
    expect(deviceMounts(all, () => null).map(({ type }) => type)).not.toContain('btrfs');
  });

  it('tell a file system that nothing writes to', () => {
    const readOnly = all.filter((each) => each.readOnly).map(({ mountPoint }) => mountPoint);
    expect(readOnly).toEqual(['/data']);
  });

  it('can be read on this machine', () => {
    expect(readMounts().some(({ mountPoint }) => mountPoint === '/proc')).toBe(true);
  });
});

describe('device numbers', () => {
  it('are split as makedev(3) joins them', () => {
    const part = fc.bigInt({ min: 0n, max: 0xffffffffn });
    fc.assert(
      fc.property(part, part, (major, minor) => {
        const device =
          ((major & 0xfffff000n) << 32n) |
          ((major & 0xfffn) << 8n) |
          ((minor & 0xffffff00n) << 12n) |
          (minor & 0xffn);
        expect(splitDeviceNumber(device)).toEqual({ major: Number(major), minor: Number(minor) });
      }),
    );
  });

  it('come from nodes of block devices only', () => {
    expect(blockDeviceNumber('/dev/null')).toBeNull();
    expect(blockDeviceNumber('/nowhere')).toBeNull();
  });
});
