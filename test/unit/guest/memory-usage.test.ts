import { describe, expect, it } from 'vitest';
import { memoryUsage, parseMemoryUsage } from '../../../src/guest/memory-usage.ts';
import { fakeRoot } from './fake-root.ts';

describe('memory (proc_meminfo(5))', () => {
  it.each([
    [
      'MemTotal:  1000 kB\nMemFree: 10 kB\nMemAvailable: 400 kB\n',
      { totalBytes: 1_024_000, availableBytes: 409_600 },
    ],
    ['MemTotal:  1000 kB\nMemFree: 10 kB\n', { totalBytes: 1_024_000, availableBytes: 10_240 }],
    ['MemTotal:  1000 kB\n', null],
    ['', null],
  ])('%j', (text, expected) => {
    expect(parseMemoryUsage(text)).toEqual(expected);
  });

  it('is read from /proc, and what is none is an error', () => {
    using root = fakeRoot();
    expect(() => memoryUsage(root.path)).toThrow('proc/meminfo');
    root.file('/proc/meminfo', 'rubbish');
    expect(() => memoryUsage(root.path)).toThrow('proc/meminfo');
    root.file('/proc/meminfo', 'MemTotal: 2 kB\nMemAvailable: 1 kB\n');
    expect(memoryUsage(root.path)).toEqual({ totalBytes: 2048, availableBytes: 1024 });
  });
});
