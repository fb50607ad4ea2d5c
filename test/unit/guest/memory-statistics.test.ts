import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { memoryStatistics, parseNumbers, parsePresentPages } from '../../../src/guest/memory-statistics.ts';
import { uptimeHundredths } from '../../../src/guest/uptime.ts';
import { type FakeRoot, fakeRoot } from './fake-root.ts';

let root: FakeRoot;
beforeEach(() => {
  root = fakeRoot();
});
afterEach(() => root[Symbol.dispose]());

describe('memory statistics', () => {
  it('come from several files', () => {
    root.file(
      'proc/meminfo',
      'MemTotal:    4000 kB\nMemFree:  100 kB\nActive(file):   7 kB\nHugePages_Total:   3\n',
    );
    root.file('proc/vmstat', 'nr_free_pages 1\npgpgin 12\npgpgout 34\n');
    root.file('proc/stat', 'cpu  1 2 3\nctxt 5678\nprocs_running 3\n');
    root.file(
      'proc/zoneinfo',
      'Node 0, zone  DMA\n        present  10\n        managed  9\nNode 0\n        present  5\n',
    );
    root.file(
      'proc/diskstats',
      ' 8 0 sda 1 2 3 4 5 6 7 8 2 10 111\n 8 1 sda1 1 2 3 4 5 6 7 8 1 10 11\n 7 0 loop0 1 2 3 4 5 6 7 8 9 10 11\n',
    );
    root.block({ path: 'pci0000:00/0000:00:10.0/host2/block/sda', number: '8:0' });
    root.block({ path: 'virtual/block/loop0', number: '7:0' });
    expect(memoryStatistics(root.path)).toMatchObject({
      pageSizeBytes: 4096,
      presentKib: 60,
      totalKib: 4000,
      freeKib: 100,
      availableKib: null,
      activeFileKib: 7,
      hugePagesTotal: 3,
      pageIns: 12,
      pageOuts: 34,
      contextSwitches: 5678,
      runQueue: 2,
      disksInFlight: 2,
      disksWaitedMs: 111,
    });
  });

  it('need meminfo and no more', () => {
    expect(() => memoryStatistics(root.path)).toThrow();
    root.file('proc/meminfo', 'MemTotal: 4000 kB\n');
    expect(memoryStatistics(root.path)).toMatchObject({
      presentKib: null,
      runQueue: null,
      disksInFlight: null,
    });
    root.file('proc/meminfo', 'rubbish\n');
    expect(() => memoryStatistics(root.path)).toThrow(/meminfo/);
  });

  it('of this machine', () => {
    const { totalKib, presentKib, contextSwitches } = memoryStatistics();
    expect(totalKib).toBeGreaterThan(0);
    expect(presentKib ?? totalKib).toBeGreaterThanOrEqual(totalKib);
    expect(contextSwitches).toBeGreaterThan(0);
  });

  it('are parsed by line', () => {
    expect([...parseNumbers('A: 1 kB\nB(c):   2\nd 3\nrubbish\nE:x\nf 4 5\n')]).toEqual([
      ['A', 1],
      ['B(c)', 2],
      ['d', 3],
      ['f', 4],
    ]);
    expect(parsePresentPages('')).toBeNull();
  });
});

describe('uptime', () => {
  it('in hundredths of a second', () => {
    root.file('proc/uptime', '16032.38 31000.00\n');
    expect(uptimeHundredths(root.path)).toBe(1_603_238);
    root.file('proc/uptime', 'x');
    expect(() => uptimeHundredths(root.path)).toThrow();
  });

  it('of this machine', () => {
    expect(uptimeHundredths()).toBeGreaterThan(0);
  });
});
