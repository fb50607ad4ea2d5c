/** What the console is told of the license (licensing.md "Console"), by the daemon or from its files. */
import type { Level } from './levels.ts';
import { type LicenseState, type LicenseToken, levelOf, licenseAt } from './lifecycle.ts';
import type { StoredLicense } from './store.ts';
import type { SystemId } from './system-id.ts';

/** Times are milliseconds since 1970; null where the state has none. */
export interface LicenseReport {
  readonly systemId: SystemId;
  readonly level: Level;
  readonly state: LicenseState;
  readonly nextRenewalAtMs: number | null;
  readonly deadlineAtMs: number | null;
  readonly trialEndsAtMs: number | null;
  /** Why the last renewal failed, or why the stored token does not count. */
  readonly problem: string | null;
  readonly accountHint: string | null;
  /** Whether the system id can still be replaced: `generate-new-id`. */
  readonly canHaveNewId: boolean;
}

export function reportAt(
  stored: StoredLicense,
  token: LicenseToken | null,
  problem: string | null,
  timeMs: number,
): LicenseReport {
  const license = licenseAt(token, timeMs);
  const dates = license.state === 'free' ? null : license;
  return {
    systemId: stored.systemId,
    level: levelOf(license),
    state: license.state,
    nextRenewalAtMs: dates?.nextRenewalAtMs ?? null,
    deadlineAtMs: dates?.deadlineAtMs ?? null,
    trialEndsAtMs: dates?.trialEndsAtMs ?? null,
    problem,
    accountHint: token?.accountHint || null,
    canHaveNewId: !stored.hasHistory,
  };
}
