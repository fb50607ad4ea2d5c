/** When what is reported (spec vmware.md section 6.3; chr-wiki.txt, "Guest info"), to a simulated host. */
import { setImmediate as turn } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import type { FileSystem } from '../../../../src/guest/filesystems.ts';
import { createFreezeGate } from '../../../../src/guest/freeze-gate.ts';
import type { NetworkInterface } from '../../../../src/guest/network.ts';
import { ChannelLost } from '../../../../src/protocols/vmtools/channel-errors.ts';
import type { ReportedGuest } from '../../../../src/protocols/vmtools/guest-info/facts.ts';
import {
  createGuestInfo,
  type GuestInfoOptions,
} from '../../../../src/protocols/vmtools/guest-info/reporter.ts';
import { parseToolsConf } from '../../../../src/protocols/vmtools/tools-conf.ts';
import { recordingLog } from '../../../support/quiet-log.ts';
import { hostRpci } from './host-rpci.ts';

const networkInterface = (name: string, address: string | null): NetworkInterface => ({
  index: 2,
  name,
  hardwareAddress: '02:00:5e:00:53:01',
  addresses:
    address === null ? [] : [{ family: 'ipv4', address, prefixLength: 24, label: name, scope: 'global' }],
  statistics: null,
  up: true,
  running: true,
  loopback: false,
  mtuBytes: 1500,
});

const FILE_SYSTEM: FileSystem = {
  name: 'sda1',
  mountPoint: '/',
  type: 'ext4',
  usage: { usedBytes: 10n, totalBytes: 90n, totalBytesPrivileged: 100n },
  disks: [],
};

const stops: (() => void)[] = [];
afterEach(() => {
  for (const stop of stops.splice(0)) stop();
});

function start(compat: 'chr' | 'upstream' = 'chr', { vmx, rpci } = hostRpci()) {
  const gate = createFreezeGate();
  const log = recordingLog();
  const ticks = new Set<() => void>();
  const networkListeners = new Set<() => void>();
  const timers = new Set<{ delayMs: number; callback: () => void }>();
  const listen = (set: Set<() => void>) => (listener: () => void) => {
    set.add(listener);
    return () => void set.delete(listener);
  };
  const facts = {
    hostname: 'guest.example',
    interfaces: [networkInterface('eth0', '192.0.2.10'), networkInterface('wg0', '192.0.2.20')],
    fileSystems: async () => [FILE_SYSTEM],
    uptime: 100,
    conf: '',
  };
  const guest: ReportedGuest = {
    networkInterfaces: () => facts.interfaces,
    routingTables: async () => ({ ipv4: [], ipv6: [] }),
    resolver: () => ({ servers: [], search: [] }),
    os: () => ({ kernelRelease: '6.1.0', machine: 'x86_64', release: new Map([['ID', 'ubuntu']]) }),
    hostname: () => facts.hostname,
    uptimeHundredths: () => facts.uptime++,
    memoryStatistics: () => ({
      pageSizeBytes: 4096,
      presentKib: null,
      totalKib: 1000,
      freeKib: 10,
      availableKib: 20,
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
    }),
    fileSystems: () => facts.fileSystems(),
    vmwareDisks: () => ['scsi0:0'],
  };
  const options: GuestInfoOptions = {
    rpci,
    guest,
    gate,
    clock: { onTick: listen(ticks) },
    log,
    compat,
    toolsConf: { read: async () => parseToolsConf(Buffer.from(facts.conf), log) },
    build: '7',
    onNetworkChange: listen(networkListeners),
    setTimer(callback, delayMs) {
      const timer = { callback, delayMs };
      timers.add(timer);
      return () => timers.delete(timer);
    },
  };
  const part = createGuestInfo(options);
  stops.push(() => void part.stop());
  let seen = 0;
  const call = (set: Iterable<() => void>) => {
    for (const each of [...set]) each();
  };
  return {
    vmx,
    part,
    gate,
    log,
    facts,
    timers,
    listeners: () => ticks.size + networkListeners.size + timers.size,
    tick: () => call(ticks),
    networkChange: () => call(networkListeners),
    fire(delayMs: number) {
      for (const timer of [...timers].filter((each) => each.delayMs === delayMs)) {
        timers.delete(timer);
        timer.callback();
      }
    },
    /** Types sent since the last time. */
    async sent(): Promise<string[]> {
      const types: string[] = [];
      // quiet for some turns
      for (let idle = 0; idle < 40; idle += 1) {
        const calls = vmx.rpci.calls.slice(seen);
        seen += calls.length;
        if (calls.length > 0) idle = 0;
        for (const { text } of calls) {
          const type = /^SetGuestInfo {2}(\d+) /.exec(text)?.[1];
          if (type !== undefined) types.push(type);
          else if (text.startsWith('SetGuestDiskInfo')) types.push('disks');
        }
        await turn();
      }
      return types;
    },
  };
}

