/**
 * The life of a license as a pure function of the token and the time, and which token may follow which: licensing.md "Life
 * of a license" and "State machine".
 */
import { LEVELS, type Level, type PaidLevel } from './levels.ts';

/** What a verified token says. Times are milliseconds since 1970. */
export type LicenseToken = {
  readonly serial: number;
  readonly issuedAtMs: number;
  readonly accountHint: string;
} & (
  | {
      readonly kind: 'trial';
      readonly level: PaidLevel;
      readonly nextRenewalAtMs: number;
      /** The deadline of a trial is its end. */
      readonly trialEndsAtMs: number;
    }
  | {
      readonly kind: 'paid';
      readonly level: PaidLevel;
      readonly nextRenewalAtMs: number;
      readonly deadlineAtMs: number;
    }
  | { readonly kind: 'released' }
);

export type LicenseState = 'free' | 'trial' | 'trial-ended' | 'paid' | 'paid-renewing' | 'paid-expired';

/** The license at one moment. */
export type License =
  | { readonly state: 'free' }
  | {
      readonly state: 'trial' | 'trial-ended' | 'paid' | 'paid-renewing' | 'paid-expired';
      readonly level: PaidLevel;
      readonly nextRenewalAtMs: number;
      readonly deadlineAtMs: number;
      /** null: not a trial. */
      readonly trialEndsAtMs: number | null;
    };

export const FREE: License = { state: 'free' };

/** A date belongs to what comes after it: at the very millisecond of its end a trial has ended. */
export function licenseAt(token: LicenseToken | null, timeMs: number): License {
  switch (token?.kind) {
    case undefined:
    case 'released':
      return FREE;
    case 'trial': {
      const { level, nextRenewalAtMs, trialEndsAtMs } = token;
      const state = timeMs < trialEndsAtMs ? 'trial' : 'trial-ended';
      return { state, level, nextRenewalAtMs, deadlineAtMs: trialEndsAtMs, trialEndsAtMs };
    }
    case 'paid': {
      const { level, nextRenewalAtMs, deadlineAtMs } = token;
      return { state: paidState(token, timeMs), level, nextRenewalAtMs, deadlineAtMs, trialEndsAtMs: null };
    }
  }
}

function paidState(
  { nextRenewalAtMs, deadlineAtMs }: { nextRenewalAtMs: number; deadlineAtMs: number },
  timeMs: number,
): 'paid' | 'paid-renewing' | 'paid-expired' {
  if (timeMs >= deadlineAtMs) return 'paid-expired';
  return timeMs >= nextRenewalAtMs ? 'paid-renewing' : 'paid';
}

export function levelOf(license: License): Level {
  return license.state === 'free' ? 'free' : license.level;
}

/** Whether the software may be upgraded; where it may not, the console says `limited-upgrades: yes`. */
export function upgradesAllowed({ state }: { readonly state: LicenseState }): boolean {
  return state !== 'trial-ended' && state !== 'paid-expired';
}

/** When the state changes by itself the next time, or null. */
export function nextChangeAtMs(token: LicenseToken | null, timeMs: number): number | null {
  const license = licenseAt(token, timeMs);
  if (license.state === 'free') return null;
  const dates = [license.nextRenewalAtMs, license.deadlineAtMs].filter((date) => date > timeMs);
  return dates.length === 0 ? null : Math.min(...dates);
}

/** How a token came: a renewal by hand proves the account with its password, a file was carried here. */
export type Delivery = 'by-hand' | 'imported' | 'automatic';

/**
 * Whether a verified token may take the place of the present one.
 * @param highestSerial the highest that this system has ever seen, 0 for none
 * @returns null, or why not
 */
export function refusal(
  present: LicenseToken | null,
  next: LicenseToken,
  highestSerial: number,
  delivery: Delivery,
): string | null {
  if (next.serial < highestSerial) {
    return `its serial ${next.serial} is older than ${highestSerial}, which this system has seen`;
  }
  if (present === null || present.kind === 'released' || next.kind === 'released') return null;
  if (present.kind === 'trial' && next.kind === 'paid' && delivery === 'automatic') {
    return "a license was bought for this trial: run 'chr-agent license renew' to take it";
  }
  if (present.kind === 'paid' && next.kind === 'trial') return 'a trial does not replace a license';
  // the level of a license bought for a trial may be any
  if (present.kind === next.kind && LEVELS.indexOf(next.level) < LEVELS.indexOf(present.level)) {
    return `a license does not go down from ${present.level} to ${next.level}`;
  }
  return null;
}
