import { describe, expect, it } from 'vitest';
import {
  keysOf,
  OLD_INTERFACE,
  OWN_LEAVES,
  OWN_SUBTREES,
  type PublishedFacts,
  type PublishedVolume,
  removalsOf,
  updatedValue,
  type Vif,
} from '../../../src/protocols/xenstore/keys.ts';

const NOTHING: PublishedFacts = {
  agentVersion: '2.3.4',
  distribution: { id: 'debian', name: 'Debian 12.5', majorVersion: '12', minorVersion: '5' },
  kernelRelease: '6.1.0-18-amd64',
  hostname: 'router',
  memory: null,
  bootTimeSeconds: null,
  vifs: [],
  virtualFunctions: [],
  volumes: [],
  featureBalloon: null,
};

const vif = (more: Partial<Vif> = {}): Vif => ({
  number: 0,
  name: 'enX0',
  mac: null,
  ipv4: [],
  ipv6: [],
  ...more,
});

const volume = (more: Partial<PublishedVolume> = {}): PublishedVolume => ({
  node: '/dev/xvda1',
  sizeBytes: 4096n,
  type: null,
  uuid: null,
  mountPoint: null,
  freeBytes: null,
  xenDevice: null,
  backend: null,
  ...more,
});

/** The keys that the facts add to those of {@link NOTHING}. */
function added(facts: Partial<PublishedFacts>): Record<string, string> {
  const before = keysOf(NOTHING);
  const keys = keysOf({ ...NOTHING, ...facts });
  return Object.fromEntries([...keys].filter(([path, value]) => before.get(path) !== value));
}

describe('keys that XAPI reads (spec/xenstore.md section 5.1)', () => {
  it('are these of every guest', () => {
    expect(Object.fromEntries(keysOf(NOTHING))).toEqual({
      'attr/PVAddons/Installed': '1',
      'attr/PVAddons/MajorVersion': '2',
      'attr/PVAddons/MinorVersion': '3',
      'attr/PVAddons/MicroVersion': '4',
      'attr/PVAddons/BuildVersion': 'chr-agent-2.3.4',
      'data/os_name': 'Debian 12.5',
      'data/os_uname': '6.1.0-18-amd64',
      'data/os_distro': 'debian',
      'data/os_majorver': '12',
      'data/os_minorver': '5',
      'data/host_name_dns': 'router',
    });
  });

  it.each([
    ['0.1.0', ['1', '0', '0', 'chr-agent-0.1.0']],
    ['10.0.7-rc1', ['10', '0', '7', 'chr-agent-10.0.7-rc1']],
    ['unknown', ['1', '0', '0', 'chr-agent-unknown']],
  ])('version %s', (agentVersion, expected) => {
    const keys = keysOf({ ...NOTHING, agentVersion });
    const names = ['MajorVersion', 'MinorVersion', 'MicroVersion', 'BuildVersion'];
    expect(names.map((name) => keys.get(`attr/PVAddons/${name}`))).toEqual(expected);
  });

  it.each<[string, Partial<PublishedFacts>, Record<string, string>]>([
    [
      'a name in a domain',
      { hostname: 'a.example.org' },
      { 'data/host_name_dns': 'a', 'data/domain': 'example.org' },
    ],
    [
      'no version numbers',
      { distribution: { id: 'arch', name: 'Arch Linux', majorVersion: null, minorVersion: null } },
      {
        'data/os_distro': 'arch',
        'data/os_name': 'Arch Linux',
        'data/os_majorver': 'unknown',
        'data/os_minorver': 'unknown',
      },
    ],
    [
      'memory',
      { memory: { totalBytes: 2_097_152, availableBytes: 1_048_575 } },
      { 'data/meminfo_total': '2048', 'data/meminfo_free': '1023' },
    ],
    ['the time of the boot', { bootTimeSeconds: 1_795_560_020 }, { 'data/boot_time': '1795560020' }],
    ['ballooning', { featureBalloon: true }, { 'control/feature-balloon': '1' }],
    ['no ballooning', { featureBalloon: false }, { 'control/feature-balloon': '0' }],
  ])('%s', (_what, facts, expected) => {
    expect(added(facts)).toEqual(expected);
  });
});

