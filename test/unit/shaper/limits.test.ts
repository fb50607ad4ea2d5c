import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LIMITS, limitSizes } from '../../../src/shaper/limits.ts';

describe('licensing.md, "Levels"', () => {
  it('has the rates, decimal', () => {
    expect(LIMITS).toEqual({ free: 1_000_000, p1: 1_000_000_000, p10: 10_000_000_000, 'p-unlimited': null });
  });
});

describe('the sizes of a limit', () => {
  it.each([
    [1e6, 1500, { rateBytesPerSecond: 125_000, burstBytes: 6256, queueBytes: 25_024 }],
    [1e6, 9000, { burstBytes: 36_256, queueBytes: 145_024 }],
    [1e9, 1500, { rateBytesPerSecond: 125_000_000, burstBytes: 1_000_000, queueBytes: 1_250_000 }],
    [1e10, 9000, { rateBytesPerSecond: 1_250_000_000, burstBytes: 10_000_000, queueBytes: 12_500_000 }],
  ])('of %d bit/s at an MTU of %d', (bitsPerSecond, mtu, sizes) => {
    expect(limitSizes(bitsPerSecond, mtu)).toMatchObject(sizes);
  });

  it('always let a frame of the MTU with its headers pass, and fit the kernel’s fields', () => {
    const rates = fc.constantFrom(1e6, 1e9, 1e10);
    fc.assert(
      fc.property(rates, fc.integer({ min: 68, max: 65_535 }), (bitsPerSecond, mtu) => {
        const sizes = limitSizes(bitsPerSecond, mtu);
        expect(sizes.burstBytes).toBeGreaterThan(2 * (mtu + 22));
        expect(sizes.queueBytes).toBeGreaterThan(sizes.burstBytes);
        for (const value of Object.values(sizes)) {
          expect(Number.isInteger(value)).toBe(true);
          expect(value).toBeLessThan(2 ** 32);
        }
      }),
    );
  });
});
