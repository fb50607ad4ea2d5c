import { describe, expect, it } from 'vitest';
import { bootId, bootTimeSeconds } from '../../../src/guest/boot.ts';
import { fakeRoot } from './fake-root.ts';

describe('the boot', () => {
  it('has an id and a time', () => {
    using root = fakeRoot();
    root.file('/proc/sys/kernel/random/boot_id', '5c4c1465-cf5d-4c09-b62b-ec484bc81d48\n');
    root.file('/proc/stat', 'cpu 1 2 3 4\nbtime 1795560020\nprocesses 5\n');
    expect(bootId(root.path)).toBe('5c4c1465-cf5d-4c09-b62b-ec484bc81d48');
    expect(bootTimeSeconds(root.path)).toBe(1_795_560_020);
  });

  it('may not be known', () => {
    using root = fakeRoot();
    root.file('/proc/stat', 'cpu 1 2 3 4\n');
    expect(() => bootTimeSeconds(root.path)).toThrow('proc/stat');
    expect(() => bootId(root.path)).toThrow('boot_id');
  });
});
