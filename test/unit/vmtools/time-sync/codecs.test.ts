/** Reading the host, the measurement and the rates; spec vmware.md sections 1.3 and 10. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type HostTime, readHostTime } from '../../../../src/protocols/vmtools/time-sync/host-time.ts';
import { takeSample } from '../../../../src/protocols/vmtools/time-sync/sample.ts';
import { slewGently, slewPart } from '../../../../src/protocols/vmtools/time-sync/slew.ts';
import { createVmx } from '../../../hosts/vmx/vmx.ts';
import { simulatedBackdoor } from '../../../support/simulated-backdoor.ts';

describe('the clock of the host', () => {
  it.each([
    ['GETTIMEFULL_WITH_LAG', 250],
    ['GETTIMEFULL', null],
    ['GETTIME', null],
  ] as const)('by %s', (newest, lagUs) => {
    const vmx = createVmx();
    // after 2038
    const us = 4_000_000_000_123_456n;
    Object.assign(vmx.host.clock, { newest, lagUs: 250, maxLagUs: 77, nowUs: () => us });
    expect(readHostTime(simulatedBackdoor(vmx.backdoor))).toEqual({ us, maxErrorUs: 77, lagUs });
  });

  it('after 2106, where the host counts so far', () => {
    const vmx = createVmx();
    vmx.host.clock.nowUs = () => 5_000_000_000_000_001n;
    expect(readHostTime(simulatedBackdoor(vmx.backdoor))?.us).toBe(5_000_000_000_000_001n);
  });

  it('none', () => {
    const vmx = createVmx();
    vmx.host.clock.newest = null;
    expect(readHostTime(simulatedBackdoor(vmx.backdoor))).toBeNull();
  });
});

describe('a sample', () => {
  const host = (us: number, lagUs: number | null = 0): HostTime => ({
    us: BigInt(us),
    maxErrorUs: 1_000,
    lagUs,
  });
  /** Readings one after the other, the last for ever. */
  const sequence =
    <T>(values: T[]) =>
    () =>
      (values.length > 1 ? values.shift() : values[0]) as T;

  it('compares with the middle of two readings', () => {
    const sample = takeSample(sequence([host(1_000), host(1_400)]), () => 5_000n);
    expect(sample).toEqual({ differenceUs: 3_800, errorUs: 3_800, maxErrorUs: 1_000, hasLag: true });
  });

  it('leaves out what late interrupts will catch up', () => {
    const sample = takeSample(
      () => host(10_000, 300),
      () => 9_000n,
    );
    expect(sample).toMatchObject({ differenceUs: -1_000, errorUs: -700 });
  });

  it('is repeated until the readings are close', () => {
    const readings = [0, 9_000, 20_000, 26_000, 30_000, 32_000, 40_000, 41_000].map((us) => host(us));
    const guest = sequence([1n, 2n, 3n, 4n]);
    expect(takeSample(sequence(readings), guest)?.differenceUs).toBe(3 - 31_000);
  });

  it('is the best of four else', () => {
    const readings = [0, 9_000, 20_000, 26_000, 30_000, 38_000, 40_000, 48_000, 50_000, 50_000].map((us) =>
      host(us),
    );
    expect(takeSample(sequence(readings), () => 0n)?.differenceUs).toBe(-23_000);
  });

  it('needs a host that tells the time', () => {
    expect(
      takeSample(
        () => null,
        () => 0n,
      ),
    ).toBeNull();
  });
});

describe('rates', () => {
  it.each([
    [-199_000, 50, 20_000, 10_049],
    [-200_000, 50, 20_000, 10_050],
    [3_000_000, 50, 60_000, 9_750],
    [1_000, 50, 60_000, 10_000],
    [5_000_000, 100, 5_000, 9_000],
    [-5_000_000, 100, 5_000, 11_000],
  ])('%d us, %d %% in %d ms: %d', (errorUs, percent, periodMs, tick) => {
    expect(slewPart(errorUs, percent, periodMs)).toEqual({ tick, durationMs: periodMs });
  });

  it('gently, and all of it', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 5_000_000 }), (errorUs) => {
        const { tick, durationMs } = slewGently(errorUs);
        expect(tick).toBeLessThan(10_000);
        expect(tick).toBeGreaterThanOrEqual(9_950);
        expect(Math.abs((10_000 - tick) * 0.1 * durationMs - errorUs)).toBeLessThanOrEqual(5);
        expect(durationMs).toBeLessThanOrEqual(1_000_000);
      }),
    );
  });
});
