import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ActionRefused } from '../../../src/guest/actions.ts';
import { cpus, cpuTimes, switchCpu } from '../../../src/guest/cpus.ts';
import { parseCpuTicks } from '../../../src/guest/linux/procfs.ts';
import { SystemCallError } from '../../../src/guest/linux/system-call-error.ts';
import { loadAverage } from '../../../src/guest/load.ts';
import { type FakeRoot, makeFakeRoot } from '../../support/fake-root.ts';

let root: FakeRoot;
beforeEach(() => {
  root = makeFakeRoot();
});
afterEach(() => root[Symbol.dispose]());

const directory = 'sys/devices/system/cpu';

describe('/proc/stat', () => {
  const stat = `cpu  10 20 30 40 50 60 70 80 90 100
cpu0 1 2 3 4 5 6 7 8 9 10 11
cpu12 18446744073709551615 2 3 4
cpufreq 1 2 3 4
intr 1 2 3
ctxt 5
`;

  it('has a line a CPU, with the fields the kernel has', () => {
    expect(parseCpuTicks(stat)).toEqual([
      { cpu: 0, ticks: [1n, 2n, 3n, 4n, 5n, 6n, 7n, 8n, 9n, 10n] },
      { cpu: 12, ticks: [18446744073709551615n, 2n, 3n, 4n] },
    ]);
  });

  it.each(['cpu0 1 2 3\ncpu1 1 2 3 4', 'cpu0', 'cpu0 a b c d', ''])('%j ends it', (text) => {
    expect(parseCpuTicks(text)).toEqual([]);
  });

  it('counts in ticks of 10 ms', () => {
    root.add({ 'proc/stat': 'cpu1 1 2 3 4 5 6 7\n' });
    expect(cpuTimes(root.path)).toEqual([
      {
        cpu: 1,
        userMs: 10n,
        niceMs: 20n,
        systemMs: 30n,
        idleMs: 40n,
        ioWaitMs: 50n,
        irqMs: 60n,
        softIrqMs: 70n,
        stealMs: undefined,
        guestMs: undefined,
        guestNiceMs: undefined,
      },
    ]);
  });

  it('missing: an error with path and number', () => {
    expect(() => cpuTimes(root.path)).toThrow(SystemCallError);
  });
});

describe('/proc/loadavg', () => {
  it('has three averages', () => {
    root.add({ 'proc/loadavg': '0.07 1.50 12.00 2/142 24889\n' });
    expect(loadAverage(root.path)).toEqual({ oneMinute: 0.07, fiveMinutes: 1.5, fifteenMinutes: 12 });
  });

  it.each(['', '1 2', 'a b c 1/2 3'])('%j is none', (text) => {
    root.add({ 'proc/loadavg': text });
    expect(() => loadAverage(root.path)).toThrow(SystemCallError);
  });
});

describe('the list', () => {
  it('has CPUs without a switch, offline ones, and nothing else', () => {
    root.add({
      [`${directory}/cpu0/`]: '',
      [`${directory}/cpu1/online`]: '1\n',
      [`${directory}/cpu10/online`]: '0\n',
      [`${directory}/cpufreq/`]: '',
      [`${directory}/online`]: '0-1\n',
    });
    const found = cpus(root.path).sort((a, b) => a.number - b.number);
    expect(found).toEqual([
      { number: 0, online: true, canOffline: false },
      { number: 1, online: true, canOffline: true },
      { number: 10, online: false, canOffline: true },
    ]);
  });

  it('is this machine’s', () => {
    expect(cpus().filter(({ online }) => online)).toHaveLength(cpuTimes().length);
  });
});

describe('switching', () => {
  const done: unknown[] = [];
  const actions = (result: number) => ({
    setCpuOnline: async (...args: unknown[]) => {
      done.push(args);
      return result;
    },
  });
  const change = (number: bigint, online: boolean, result = 0) =>
    switchCpu(number, online, { actions: actions(result), root: root.path });
  beforeEach(() => {
    done.length = 0;
    root.add({
      [`${directory}/cpu0/`]: '',
      [`${directory}/cpu1/online`]: '1\n',
      [`${directory}/cpu2/online`]: '0',
    });
  });

  it.each<[bigint, boolean, string, unknown[]]>([
    [0n, true, 'done', []],
    [0n, false, 'cannot-offline', []],
    [1n, true, 'done', []],
    [1n, false, 'done', [[1, false]]],
    [2n, false, 'done', []],
    [2n, true, 'done', [[2, true]]],
  ])('CPU %i to online=%s: %s', async (number, online, kind, calls) => {
    await expect(change(number, online)).resolves.toEqual({ kind });
    expect(done).toEqual(calls);
  });

  it.each([3n, -1n, 2n ** 63n - 1n, -(2n ** 63n)])('CPU %i is unknown: nothing done', async (number) => {
    await expect(change(number, true)).resolves.toEqual({
      kind: 'failed',
      error: expect.objectContaining({
        call: 'open',
        path: join(root.path, directory, `cpu${number}/`),
        errno: 2,
      }),
    });
    expect(done).toEqual([]);
  });

  it('tells what the kernel said', async () => {
    await expect(change(1n, false, -16)).resolves.toMatchObject({
      kind: 'failed',
      error: { call: 'write', errno: 16 },
    });
  });

  it('an empty switch is an error', async () => {
    root.add({ [`${directory}/cpu1/online`]: '' });
    await expect(change(1n, false)).resolves.toMatchObject({
      kind: 'failed',
      error: { call: 'read', errno: 0 },
    });
    expect(done).toEqual([]);
  });

  it('a refusal goes through', async () => {
    const setCpuOnline = async () => {
      throw new ActionRefused('no');
    };
    await expect(switchCpu(1n, false, { actions: { setCpuOnline }, root: root.path })).rejects.toThrow(
      ActionRefused,
    );
    expect(readFileSync(join(root.path, directory, 'cpu1/online'), 'utf8')).toBe('1\n');
  });
});
