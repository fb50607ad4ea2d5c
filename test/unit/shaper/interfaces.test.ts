import { describe, expect, it } from 'vitest';
import type { Link } from '../../../src/guest/linux/netlink.ts';
import {
  type HardwareEvidence,
  kernelNamesParents,
  matchesGlob,
  selectInterface,
} from '../../../src/shaper/interfaces.ts';

const link = (more: Partial<Link>): Link => ({
  index: 2,
  name: 'eth0',
  hardwareType: 1,
  flags: 0x1003,
  mtu: 1500,
  hardwareAddress: '02:00:00:00:00:01',
  statistics: null,
  kind: null,
  parentDevice: null,
  ...more,
});
const modern: HardwareEvidence = { kernelNamesParents: true, hasSysfsDevice: () => null };
const virtio = link({ parentDevice: 'virtio2' });
const bridge = link({ name: 'br0', kind: 'bridge' });

describe('which interfaces are limited', () => {
  it.each<[string, Link, string[], string]>([
    ['a virtio NIC', virtio, ['*'], 'limited'],
    ['a slave of a bond', link({ parentDevice: '0000:00:03.0', flags: 0x1803 }), ['*'], 'limited'],
    ['a NIC whose driver has a kind', link({ parentDevice: 'vmbus_1', kind: 'netvsc' }), ['*'], 'limited'],
    ['a NIC that no pattern names', virtio, ['ens*'], 'excluded'],
    ['a NIC when there is no pattern', virtio, [], 'excluded'],
    ['a bridge', bridge, ['*'], 'not concerned'],
    ['a bond', link({ name: 'bond0', kind: 'bond' }), ['*', 'bond*'], 'not concerned'],
    ['a VLAN', link({ name: 'eth0.5', kind: 'vlan' }), ['*'], 'not concerned'],
    ['a tunnel', link({ name: 'wg0', kind: 'wireguard', hardwareType: 65_534 }), ['*'], 'not concerned'],
    ['a veth', link({ name: 'veth0', kind: 'veth' }), ['*'], 'not concerned'],
    ['a virtual one that is named', bridge, ['br0'], 'limited'],
    ['the loopback', link({ name: 'lo', flags: 0x49, hardwareType: 772 }), ['*', 'lo'], 'not concerned'],
  ])('%s', (_what, one, patterns, selection) => {
    expect(selectInterface(one, patterns, modern)).toBe(selection);
  });

  it.each<[string, Link, boolean | null, string]>([
    ['sysfs knows a device', link({}), true, 'limited'],
    ['sysfs knows none', link({}), false, 'not concerned'],
    ['in another namespace, Ethernet without a kind', link({}), null, 'limited'],
    ['in another namespace, a veth', link({ kind: 'veth' }), null, 'not concerned'],
    ['in another namespace, a tunnel', link({ hardwareType: 65_534 }), null, 'not concerned'],
  ])('before Linux 5.14: %s', (_what, one, hasDevice, selection) => {
    const evidence = { kernelNamesParents: false, hasSysfsDevice: () => hasDevice };
    expect(selectInterface(one, ['*'], evidence)).toBe(selection);
  });
});

describe('globs', () => {
  it.each([
    ['eth0', '*', true],
    ['eth0', 'eth?', true],
    ['eth10', 'eth?', false],
    ['eth1', 'eth[0-2]', true],
    ['eth3', 'eth[!0-2]', true],
    ['eth1', 'eth[!0-2]', false],
    ['eth0.5', 'eth0.5', true],
    ['eth0x5', 'eth0.5', false],
    ['a(b', 'a(b', true],
    ['a]b', 'a]b', true],
    ['a[b', 'a[b', true],
    ['xeth0', 'eth*', false],
  ])('%s %s: %s', (name, pattern, matches) => {
    expect(matchesGlob(name, pattern)).toBe(matches);
  });
});

it.each([
  ['5.14.0-427.el9', true],
  ['5.10.0-28-amd64', false],
  ['6.1.0', true],
  ['4.18.0', false],
  ['odd', false],
])('kernel %s names parents: %s', (release, named) => {
  expect(kernelNamesParents(release)).toBe(named);
});
