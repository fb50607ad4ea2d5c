/** licensing.md "State machine" and "Upgrades of paid licenses". */
import { describe, expect, it } from 'vitest';
import {
  type Delivery,
  type LicenseToken,
  levelOf,
  licenseAt,
  nextChangeAtMs,
  refusal,
  upgradesAllowed,
} from '../../../src/license/lifecycle.ts';

const common = { serial: 5, issuedAtMs: 0, accountHint: '' };
const trial = (level: 'p1' | 'p10' | 'p-unlimited' = 'p10'): LicenseToken => ({
  ...common,
  kind: 'trial',
  level,
  nextRenewalAtMs: 3000,
  trialEndsAtMs: 6000,
});
const paid = (level: 'p1' | 'p10' | 'p-unlimited' = 'p1'): LicenseToken => ({
  ...common,
  kind: 'paid',
  level,
  nextRenewalAtMs: 3000,
  deadlineAtMs: 6000,
});
const released: LicenseToken = { ...common, kind: 'released' };

describe('the state machine', () => {
  it.each([
    [null, 0, 'free', 'free', true],
    [released, 0, 'free', 'free', true],
    [trial(), 0, 'trial', 'p10', true],
    [trial(), 3000, 'trial', 'p10', true],
    [trial(), 5999, 'trial', 'p10', true],
    [trial(), 6000, 'trial-ended', 'p10', false],
    [trial(), 1e15, 'trial-ended', 'p10', false],
    [paid(), 2999, 'paid', 'p1', true],
    [paid(), 3000, 'paid-renewing', 'p1', true],
    [paid(), 5999, 'paid-renewing', 'p1', true],
    [paid(), 6000, 'paid-expired', 'p1', false],
  ] as const)('%j at %d is %s, level %s, upgrades: %s', (token, timeMs, state, level, upgrades) => {
    const license = licenseAt(token, timeMs);
    expect(license.state).toBe(state);
    expect(levelOf(license)).toBe(level);
    expect(upgradesAllowed(license)).toBe(upgrades);
  });

  it('gives a trial the same dates as a license, and its end', () => {
    expect(licenseAt(trial(), 0)).toMatchObject({
      nextRenewalAtMs: 3000,
      deadlineAtMs: 6000,
      trialEndsAtMs: 6000,
    });
    expect(licenseAt(paid(), 0)).toMatchObject({
      nextRenewalAtMs: 3000,
      deadlineAtMs: 6000,
      trialEndsAtMs: null,
    });
  });

  it.each([
    [null, 0, null],
    [released, 0, null],
    [paid(), 0, 3000],
    [paid(), 3000, 6000],
    [paid(), 6000, null],
  ] as const)('%j at %d changes next at %s', (token, timeMs, expected) => {
    expect(nextChangeAtMs(token, timeMs)).toBe(expected);
  });
});

describe('which token may follow which', () => {
  it.each<[string, LicenseToken | null, LicenseToken, Delivery, RegExp | null]>([
    ['a first trial', null, trial(), 'by-hand', null],
    ['a first license', null, paid(), 'imported', null],
    ['a renewed license', paid(), paid(), 'automatic', null],
    ['p1 to p10', paid('p1'), paid('p10'), 'automatic', null],
    ['p1 to p-unlimited', paid('p1'), paid('p-unlimited'), 'by-hand', null],
    ['p10 to p-unlimited', paid('p10'), paid('p-unlimited'), 'by-hand', null],
    ['p10 to p1', paid('p10'), paid('p1'), 'by-hand', /does not go down from p10 to p1/],
    ['p-unlimited to p10', paid('p-unlimited'), paid('p10'), 'automatic', /does not go down/],
    ['a renewed trial', trial(), trial(), 'automatic', null],
    ['a lower license bought for a trial', trial('p10'), paid('p1'), 'by-hand', null],
    ['the same by itself', trial('p10'), paid('p1'), 'automatic', /run 'chr-agent license renew'/],
    ['the same from a file', trial('p10'), paid('p1'), 'imported', null],
    ['a trial after a license', paid(), trial(), 'by-hand', /a trial does not replace a license/],
    ['the release of a license', paid('p-unlimited'), released, 'automatic', null],
    ['the release of a trial', trial(), released, 'automatic', null],
    ['a license after the release', released, paid(), 'by-hand', null],
  ])('%s', (_, present, next, delivery, expected) => {
    const why = refusal(present, next, 5, delivery);
    if (expected === null) expect(why).toBeNull();
    else expect(why).toMatch(expected);
  });

  it('a serial may not be older than the highest that was seen', () => {
    expect(refusal(paid(), paid(), 6, 'by-hand')).toMatch(/its serial 5 is older than 6/);
    expect(refusal(released, paid(), 6, 'imported')).toMatch(/older/);
    expect(refusal(paid(), { ...released, serial: 4 }, 5, 'automatic')).toMatch(/older/);
    expect(refusal(paid(), paid(), 5, 'by-hand')).toBeNull();
  });
});
