import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SystemCallError } from '../../../src/guest/linux/system-call-error.ts';
import {
  type MemoryBlockSwitch,
  memoryBlockSizeBytes,
  memoryBlocks,
  switchMemoryBlock,
} from '../../../src/guest/memory.ts';
import { type FakeRoot, makeFakeRoot } from '../../support/fake-root.ts';

let root: FakeRoot;
beforeEach(() => {
  root = makeFakeRoot();
});
afterEach(() => root[Symbol.dispose]());

const directory = 'sys/devices/system/memory';
const blocks = {
  [`${directory}/block_size_bytes`]: '8000000\n',
  [`${directory}/memory0/state`]: 'online\n',
  [`${directory}/memory0/removable`]: '0\n',
  [`${directory}/memory1/state`]: 'online\n',
  [`${directory}/memory1/removable`]: '1\n',
  [`${directory}/memory32/state`]: 'offline\n',
  [`${directory}/memory33/state`]: 'going-offline\n',
  [`${directory}/memory9/`]: '',
  [`${directory}/auto_online_blocks`]: 'offline\n',
};

describe('the list', () => {
  it('has state and whether it can be taken offline', async () => {
    root.add(blocks);
    const found = (await memoryBlocks(root.path)).sort((a, b) => a.index - b.index);
    expect(found).toEqual([
      { index: 0, online: true, canOffline: false },
      { index: 1, online: true, canOffline: true },
      { index: 9, online: true, canOffline: false },
      { index: 32, online: false, canOffline: false },
      { index: 33, online: false, canOffline: false },
    ]);
  });

  it('is empty without memory hotplug', async () => {
    await expect(memoryBlocks(root.path)).resolves.toEqual([]);
  });

  it('has all of many', async () => {
    root.add(
      Object.fromEntries(Array.from({ length: 400 }, (_, index) => [`${directory}/memory${index}/`, ''])),
    );
    await expect(memoryBlocks(root.path)).resolves.toHaveLength(400);
  });
});

describe('the size of a block', () => {
  it.each([
    ['8000000\n', 134217728n],
    ['ffffffffff', 1099511627775n],
  ])('%j', (text, size) => {
    root.add({ [`${directory}/block_size_bytes`]: text });
    expect(memoryBlockSizeBytes(root.path)).toBe(size);
  });

  it('is unknown without memory hotplug', () => {
    expect(() => memoryBlockSizeBytes(root.path)).toThrow(SystemCallError);
    root.add({ [`${directory}/block_size_bytes`]: 'x' });
    expect(() => memoryBlockSizeBytes(root.path)).toThrow(SystemCallError);
  });
});

describe('switching', () => {
  const done: unknown[] = [];
  const change = (index: bigint, online: boolean, result = 0) =>
    switchMemoryBlock(index, online, {
      actions: {
        setMemoryBlockOnline: async (...args: unknown[]) => {
          done.push(args);
          return result;
        },
      },
      root: root.path,
    });
  beforeEach(() => {
    done.length = 0;
  });

  it.each<[bigint, boolean, MemoryBlockSwitch, unknown[]]>([
    [0n, true, { kind: 'done' }, []],
    [1n, false, { kind: 'done' }, [[1, false]]],
    [32n, true, { kind: 'done' }, [[32, true]]],
    [32n, false, { kind: 'done' }, []],
    [9n, true, { kind: 'done' }, []],
    [9n, false, { kind: 'not-supported', errno: 2 }, []],
    [7n, false, { kind: 'not-found', errno: 2 }, []],
    [-1n, true, { kind: 'not-found', errno: 2 }, []],
    [2n ** 64n - 1n, true, { kind: 'not-found', errno: 2 }, []],
  ])('block %i to online=%s: %o', async (index, online, outcome, calls) => {
    root.add(blocks);
    await expect(change(index, online)).resolves.toEqual(outcome);
    expect(done).toEqual(calls);
  });

  it('tells what the kernel said', async () => {
    root.add(blocks);
    await expect(change(1n, false, -16)).resolves.toEqual({ kind: 'failed', errno: 16 });
  });

  it('without memory hotplug', async () => {
    await expect(change(1n, false)).resolves.toEqual({ kind: 'not-supported', errno: 2 });
  });
});