describe('addresses (section 5.4)', () => {
  it.each<[string, Vif[], Record<string, string>]>([
    ['an interface without any', [vif()], { 'attr/vif/0/name': 'enX0' }],
    [
      'IPv4 and IPv6, in both forms; the old one has the first IPv4 address only',
      [
        vif({
          number: 3,
          mac: '00:16:3e:00:00:01',
          ipv4: ['10.0.0.2', '10.0.0.3'],
          ipv6: ['fe80::1', '2001:db8::2'],
        }),
      ],
      {
        'attr/vif/3/name': 'enX0',
        'attr/vif/3/mac/0': '00:16:3e:00:00:01',
        'attr/vif/3/ipv4/0': '10.0.0.2',
        'attr/vif/3/ipv4/1': '10.0.0.3',
        'attr/vif/3/ipv6/0': 'fe80::1',
        'attr/vif/3/ipv6/1': '2001:db8::2',
        'attr/eth3/mac/0': '00:16:3e:00:00:01',
        'attr/eth3/ip': '10.0.0.2',
        'attr/eth3/ipv6/0/addr': 'fe80::1',
        'attr/eth3/ipv6/1/addr': '2001:db8::2',
      },
    ],
  ])('%s', (_what, vifs, expected) => {
    expect(added({ vifs })).toEqual(expected);
  });

  it('of functions of a card have a place of their own', () => {
    const virtualFunctions = [vif({ number: 1, ipv4: ['10.0.0.2'], ipv6: ['fe80::1'] })];
    expect(added({ virtualFunctions })).toEqual({
      'xenserver/attr/net-sriov-vf/1/ipv4/0': '10.0.0.2',
      'xenserver/attr/net-sriov-vf/1/ipv6/0': 'fe80::1',
    });
  });
});

describe('disks (section 5.6)', () => {
  it.each<[string, PublishedVolume[], Record<string, string>]>([
    ['nothing known', [volume()], { name: '/dev/xvda1', size: '4096' }],
    [
      'mounted',
      [volume({ uuid: 'aa-bb', type: 'ext4', mountPoint: '/', freeBytes: 7n, backend: 'xvda' })],
      {
        name: '/dev/xvda1(aa-bb)',
        size: '4096',
        free: '7',
        filesystem: 'ext4',
        'mount_points/0': '/',
        'extents/0': 'xvda',
      },
    ],
    [
      'LVM',
      [volume({ type: 'LVM2_member' })],
      { name: '/dev/xvda1', size: '4096', filesystem: 'LVM2_member', 'mount_points/0': '[LVM]' },
    ],
  ])('%s', (_what, volumes, expected) => {
    const keys = Object.entries(expected).map(([name, value]) => [`data/volumes/0/${name}`, value]);
    expect(added({ volumes })).toEqual(Object.fromEntries(keys));
  });

  it('are counted', () => {
    const keys = added({ volumes: [volume(), volume({ node: '/dev/xvdb1' })] });
    expect(keys['data/volumes/1/name']).toBe('/dev/xvdb1');
  });
});

it('every key is one that a later run finds again', () => {
  const keys = keysOf({
    ...NOTHING,
    hostname: 'a.b',
    memory: { totalBytes: 1, availableBytes: 1 },
    bootTimeSeconds: 1,
    featureBalloon: true,
    vifs: [vif({ mac: 'x', ipv4: ['1'], ipv6: ['2'] })],
    virtualFunctions: [vif({ ipv4: ['1'] })],
    volumes: [volume()],
  });
  for (const path of keys.keys()) {
    const isOld = path.startsWith('attr/') && OLD_INTERFACE.test(path.split('/')[1] ?? '');
    const isOwn = OWN_LEAVES.includes(path) || OWN_SUBTREES.some((each) => path.startsWith(`${each}/`));
    expect([path, isOld || isOwn]).toEqual([path, true]);
    expect(path).toMatch(/^[A-Za-z0-9_@/-]+$/);
  }
});

describe('what is removed', () => {
  it.each<[string, string[], string[], string[]]>([
    ['one address of several', ['attr/vif/0/ipv4/1'], ['attr/vif/0/ipv4/0'], ['attr/vif/0/ipv4/1']],
    ['the last of a family', ['attr/vif/0/ipv6/0'], ['attr/vif/0/ipv4/0'], ['attr/vif/0/ipv6']],
    ['an interface', ['attr/vif/1/ipv6/0', 'attr/vif/1/name'], ['attr/vif/0/name'], ['attr/vif/1']],
    ['all of them', ['attr/vif/1/ipv6/0', 'attr/eth1/ip'], ['data/os_name'], ['attr/vif', 'attr/eth1']],
    ['an empty folder', ['attr/vif/2'], ['attr/vif/0/name'], ['attr/vif/2']],
    ['an empty folder that is filled now', ['attr/vif/0'], ['attr/vif/0/name'], []],
    ['never what is the host’s', ['data/domain'], [], ['data/domain']],
    [
      'functions of cards',
      ['xenserver/attr/net-sriov-vf/0/ipv4/0'],
      ['attr/vif/0/name'],
      ['xenserver/attr/net-sriov-vf'],
    ],
  ])('%s', (_what, gone, wanted, expected) => {
    expect([...removalsOf(gone, new Map(wanted.map((path) => [path, ''])))]).toEqual(expected);
  });
});

describe('data/updated (section 5.2)', () => {
  it.each([
    [new Date(2026, 10, 5, 3, 4, 9), 'Thu Nov  5 03:04:09 2026'],
    [new Date(2026, 0, 25, 23, 59, 59), 'Sun Jan 25 23:59:59 2026'],
  ])('%s', (now, expected) => {
    expect(updatedValue(now)).toBe(expected);
  });
});
