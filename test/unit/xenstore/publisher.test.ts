import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { FileSystem } from '../../../src/guest/filesystems.ts';
import { createFreezeGate, type FreezeGateControl } from '../../../src/guest/freeze-gate.ts';
import type { NetworkInterface } from '../../../src/guest/network.ts';
import type { PublishedGuest } from '../../../src/protocols/xenstore/collector.ts';
import {
  type Publisher,
  type PublisherOptions,
  startPublisher,
} from '../../../src/protocols/xenstore/publisher.ts';
import { type FakeXenstore, fakeXenstore } from '../../support/fake-xenstore.ts';
import { recordingLog } from '../../support/quiet-log.ts';

function networkInterface(
  name: string,
  addresses: string[],
  hardwareAddress = '00:16:3e:00:00:01',
): NetworkInterface {
  return {
    index: 2,
    name,
    hardwareAddress,
    addresses: addresses.map((address) => ({
      family: address.includes(':') ? 'ipv6' : 'ipv4',
      address,
      prefixLength: 24,
      label: name,
      scope: 'global',
    })),
    statistics: null,
    up: true,
    running: true,
    loopback: false,
    mtuBytes: 1500,
  };
}

let store: FakeXenstore;
let gate: FreezeGateControl;
let log: ReturnType<typeof recordingLog>;
let publisher: Publisher | null;
let guest: PublishedGuest;
let interfaces: NetworkInterface[];
let availableBytes: number;
/** How often the guest was asked. */
let questions: number;
let fileSystems: () => Promise<FileSystem[]>;
const ticks = new Set<() => void>();
const networkListeners = new Set<() => void>();

function listen(set: Set<() => void>) {
  return (listener: () => void) => {
    set.add(listener);
    return () => void set.delete(listener);
  };
}

beforeEach(() => {
  gate = createFreezeGate();
  log = recordingLog();
  publisher = null;
  interfaces = [networkInterface('lo', ['127.0.0.1']), networkInterface('enX0', ['10.0.0.2', 'fe80::1'])];
  availableBytes = 1024 * 1000;
  questions = 0;
  fileSystems = async () => [];
  guest = {
    networkInterfaces: () => {
      questions += 1;
      return interfaces;
    },
    xenVifNumber: (name) => (name.startsWith('enX') ? Number(name.slice(3)) : null),
    os: () => ({ kernelRelease: '6.1.0' }),
    distribution: () => ({ id: 'debian', name: 'Debian 12.5', majorVersion: '12', minorVersion: '5' }),
    hostname: () => 'router.example.org',
    memoryUsage: () => ({ totalBytes: 1024 * 2000, availableBytes }),
    bootTimeSeconds: () => 1_795_560_020,
    fileSystems: () => fileSystems(),
    volumes: () => [
      {
        node: '/dev/xvda1',
        sizeBytes: 4096n,
        type: 'ext4',
        uuid: null,
        mountPoint: '/',
        freeBytes: 1n,
        xenDevice: 'device/vbd/51712',
      },
    ],
  };
  ticks.clear();
  networkListeners.clear();
});
afterEach(async () => {
  store.fault = null;
  await publisher?.stop();
  expect([ticks.size, networkListeners.size]).toEqual([0, 0]);
});

async function start(more: Partial<PublisherOptions> = {}): Promise<void> {
  publisher = await startPublisher({
    store: store.guest,
    guest,
    gate,
    clock: { onTick: listen(ticks) },
    log,
    agentVersion: '2.3.4',
    featureBalloon: null,
    onNetworkChange: listen(networkListeners),
    now: () => new Date(2026, 10, 25, 3, 4, 5),
    retryMs: 1,
    ...more,
  });
}

const UPDATED = 'Wed Nov 25 03:04:05 2026';

