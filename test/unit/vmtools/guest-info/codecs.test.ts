/** The encoders against what open-vm-tools sent, against the simulated host's decoders, and by properties; spec vmware.md section 6. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { addressBytes } from '../../../../src/protocols/vmtools/guest-info/address.ts';
import {
  encodeDiskJson,
  encodeDiskList,
  reportedDisks,
} from '../../../../src/protocols/vmtools/guest-info/disks.ts';
import { reportedDns } from '../../../../src/protocols/vmtools/guest-info/dns.ts';
import {
  cutAddresses,
  encodeNicsV1,
  encodeNicsV2,
  encodeNicsV3,
  type NicReport,
  primaryAddress,
  reportedNics,
} from '../../../../src/protocols/vmtools/guest-info/nics.ts';
import { encodeOsDetails, osDetails, osNames } from '../../../../src/protocols/vmtools/guest-info/os.ts';
import { reportedRoutes } from '../../../../src/protocols/vmtools/guest-info/routes.ts';
import {
  encodeDouble,
  encodeStatistics,
  type StatisticsSource,
  shortest,
} from '../../../../src/protocols/vmtools/guest-info/statistics.ts';
import { xdrWriter } from '../../../../src/protocols/vmtools/guest-info/xdr.ts';
import { decodeDiskJson, decodeDiskList } from '../../../hosts/vmx/codecs/disks.ts';
import { decodeNics } from '../../../hosts/vmx/codecs/nics.ts';
import { decodeOsDetails } from '../../../hosts/vmx/codecs/os-details.ts';
import { decodeStatistics } from '../../../hosts/vmx/codecs/statistics.ts';
import { NICS, STATISTICS } from './transcripts.ts';

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

describe('XDR', () => {
  it.each([
    [xdrWriter().u32(0x01020304).bool(true), '0102030400000001'],
    [xdrWriter().string('abcde'), '00000005' + '6162636465000000'],
    [xdrWriter().opaque(Buffer.of(1, 2, 3, 4)), '00000004' + '01020304'],
    [xdrWriter().string(''), '00000000'],
    [xdrWriter().chars('ab', 3), '000000610000006200000000'],
    [xdrWriter().chars('abcd', 2), '0000006100000062'],
    [xdrWriter().array([7, 8], (xdr, item) => xdr.u32(item)), '000000020000000700000008'],
    [xdrWriter().optional(null, () => {}), '00000000'],
    [xdrWriter().optional(9, (xdr, item) => xdr.u32(item)), '0000000100000009'],
  ])('%#', (xdr, bytes) => {
    expect(hex(xdr.bytes())).toBe(bytes);
  });
});

describe('addresses', () => {
  it.each([
    ['192.0.2.1', 'c0000201'],
    ['::', '00'.repeat(16)],
    ['::1', `${'00'.repeat(15)}01`],
    ['2001:db8::10', '20010db8000000000000000000000010'],
    ['1:2:3:4:5:6:7:8', '00010002000300040005000600070008'],
    ['fe80::1%eth0', 'fe800000000000000000000000000001'],
    ['::ffff:192.0.2.1', '00000000000000000000ffffc0000201'],
    ['1::', `0001${'00'.repeat(14)}`],
  ])('%s', (text, bytes) => {
    expect(addressBytes(text)?.toString('hex')).toBe(bytes);
  });

  it.each(['', 'name', '1.2.3', '1::2::3', '12345::', '1.2.3.256'])('%j is none', (text) => {
    expect(addressBytes(text)).toBeNull();
  });

  it('of all kinds', () => {
    fc.assert(
      fc.property(fc.ipV6(), (text) => {
        expect(addressBytes(text)).toHaveLength(16);
      }),
    );
  });
});

const ROUTES = {
  ipv4: [
    { interface: 'nic0', destination: '0.0.0.0', gateway: '192.0.2.1', mask: '0.0.0.0', flags: 3, metric: 0 },
    {
      interface: 'nic0',
      destination: '192.0.2.0',
      gateway: '0.0.0.0',
      mask: '255.255.255.0',
      flags: 1,
      metric: 0,
    },
  ],
  ipv6: [
    { interface: 'nic0', destination: '2001:db8::', prefixLength: 64, nextHop: '::', flags: 1, metric: 256 },
    { interface: 'lo', destination: '::1', prefixLength: 128, nextHop: '::', flags: 0x80200001, metric: 0 },
    {
      interface: 'nic0',
      destination: '2001:db8::10',
      prefixLength: 128,
      nextHop: '::',
      flags: 0x80200001,
      metric: 0,
    },
    { interface: 'nic0', destination: 'ff00::', prefixLength: 8, nextHop: '::', flags: 1, metric: 256 },
    { interface: 'far0', destination: 'ff00::', prefixLength: 8, nextHop: '::', flags: 1, metric: 256 },
  ],
};
const INTERFACES = [
  { name: 'far0', hardwareAddress: '02:00:5e:00:53:02', addresses: [] },
  {
    name: 'nic0',
    hardwareAddress: '02:00:5e:00:53:01',
    addresses: [
      { address: '192.0.2.10', prefixLength: 24 },
      { address: '2001:db8::10', prefixLength: 64 },
    ],
  },
];
const ALL = { ipv4: 100, ipv6: 100 };

function report(): NicReport {
  const nics = reportedNics(INTERFACES);
  return {
    nics,
    routes: reportedRoutes(ROUTES, ['far0', 'nic0'], ALL),
    dns: reportedDns('guest.example', { servers: ['10.255.255.53'], search: [] }),
  };
}

describe('the network (6.7)', () => {
  it('is what open-vm-tools sends', () => {
    const message = Buffer.concat([Buffer.from('SetGuestInfo  10 '), encodeNicsV3(report())]);
    expect(hex(message)).toBe(hex(NICS));
  });

  it('has at most 16 interfaces, none without an Ethernet address', () => {
    const many = Array.from({ length: 20 }, (_, index) => ({
      name: `eth${index}`,
      hardwareAddress: index === 3 ? null : `02:00:00:00:00:${(16 + index).toString(16)}`.toUpperCase(),
      addresses: [{ address: 'rubbish', prefixLength: 1 }],
    }));
    const nics = reportedNics([{ name: 'ib0', hardwareAddress: '00:'.repeat(20), addresses: [] }, ...many]);
    expect(nics).toHaveLength(16);
    expect(nics.map(({ name }) => name)).not.toContain('eth3');
    expect(nics[0]).toEqual({ name: 'eth0', mac: '02:00:00:00:00:10', addresses: [] });
    expect(decodeNics(encodeNicsV3({ nics, routes: [], dns: null })).nics).toHaveLength(16);
  });

  it('is read by the host as it was meant', () => {
    const address = fc.oneof(
      fc.record({ address: fc.ipV4(), prefixLength: fc.integer({ min: 0, max: 32 }) }),
      fc.record({ address: fc.ipV6(), prefixLength: fc.integer({ min: 0, max: 128 }) }),
    );
    const nic = fc.record({
      name: fc.string(),
      hardwareAddress: fc.constant('02:00:5e:00:53:01'),
      addresses: fc.array(address, { maxLength: 20 }),
    });
    fc.assert(
      fc.property(
        fc.array(nic, { maxLength: 16 }),
        fc.string(),
        fc.array(fc.domain()),
        (nics, host, search) => {
          const dns = reportedDns(host, { servers: ['192.0.2.1', 'x', '::1'], search });
          const read = decodeNics(encodeNicsV3({ nics: reportedNics(nics), routes: [], dns }));
          expect(read.nics.map(({ ips }) => ips.map(({ prefixLength }) => prefixLength))).toEqual(
            nics.map(({ addresses }) => addresses.map(({ prefixLength }) => prefixLength)),
          );
          expect(read.dns?.host).toBe(Buffer.from(host).toString());
          expect(read.dns?.servers.map(({ type }) => type)).toEqual([1, 2]);
          expect(read.dns?.searchSuffixes.length).toBeLessThanOrEqual(10);
        },
      ),
    );
  });

  it('is cut to 64 addresses in all for older hosts', () => {
    const address = { bytes: Buffer.of(192, 0, 2, 1), prefixLength: 24 };
    const nic = (count: number) => ({
      name: 'x',
      mac: '02:00:5e:00:53:01',
      addresses: Array(count).fill(address),
    });
    const cut = cutAddresses({ nics: [nic(60), nic(10), nic(3)], routes: [], dns: null });
    expect(cut.nics.map(({ addresses }) => addresses.length)).toEqual([60, 4, 0]);
  });

  it('in version 2', () => {
    const bytes = encodeNicsV2(report());
    const text = (at: number, characters: number) =>
      Array.from({ length: characters }, (_, index) =>
        String.fromCharCode(bytes.readUInt32BE(at + 4 * index)),
      )
        .join('')
        .replace(/\0+$/, '');
    expect(hex(bytes.subarray(0, 12))).toBe('000000020000000100000002');
    const second = 12 + 18 * 4 + 4;
    expect(text(12, 18)).toBe('02:00:5e:00:53:02');
    expect(bytes.readUInt32BE(12 + 18 * 4)).toBe(0);
    expect(text(second, 18)).toBe('02:00:5e:00:53:01');
    const first = second + 18 * 4;
    expect(hex(bytes.subarray(first, first + 12))).toBe('000000020000000000000000');
    expect(text(first + 12, 64)).toBe('192.0.2.10');
    expect(text(first + 12 + 256, 64)).toBe('24');
    expect(text(first + 12 + 2 * 256 + 8, 64)).toBe('2001:db8::10');
    expect(bytes).toHaveLength(first + 4 + 2 * (8 + 2 * 256));
    expect(bytes.readUInt32BE(first + 4 + 8 + 512)).toBe(1);
  });

  it('in version 1: as open-vm-tools sends it, but for what its memory held between', () => {
    const bytes = encodeNicsV1(report());
    expect(bytes).toHaveLength(2436);
    expect(bytes.readUInt32LE()).toBe(2);
    const second = bytes.subarray(4 + 152);
    expect(second.readUInt32LE()).toBe(1);
    expect(second.toString('latin1', 4, 23)).toBe('02:00:5e:00:53:01\0\0');
    expect(second.toString('latin1', 23, 39)).toBe('192.0.2.10'.padEnd(16, '\0'));
    expect(bytes.readUInt32LE(4)).toBe(0);
  });

  it.each([
    [[], null],
    [['2001:db8::1', '192.0.2.1'], '192.0.2.1'],
    [['fe80::1', '2001:db8::1'], '2001:db8::1'],
    [['fe80::1'], null],
  ])('the primary address of %j: %s', (addresses, primary) => {
    const nic = {
      name: 'x',
      hardwareAddress: null,
      addresses: addresses.map((address) => ({ address, prefixLength: 1 })),
    };
    expect(primaryAddress([nic])).toBe(primary);
  });

  it('routes: limits, none of what is down or of other interfaces', () => {
    expect(reportedRoutes(ROUTES, ['nic0'], { ipv4: 1, ipv6: 0 })).toMatchObject([
      { prefixLength: 0, nic: 0 },
    ]);
    expect(reportedRoutes(ROUTES, [], ALL)).toEqual([]);
    const down = { ...ROUTES, ipv4: ROUTES.ipv4.map((route) => ({ ...route, flags: 2 })) };
    expect(reportedRoutes(down, ['nic0'], ALL).every(({ destination }) => destination.length === 16)).toBe(
      true,
    );
    const many = { ipv4: Array(150).fill(ROUTES.ipv4[0]), ipv6: Array(150).fill(ROUTES.ipv6[0]) };
    expect(reportedRoutes(many, ['nic0'], ALL)).toHaveLength(100);
  });

  it.each([
    ['guest', [], '', []],
    ['guest.example.org', [], 'example.org', ['example.org']],
    ['guest.example.org', ['a.example', 'b.example'], 'a.example', ['a.example', 'b.example']],
  ])('the domain of %s with %j: %s', (host, search, domain, searchSuffixes) => {
    expect(reportedDns(host, { servers: [], search })).toEqual({ host, domain, servers: [], searchSuffixes });
  });
});

describe('disks (6.6)', () => {
  const usage = { usedBytes: 30n, totalBytes: 90n, totalBytesPrivileged: 100n };
  const mounted = [
    { name: 'sda1', mountPoint: '/', type: 'ext4', usage },
    { name: 'loop0', mountPoint: '/snap', type: 'squashfs', usage },
    { name: 'sdc', mountPoint: '/hung', type: 'xfs', usage: null },
    { name: 'dm-0', mountPoint: '/daten/ü', type: 'btrfs', usage },
  ];
  const none = () => [];

  it('as JSON, to the byte', () => {
    expect(encodeDiskJson(reportedDisks(mounted, false, none))).toBe(
      '{\n"version":"1",\n"disks":[\n' +
        '{"name":"Lw==","free":"60","size":"100","fstype":"ext4"},\n' +
        '{"name":"L2RhdGVuL8O8","free":"60","size":"100","fstype":"btrfs"}\n]}',
    );
    expect(encodeDiskJson([])).toBe('{\n"version":"1",\n"disks":[\n]}');
  });

  it('with the disks of the host', () => {
    const devicesOf = (name: string) => (name === 'dm-0' ? ['scsi0:1', 'nvme0:0'] : ['scsi0:0']);
    expect(encodeDiskJson(reportedDisks(mounted, false, devicesOf))).toBe(
      '{\n"version":"1",\n"disks":[\n' +
        '{"name":"Lw==","free":"60","size":"100","fstype":"ext4","devices":["scsi0:0"]},\n' +
        '{"name":"L2RhdGVuL8O8","free":"60","size":"100","fstype":"btrfs","devices":["scsi0:1","nvme0:0"]}\n]}',
    );
  });

  it('with what is reserved', () => {
    expect(reportedDisks(mounted, true, none)[0]).toMatchObject({ freeBytes: 70n, sizeBytes: 100n });
  });

  it('as a list', () => {
    const bytes = encodeDiskList(reportedDisks(mounted, false, none));
    expect(bytes).toHaveLength(1 + 2 * 116 + 2);
    expect(hex(bytes.subarray(0, 18))).toBe('02' + '3c00000000000000' + '6400000000000000' + '2f');
  });

  it('are read by the host as they were meant', () => {
    const disk = fc.record({
      mountPoint: fc
        .string({ unit: 'grapheme', maxLength: 20 })
        .map((text) => `/${text.replaceAll('\0', '')}`),
      type: fc.constantFrom('ext4', 'xfs'),
      freeBytes: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      sizeBytes: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      devices: fc.constantFrom([], ['scsi0:0', 'sata1:2']),
    });
    fc.assert(
      fc.property(fc.array(disk, { maxLength: 300 }), (disks) => {
        const wanted = disks.map(({ mountPoint, type, devices, ...sizes }) => ({
          name: mountPoint,
          fstype: type,
          ...sizes,
          ...(devices.length > 0 && { devices }),
        }));
        expect(decodeDiskJson(encodeDiskJson(disks))).toEqual(wanted);
        const list = decodeDiskList(encodeDiskList(disks));
        expect(list.map(({ sizeBytes }) => sizeBytes)).toEqual(
          disks.slice(0, 255).map(({ sizeBytes }) => sizeBytes),
        );
      }),
      { numRuns: 30 },
    );
  });
});

describe('the system (6.4, 6.5)', () => {
  const os = (release: Record<string, string>, kernelRelease = '6.1.0', machine = 'x86_64') => ({
    kernelRelease,
    machine,
    release: new Map(Object.entries(release)),
  });
  const DEBIAN = os({
    ID: 'debian',
    PRETTY_NAME: 'Debian GNU/Linux 12 (bookworm)',
    NAME: 'Debian GNU/Linux',
    VERSION_ID: '12',
    VERSION: '12 (bookworm)',
  });

  it.each([
    [DEBIAN, 'debian12-64'],
    [os({ ID: 'ubuntu', VERSION_ID: '24.04' }), 'ubuntu-64'],
    [os({ ID: 'rhel', VERSION_ID: '9.4' }), 'rhel9-64'],
    [os({ ID: 'centos', VERSION_ID: '9' }), 'centos9-64'],
    [os({ ID: 'rocky', VERSION_ID: '9.4' }), 'rockylinux-64'],
    [os({ ID: 'sles', VERSION_ID: '15.6' }), 'sles15-64'],
    [os({ ID: 'amzn', VERSION_ID: '2' }), 'amazonlinux2-64'],
    [os({ ID: 'amzn', VERSION_ID: '2023' }), 'amazonlinux3-64'],
    [os({ ID: 'debian' }, '5.10.0'), 'other5xlinux-64'],
    [os({ ID: 'constructor' }), 'other6xlinux-64'],
    [os({}, '2.6.32', 'i686'), 'other26xlinux'],
    [os({ ID: 'ubuntu' }, '6.1.0', 'aarch64'), 'arm-ubuntu-64'],
    [os({}, 'strange'), 'otherlinux-64'],
  ])('%# is %s', (each, shortName) => {
    expect(osNames(each).shortName).toBe(shortName);
  });

  it('has a full name', () => {
    expect(osNames(DEBIAN).fullName).toBe(
      'Linux 6.1.0 Debian GNU/Linux 12 (bookworm) Debian GNU/Linux 12 12 (bookworm)',
    );
    expect(osNames(os({})).fullName).toBe('Linux 6.1.0');
  });

  it('has details in their order', () => {
    expect(osDetails(DEBIAN)).toBe(
      "architecture='X86' bitness='64' distroAddlVersion='12 (bookworm)' distroName='Debian GNU/Linux' distroVersion='12' " +
        "familyName='Linux' kernelVersion='6.1.0' prettyName='Debian GNU/Linux 12 (bookworm)'",
    );
    expect(osDetails(os({ BUILD_ID: '7', CPE_NAME: "cpe:/o'x" }, '6', 'armv7l'))).toBe(
      "architecture='Arm' bitness='32' buildNumber='7' cpeString='cpe:/ox' distroName='Linux' familyName='Linux' " +
        "kernelVersion='6' prettyName='Linux'",
    );
  });

  it('is read by the host as it was meant, however long', () => {
    const text = fc.string({ unit: 'binary', maxLength: 700 });
    fc.assert(
      fc.property(text, text, text, (name, version, pretty) => {
        const each = os({ NAME: name, VERSION: version, PRETTY_NAME: pretty });
        const names = osNames(each);
        const read = decodeOsDetails(encodeOsDetails(names, osDetails(each)));
        expect(read.shortName).toBe('other6xlinux-64');
        expect(read.details.get('architecture')).toBe('X86');
      }),
      { numRuns: 30 },
    );
  });
});

describe('statistics (6.8)', () => {
  /** The values behind the transcript. */
  const SECOND: StatisticsSource = {
    atMs: 1_000,
    pageSizeBytes: 4096,
    presentKib: 0x017ffe78,
    totalKib: 0x0178a464,
    freeKib: 0x01265c78,
    availableKib: 0x01517da0,
    activeFileKib: 0x001f56dc,
    swapFreeKib: 0,
    slabReclaimableKib: 0x00059814,
    buffersKib: 0x42e0,
    cachedKib: 0x002a317c,
    hugePageSizeKib: 2048,
    hugePagesTotal: 0,
    pageIns: 4,
    pageOuts: 100,
    contextSwitches: 5371,
    runQueue: 8,
    disksInFlight: 0,
    disksWaitedMs: null,
  };
  const FIRST = { ...SECOND, atMs: 0, pageIns: 0, pageOuts: 100, contextSwitches: 0 };

  it('are what open-vm-tools sends', () => {
    const value = encodeStatistics(SECOND, FIRST);
    // the host reads it; the differences can be seen there
    expect(decodeStatistics(value)).toEqual(decodeStatistics(STATISTICS.subarray('SetGuestInfo  8 '.length)));
    expect(hex(Buffer.concat([Buffer.from('SetGuestInfo  8 '), value]))).toBe(hex(STATISTICS));
  });

  it('rates are not known at first, nor from a clock that stood still', () => {
    const rates = (before: StatisticsSource | null) =>
      decodeStatistics(encodeStatistics({ ...SECOND, disksWaitedMs: 50 }, before))
        .items.filter(({ valueType }) => valueType === 11)
        .map(({ value }) => value);
    expect(rates(null)).toEqual([undefined, undefined, undefined, undefined]);
    expect(rates({ ...FIRST, atMs: 1_000 })).toEqual([undefined, undefined, undefined, undefined]);
    expect(rates({ ...FIRST, disksWaitedMs: 0 })).toEqual([4, 0, 5371, 0.05]);
    // a disk was taken out
    expect(rates({ ...FIRST, disksWaitedMs: 80 })?.[3]).toBe(0);
  });

  it('leave out what is not known', () => {
    const bare: StatisticsSource = {
      atMs: 0,
      pageSizeBytes: 4096,
      presentKib: null,
      totalKib: 1000,
      freeKib: null,
      availableKib: null,
      activeFileKib: null,
      swapFreeKib: null,
      slabReclaimableKib: null,
      buffersKib: null,
      cachedKib: null,
      hugePageSizeKib: null,
      hugePagesTotal: null,
      pageIns: null,
      pageOuts: null,
      contextSwitches: null,
      runQueue: null,
      disksInFlight: null,
      disksWaitedMs: null,
    };
    const { items, legacy } = decodeStatistics(encodeStatistics(bare, null));
    expect(items).toHaveLength(20);
    expect(items.filter(({ value }) => value !== undefined).map(({ id }) => id)).toEqual([6, 10, 13, 60]);
    expect(legacy).toEqual({ memTotalKib: 1000n, hugePagesTotal: 0n });
  });

  it.each([
    [0, ''],
    [1, '01'],
    [255, 'ff'],
    [256, '0001'],
    [65_536, '00000100'],
    [2 ** 32, '0000000001000000'],
  ])('%d in the fewest bytes: %s', (value, bytes) => {
    expect(hex(shortest(value))).toBe(bytes);
  });

  it.each([
    [0, ''],
    [1.5, '0000c03f'],
    [0.1, '9a9999999999b93f'],
  ])('%d as a double: %s', (value, bytes) => {
    expect(hex(encodeDouble(value))).toBe(bytes);
  });

  it('are read by the host as they were meant', () => {
    const count = fc.option(fc.nat(), { nil: null });
    fc.assert(
      fc.property(
        fc.nat(),
        count,
        count,
        fc.double({ noNaN: true, min: 0, max: 1e9 }),
        (total, free, waited, more) => {
          const before = { ...FIRST, totalKib: total, freeKib: free, disksWaitedMs: waited };
          const now = { ...before, atMs: 1_000, disksWaitedMs: waited === null ? null : waited + more };
          const known = new Map(
            decodeStatistics(encodeStatistics(now, before)).items.map(({ id, value }) => [id, value]),
          );
          expect(known.get(60)).toBe(total);
          expect(known.get(4)).toBe(free ?? undefined);
          if (waited === null) expect(known.get(63)).toBeUndefined();
          else expect(known.get(63)).toBeCloseTo((waited + more - waited) / 1000, 9);
        },
      ),
    );
  });
});
