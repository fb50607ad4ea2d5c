/** CPUID, clock and error texts. The clock is only ever set to what the kernel refuses. */
import { readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { describe, expect, it } from 'vitest';
import { native } from '../../../src/native/index.ts';

describe('the machine', () => {
  it('names its processor by CPUID', () => {
    const [, ebx, ecx, edx] = native.cpuid(0, 0);
    const name = Buffer.alloc(12);
    for (const [place, register] of [ebx, edx, ecx].entries()) name.writeUInt32LE(register, place * 4);
    expect(readFileSync('/proc/cpuinfo', 'latin1')).toContain(`vendor_id\t: ${name}\n`);
    expect(native.cpuid(0x80000000, 0)[0]).toBeGreaterThanOrEqual(0x80000000);
  });

  it('tells the time of Date', () => {
    const before = BigInt(Date.now());
    const now = native.realTimeClock() / 1_000_000n;
    expect(now).toBeGreaterThanOrEqual(before);
    expect(now).toBeLessThanOrEqual(BigInt(Date.now()) + 1n);
  });

  it('does not set a clock before 1970', () => {
    // EINVAL for the value comes before EPERM, so this is the same for any user
    for (const time of [-1n, -1_000_000_000n, -(2n ** 63n)]) {
      expect(native.setRealTimeClock(time)).toBe(-constants.errno.EINVAL);
    }
    expect(() => native.setRealTimeClock(2n ** 63n)).toThrow(RangeError);
  });

  it("reads the clock's rate, and sets none that the kernel refuses", () => {
    const [state, tick] = native.adjustClock(0, 0, 0);
    expect(state).toBeGreaterThanOrEqual(0);
    expect(tick).toBeGreaterThanOrEqual(9_000);
    // a tick of half the rate: EINVAL as root, EPERM else
    const refused = [-constants.errno.EINVAL, -constants.errno.EPERM];
    expect(refused).toContain(native.adjustClock(0x4000, 0, 5_000)[0]);
    expect(native.adjustClock(0, 0, 0)[1]).toBe(tick);
  });

  it.each([
    [2, 'No such file or directory'],
    [-13, 'Permission denied'],
    [0, 'Success'],
    [9999, 'Unknown error 9999'],
  ])('has a text for error %d', (error, text) => {
    expect(native.errorText(error)).toBe(text);
  });
});