const WHOLE = ['4', '11', 'disks', '1', '10', '7'];

describe('chr', () => {
  it('reports everything once the capabilities are registered, then what has changed', async () => {
    const it = start();
    expect(await it.sent()).toEqual([]);
    it.part.onRegistered();
    expect(await it.sent()).toEqual(WHOLE);
    const { guestInfo } = it.vmx;
    expect(guestInfo.text(4)).toBe('build-7');
    expect(guestInfo.text(1)).toBe('guest.example');
    expect(guestInfo.text(7)).toBe('100');
    expect(guestInfo.osDetails()?.shortName).toBe('ubuntu-64');
    expect(guestInfo.disks()).toEqual([
      { name: '/', fstype: 'ext4', freeBytes: 80n, sizeBytes: 100n, devices: ['scsi0:0'] },
    ]);
    expect(guestInfo.nics()?.nics.map(({ ips }) => ips[0]?.address)).toEqual(['192.0.2.10', '192.0.2.20']);
    expect(guestInfo.nics()?.dns).toMatchObject({ host: 'guest.example', domain: 'example' });
    it.tick();
    expect(await it.sent()).toEqual(['7']);
    it.facts.hostname = 'other';
    it.tick();
    expect(await it.sent()).toEqual(['1', '10', '7']);
  });

  it('is whole again after a reset', async () => {
    const it = start();
    it.part.onRegistered();
    await it.sent();
    it.part.onReset();
    it.tick();
    expect(await it.sent()).toEqual(WHOLE);
  });

  it('obeys the configuration of the virtual machine at every tick, before tools.conf', async () => {
    const it = start();
    it.facts.conf = '[guestinfo]\nexclude-nics=eth*\n';
    it.part.onRegistered();
    await it.sent();
    const addresses = () => it.vmx.guestInfo.nics()?.nics.map(({ ips }) => ips[0]?.address);
    expect(addresses()).toEqual(['192.0.2.20']);
    it.vmx.variables.set('guestinfo.exclude-nics', 'none');
    it.vmx.variables.set('guestinfo.primary-nics', 'wg?');
    it.tick();
    expect(await it.sent()).toEqual(['10', '7']);
    expect(addresses()).toEqual(['192.0.2.20', '192.0.2.10']);
  });

  it('has the statistics only when disable-perfmon is FALSE', async () => {
    const it = start();
    it.part.onRegistered();
    await it.sent();
    it.vmx.variables.set('guestinfo.disable-perfmon', 'false');
    it.tick();
    expect(await it.sent()).toEqual(['7', '8']);
    expect(it.vmx.guestInfo.statistics()?.legacy.memTotalKib).toBe(1000n);
    it.vmx.variables.set('guestinfo.disable-perfmon', 'TRUE');
    it.tick();
    expect(await it.sent()).toEqual(['7']);
  });

  it('tells of a changed network at once, a burst of changes once', async () => {
    const it = start();
    it.part.onRegistered();
    await it.sent();
    it.facts.interfaces = [networkInterface('eth0', '192.0.2.99')];
    for (let change = 0; change < 5; change += 1) it.networkChange();
    expect(it.timers.size).toBe(1);
    it.fire(500);
    expect(await it.sent()).toEqual(['10']);
  });

  it('waits for the thaw', async () => {
    const it = start();
    await it.gate.shut();
    it.part.onRegistered();
    it.tick();
    it.tick();
    expect(await it.sent()).toEqual([]);
    expect(it.vmx.rpci.calls).toEqual([]);
    it.gate.open();
    expect(await it.sent()).toEqual(WHOLE);
  });

  it('is not held up by a file system that hangs', async () => {
    const it = start();
    const answer = Promise.withResolvers<FileSystem[]>();
    it.facts.fileSystems = () => answer.promise;
    it.vmx.variables.set('guestinfo.disable-perfmon', 'FALSE');
    it.part.onRegistered();
    await it.vmx.waitForRpc(/^SetGuestInfo {2}8 /);
    expect(await it.sent()).toEqual(['4', '11', '1', '10', '7', '8']);
    answer.resolve([FILE_SYSTEM]);
    expect(await it.sent()).toEqual(['disks']);
  });

  it('goes on when something cannot be read', async () => {
    const it = start();
    it.facts.fileSystems = () => Promise.reject(new Error('no mountinfo'));
    it.part.onRegistered();
    it.tick();
    expect(await it.sent()).toEqual(['4', '11', '1', '10', '7', '7']);
    expect(it.log.lines).toEqual(['warning: guest information: the file systems: Error: no mountinfo']);
  });

  it('is told later where there is no host for the moment, with one log line', async () => {
    let isLost = true;
    const { rpci, vmx } = hostRpci();
    const it = start('chr', {
      vmx,
      rpci: {
        ...rpci,
        request: async (...values) => {
          if (isLost) throw new ChannelLost('open', 'no channel');
          return rpci.request(...values);
        },
      },
    });
    it.part.onRegistered();
    await it.sent();
    it.tick();
    expect(await it.sent()).toEqual([]);
    expect(it.log.lines).toEqual(['info: guest information: no channel; it is told later']);
    isLost = false;
    it.tick();
    expect(await it.sent()).toEqual(WHOLE);
  });

  it('does not list interfaces without an address', async () => {
    const it = start();
    it.facts.interfaces.unshift(networkInterface('eth9', null));
    it.part.onRegistered();
    await it.sent();
    expect(it.vmx.guestInfo.nics()?.nics).toHaveLength(2);
  });

  it('ends with the service', async () => {
    const it = start();
    it.part.onRegistered();
    await it.part.stop();
    expect(it.listeners()).toBe(0);
    expect(await it.sent()).toEqual([]);
  });
});

