/** reserve and releasePages, by what the kernel says of this process. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { native } from '../../../src/native/index.ts';

const mebibyte = 1 << 20;
const page = 4096;

/** Resident anonymous memory, bytes. */
function resident(): number {
  return Number(/^RssAnon:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1]) * 1024;
}

describe('reserved memory', () => {
  it('costs nothing until it is written', () => {
    const before = resident();
    const buffer = native.reserve(1024 * mebibyte);
    expect(buffer.length).toBe(1024 * mebibyte);
    expect(buffer[buffer.length - 1]).toBe(0);
    expect(resident() - before).toBeLessThan(16 * mebibyte);
    buffer.fill(1, 0, 64 * mebibyte);
    expect(resident() - before).toBeGreaterThan(60 * mebibyte);
    native.releasePages(buffer, 0, buffer.length);
    expect(resident() - before).toBeLessThan(16 * mebibyte);
    expect(buffer[5]).toBe(0);
  });

  it('gives back whole pages only', () => {
    const buffer = native.reserve(8 * page);
    const content = () =>
      buffer.toString('latin1').replace(/(.)\1*/gs, (run, byte) => `${byte}${run.length} `);
    buffer.fill('x');
    native.releasePages(buffer, 1, 2 * page - 1);
    native.releasePages(buffer, 3 * page, 3 * page);
    expect(content()).toBe(`x${8 * page} `);
    native.releasePages(buffer, page - 1, 2 * page + 1);
    native.releasePages(buffer.subarray(5 * page + 100), 0, 2 * page);
    expect(content()).toBe(`x${page} \0${page} x${4 * page} \0${page} x${page} `);
  });

  it('refuses what cannot be', () => {
    expect(() => native.reserve(0)).toThrow(RangeError);
    expect(() => native.reserve(-1)).toThrow(RangeError);
    expect(() => native.reserve(2 ** 50)).toThrow();
  });

  it('is not the same twice', () => {
    const [a, b] = [native.reserve(page), native.reserve(page)];
    a.fill(1);
    expect(b.every((byte) => byte === 0)).toBe(true);
    native.mallocTrim();
  });
});