async function until(what: string, holds: () => boolean): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!holds()) {
    if (performance.now() > deadline) throw new Error(`still not: ${what}; ${log.lines.join('; ')}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}
const published = () => until('published', () => store.text('data/updated') === UPDATED);
/** What one more report changes. */
async function tick(): Promise<string[]> {
  store.changes.length = 0;
  const before = questions;
  for (const listener of ticks) listener();
  await until('a round', () => questions > before);
  await store.settle();
  return [...store.changes];
}
const lines = (part: string) => log.lines.filter((line) => line.includes(part));

describe('guest information', () => {
  beforeEach(() => {
    store = fakeXenstore();
  });

  it('is published at once, data/updated last', async () => {
    await store.host.write('device/vbd/51712/backend', '/local/domain/0/backend/vbd/5/51712');
    await store.host.write('/local/domain/0/backend/vbd/5/51712/dev', 'xvda');
    await start();
    await published();
    expect(store.tree('attr')).toMatchObject({
      'PVAddons/MajorVersion': '2',
      'vif/0/ipv4/0': '10.0.0.2',
      'vif/0/ipv6/0': 'fe80::1',
      'vif/0/mac/0': '00:16:3e:00:00:01',
      'eth0/ip': '10.0.0.2',
      'eth0/ipv6/0/addr': 'fe80::1',
    });
    expect(store.tree('data')).toMatchObject({
      os_name: 'Debian 12.5',
      host_name_dns: 'router',
      domain: 'example.org',
      meminfo_free: '1000',
      meminfo_total: '2000',
      'volumes/0/name': '/dev/xvda1',
      'volumes/0/mount_points/0': '/',
      'volumes/0/extents/0': 'xvda',
      updated: UPDATED,
    });
    expect(store.changes.at(-1)).toBe('write data/updated');
    expect(store.tree('control')).toEqual({});
    expect(log.lines).toEqual([]);
  });

  it('is not written again while nothing changes, and only what has changed', async () => {
    await start();
    await published();
    expect(await tick()).toEqual([]);
    availableBytes -= 1024;
    expect(await tick()).toEqual(['write data/meminfo_free', 'write data/updated']);
    expect(await tick()).toEqual([]);
  });

  it('follows the network at once, and old addresses go', async () => {
    await start();
    await published();
    store.changes.length = 0;
    interfaces = [networkInterface('enX0', ['10.0.0.9']), networkInterface('enX1', ['10.1.0.1'])];
    for (const listener of networkListeners) listener();
    await until('the new address', () => store.changes.includes('write data/updated'));
    expect(store.tree('attr/vif')).toEqual({
      '0': '',
      '0/ipv4': '',
      '0/ipv4/0': '10.0.0.9',
      '0/mac': '',
      '0/mac/0': '00:16:3e:00:00:01',
      '0/name': 'enX0',
      '1': '',
      '1/ipv4': '',
      '1/ipv4/0': '10.1.0.1',
      '1/mac': '',
      '1/mac/0': '00:16:3e:00:00:01',
      '1/name': 'enX1',
    });
    expect(store.changes).not.toContain('write data/os_name');
    interfaces = [];
    await tick();
    expect(store.text('attr/vif')).toBeNull();
    expect(store.text('attr/eth1')).toBeNull();
    expect(store.text('attr/PVAddons/Installed')).toBe('1');
  });

  it('removes what an earlier run, or another agent, has left', async () => {
    for (const path of [
      'attr/vif/7/ipv4/0',
      'attr/eth7/ip',
      'data/volumes/9/name',
      'attr/PVAddons/Application',
      'xenserver/attr/net-sriov-vf/1/ipv4/0',
    ])
      await store.guest.write(path, 'left');
    await store.guest.makeDirectory('attr/vif/8');
    await store.guest.write('data/service/other/key', 'stays');
    await store.guest.write('control/feature-balloon', '1');
    await store.guest.write('data/os_uname', '6.1.0');
    store.changes.length = 0;
    await start();
    await published();
    expect(Object.keys(store.tree('attr/vif')).some((path) => /^[78]/.test(path))).toBe(false);
    expect(store.text('attr/eth7')).toBeNull();
    expect(store.text('data/volumes/9')).toBeNull();
    expect(store.text('attr/PVAddons/Application')).toBeNull();
    expect(store.text('xenserver/attr/net-sriov-vf')).toBeNull();
    expect(store.text('data/service/other/key')).toBe('stays');
    expect(store.text('control/feature-balloon')).toBe('1');
    expect(store.changes).not.toContain('write data/os_uname');
  });

  it('is written anew after a resume: noticed by the watch, by the domain, by a key that is gone', async () => {
    await start();
    await published();
    store.resume(9, [], 'uuid-2');
    await published();
    expect(store.text('data/os_name')).toBe('Debian 12.5');

    store.dropWatches();
    store.resume(10);
    expect((await tick()).at(-1)).toBe('write data/updated');
    expect(store.text('attr/vif/0/ipv4/0')).toBe('10.0.0.2');

    store.resume(10);
    await tick();
    expect(store.text('attr/vif/0/ipv4/0')).toBe('10.0.0.2');
    expect(await tick()).toEqual([]);
  });

  it('finds functions of network cards by their hardware address', async () => {
    await store.host.write('xenserver/device/net-sriov-vf/4/mac', '00:16:3E:00:00:AA');
    interfaces = [networkInterface('ens4', ['10.0.0.7'], '00:16:3e:00:00:aa')];
    await start();
    await published();
    expect(store.text('xenserver/attr/net-sriov-vf/4/ipv4/0')).toBe('10.0.0.7');
  });

  it.each([
    [true, '1'],
    [false, '0'],
  ])('tells of ballooning if it is configured: %s', async (featureBalloon, expected) => {
    await start({ featureBalloon });
    await published();
    expect(store.text('control/feature-balloon')).toBe(expected);
  });

  it('is limited in number', async () => {
    interfaces = [
      networkInterface(
        'enX0',
        Array.from({ length: 600 }, (_, index) => `fe80::${index}`),
      ),
    ];
    await start();
    await published();
    expect(store.changes.filter((change) => change.startsWith('write')).length).toBe(501);
    expect(lines('of which 500 are published')).toHaveLength(1);
  });
});

describe('where the guest may not write (xl)', () => {
  beforeEach(() => {
    store = fakeXenstore({ layout: 'xl' });
  });

  it('goes on with the other keys, with one log line a kind, and does not try again in this domain', async () => {
    await store.host.write('xenserver/device/net-sriov-vf/4/mac', '00:16:3e:00:00:01');
    await start({ featureBalloon: true });
    await published();
    expect(store.text('attr/vif/0/ipv4/0')).toBe('10.0.0.2');
    expect(lines('does not let this guest write control/feature-balloon')).toHaveLength(1);
    expect(lines('does not let this guest write xenserver/attr')).toHaveLength(1);
    let tries = 0;
    store.fault = (request) => {
      if (request === 'write' || request === 'rm') tries += 1;
      return null;
    };
    await tick();
    expect(tries).toBe(0);
    expect(log.lines).toHaveLength(2);
  });
});

describe('bad times', () => {
  beforeEach(() => {
    store = fakeXenstore();
  });

  it('asks nothing while frozen, and publishes after the thaw', async () => {
    await start();
    await published();
    await gate.shut();
    const before = questions;
    store.changes.length = 0;
    availableBytes -= 1024;
    for (const listener of [...ticks, ...networkListeners]) listener();
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(questions).toBe(before);
    gate.open();
    await until('a report', () => store.changes.includes('write data/updated'));
    expect(store.text('data/meminfo_free')).toBe('999');
  });

  it('has a freeze wait for facts that are being read, and is not held up by it', async () => {
    const answer = Promise.withResolvers<FileSystem[]>();
    fileSystems = () => answer.promise;
    await start();
    await store.settle();
    let isShut = false;
    const shut = gate.shut().then(() => {
      isShut = true;
    });
    await store.settle();
    expect(isShut).toBe(false);
    answer.resolve([]);
    await shut;
    await store.settle();
    expect(questions).toBe(0);
    gate.open();
    await published();
  });

  it('leaves out what cannot be read, with one log line', async () => {
    guest.memoryUsage = () => {
      throw new Error('no meminfo');
    };
    guest.volumes = () => {
      throw new Error('no sysfs');
    };
    fileSystems = () => Promise.reject(new Error('no mountinfo'));
    await start();
    await published();
    await tick();
    expect(store.text('data/meminfo_free')).toBeNull();
    expect(store.text('attr/vif/0/ipv4/0')).toBe('10.0.0.2');
    expect(log.lines).toHaveLength(3);
  });

  it('goes on without keys that the store has no room for', async () => {
    store.fault = (request, path) =>
      request === 'write' && path.startsWith('data/volumes') ? 'EQUOTA' : null;
    await start();
    await published();
    expect(lines('EQUOTA')).toHaveLength(1);
    store.fault = null;
    await tick();
    expect(store.text('data/volumes/0/name')).toBe('/dev/xvda1');
  });

  it('tries again after an error of the store, and tells of what was written before', async () => {
    let failures = 1;
    store.fault = (request, path) => {
      if (request !== 'write' || path !== 'data/os_uname') return null;
      failures -= 1;
      return failures >= 0 ? 'EIO' : null;
    };
    await start();
    await published();
    expect(store.text('data/os_uname')).toBe('6.1.0');
    expect(lines('EIO')).toHaveLength(1);
  });

  it('reads the store again after the connection was lost', async () => {
    await start();
    await published();
    store.fault = () => 'GONE';
    for (const listener of ticks) listener();
    await store.settle();
    await store.host.remove('attr/vif');
    store.fault = null;
    store.fireAll();
    await until('the addresses', () => store.text('attr/vif/0/ipv4/0') === '10.0.0.2');
    expect(log.lines).toEqual([]);
  });
});