describe('broadcastIP', () => {
  it('is the address of the first interface', async () => {
    const it = start();
    it.vmx.variables.set('guestinfo.primary-nics', 'wg*');
    expect(it.part.setOption('broadcastIP', '1')).toBe(true);
    await it.sent();
    expect(it.vmx.variables.get('guestinfo.ip')).toBe('192.0.2.20');
  });

  it.each([
    ['broadcastIP', '0', true],
    ['broadcastIP', 'x', false],
    ['synctime', '1', false],
  ])('%s %s: %s', async (name, value, isTaken) => {
    const it = start();
    expect(it.part.setOption(name, value)).toBe(isTaken);
    await it.sent();
    expect(it.vmx.rpci.calls).toEqual([]);
  });
});

describe('upstream', () => {
  it('has two timers, and the statistics on one of them', async () => {
    const it = start('upstream');
    await it.sent();
    expect([...it.timers].map(({ delayMs }) => delayMs)).toEqual([30_000, 20_000]);
    it.fire(20_000);
    expect(await it.sent()).toEqual(['8']);
    it.fire(30_000);
    expect(await it.sent()).toEqual(WHOLE);
    it.fire(30_000);
    expect(await it.sent()).toEqual(['7']);
  });

  it('asks tools.conf for their intervals and for what is left out', async () => {
    const it = start('upstream');
    it.facts.conf =
      '[guestinfo]\npoll-interval=5\nstats-interval=0\ndisable-query-diskinfo=true\n' +
      '[guestosinfo]\nshort-name=mine-64\n';
    await it.sent();
    it.fire(30_000);
    it.fire(20_000);
    expect(await it.sent()).toEqual(['4', '5', '6', '1', '10', '7', '8']);
    expect([...it.timers].map(({ delayMs }) => delayMs)).toEqual([5_000, 30_000]);
    it.fire(30_000);
    expect(await it.sent()).toEqual([]);
    expect(it.vmx.guestInfo.text(6)).toBe('mine-64');
  });

  it('reports once the capabilities are registered too, unless the timer is off', async () => {
    const it = start('upstream');
    it.part.onRegistered();
    expect(await it.sent()).toEqual(WHOLE);
    it.facts.conf = '[guestinfo]\npoll-interval=0\n';
    it.part.onReset();
    it.part.onRegistered();
    expect(await it.sent()).toEqual([]);
  });

  it('lists interfaces without an address too', async () => {
    const it = start('upstream');
    it.facts.interfaces.unshift(networkInterface('eth9', null));
    it.part.onRegistered();
    await it.sent();
    expect(it.vmx.guestInfo.nics()?.nics).toHaveLength(3);
  });
});
