/** What the clock may be made to do, for whatever is measured (issue "Time synchronisation"). */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  decide,
  type PolicySettings,
  type Wish,
} from '../../../../src/protocols/vmtools/time-sync/policy.ts';
import type { Sample } from '../../../../src/protocols/vmtools/time-sync/sample.ts';

const HOUR_US = 3_600_000_000;
const sample = fc
  .record({
    differenceUs: fc.oneof(
      fc.integer({ min: -HOUR_US, max: HOUR_US }),
      fc.integer({ min: -6_000_000, max: 6_000_000 }),
    ),
    lagUs: fc.oneof(fc.constant(0), fc.nat({ max: 3_000_000 })),
    maxErrorUs: fc.nat({ max: 2_000_000 }),
    hasLag: fc.boolean(),
  })
  .map(
    ({ differenceUs, lagUs, ...rest }): Sample => ({ differenceUs, errorUs: differenceUs + lagUs, ...rest }),
  );
const settings = fc.record<PolicySettings>({
  compat: fc.constantFrom('chr', 'upstream'),
  backwardAllowed: fc.boolean(),
  slewCorrection: fc.boolean(),
  slewPercent: fc.integer({ min: 1, max: 100 }),
  periodMs: fc.integer({ min: 1_000, max: 600_000 }),
});
const wish = fc.record<Wish>({ occasion: fc.constantFrom('request', 'period'), backward: fc.boolean() });

describe('a correction', () => {
  it('never steps back unless somebody has allowed it', () => {
    fc.assert(
      fc.property(sample, wish, settings, (measured, wanted, set) => {
        const correction = decide(
          measured,
          { ...wanted, backward: false },
          { ...set, backwardAllowed: false },
        );
        if (correction.kind === 'step') expect(correction.differenceUs).toBeLessThan(0);
      }),
    );
  });

  it('is a step, if it is one, by the difference', () => {
    fc.assert(
      fc.property(sample, wish, settings, (measured, wanted, set) => {
        const correction = decide(measured, wanted, set);
        if (correction.kind === 'step') expect(correction.differenceUs).toBe(measured.differenceUs);
      }),
    );
  });

  it('slews in the right direction, at a rate that the kernel takes', () => {
    fc.assert(
      fc.property(sample, wish, settings, (measured, wanted, set) => {
        const correction = decide(measured, wanted, set);
        if (correction.kind !== 'slew') return;
        const { tick, durationMs } = correction.plan;
        expect(Math.sign(10_000 - tick)).toBe(Math.sign(measured.errorUs));
        expect(tick).toBeGreaterThanOrEqual(9_000);
        expect(tick).toBeLessThanOrEqual(11_000);
        expect(durationMs).toBeGreaterThan(0);
      }),
    );
  });

  it('never steps what is ahead by up to 5 s, unless the host asks for that (chr)', () => {
    const ahead = sample.filter(({ errorUs }) => errorUs >= 0 && errorUs <= 5_000_000);
    fc.assert(
      fc.property(ahead, wish, settings, (measured, wanted, set) => {
        const correction = decide(measured, { ...wanted, backward: false }, { ...set, compat: 'chr' });
        expect(correction.kind).toBeOneOf(['none', 'slew']);
      }),
    );
  });
});
