import { fstatSync, mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Actions } from '../../../src/guest/actions.ts';
import { trimFileSystems } from '../../../src/guest/trim.ts';
import { type FakeRoot, fakeRoot } from './fake-root.ts';

let root: FakeRoot;
const at = (name: string) => join(root.path, name);
beforeEach(() => {
  root = fakeRoot();
  for (const name of ['a', 'b', 'c']) mkdirSync(at(name));
  const lines = ['a', 'b', 'gone', 'c'].map(
    (name, index) => `1 1 8:${index} / ${at(name)} rw - ext4 /dev/sda rw`,
  );
  root.file('/proc/self/mountinfo', lines.join('\n'));
});
afterEach(() => root[Symbol.dispose]());

describe('trimming', () => {
  it('goes through the file systems in mount order, whatever becomes of each', async () => {
    const seen: unknown[] = [];
    const results = [-95, -25, -5];
    const trim: Actions['trim'] = async ({ mountPoint, fd }, minimumBytes) => {
      expect(fstatSync(fd).ino).toBe(statSync(mountPoint).ino);
      seen.push([mountPoint, minimumBytes]);
      return results.shift() ?? 0;
    };
    expect(await trimFileSystems({ trim }, 512n, root.path)).toEqual([
      { mountPoint: at('a'), kind: 'not-supported' },
      { mountPoint: at('b'), kind: 'not-supported' },
      { mountPoint: at('gone'), kind: 'failed', step: 'open', errno: 2 },
      { mountPoint: at('c'), kind: 'failed', step: 'trim', errno: 5 },
    ]);
    expect(seen).toEqual([
      [at('a'), 512n],
      [at('b'), 512n],
      [at('c'), 512n],
    ]);
  });

  it('tells how much, and what the minimum was', async () => {
    root.file('/proc/self/mountinfo', `1 1 8:0 / ${at('a')} rw - ext4 /dev/sda rw`);
    const trim = async () => ({ trimmedBytes: 1n << 60n, minimumBytes: 4096n });
    expect(await trimFileSystems({ trim }, 0n, root.path)).toEqual([
      { mountPoint: at('a'), kind: 'trimmed', trimmedBytes: 1n << 60n, minimumBytes: 4096n },
    ]);
  });
});
