/** The license for people and as JSON: licensing.md "Console". */
import { upgradesAllowed } from '../../license/lifecycle.ts';
import type { LicenseReport } from '../../license/report.ts';

/** `key: value` lines, the keys right-aligned to the longest one, as the router prints them. */
export function formatLicense(report: LicenseReport): string {
  const { systemId, level, nextRenewalAtMs, deadlineAtMs, trialEndsAtMs, problem } = report;
  const lines: [string, string][] = [
    ['system-id', systemId],
    ['level', level],
  ];
  if (nextRenewalAtMs !== null) lines.push(['next-renewal-at', formatDate(nextRenewalAtMs)]);
  if (deadlineAtMs !== null) lines.push(['deadline-at', formatDate(deadlineAtMs)]);
  if (trialEndsAtMs !== null) lines.push(['trial-ends-at', formatDate(trialEndsAtMs)]);
  if (!upgradesAllowed(report)) lines.push(['limited-upgrades', 'yes']);
  if (problem !== null) lines.push(['status', problem]);
  const width = Math.max(...lines.map(([key]) => key.length));
  return lines.map(([key, value]) => `  ${key.padStart(width)}: ${value}\n`).join('');
}

export const NEW_ID_HINT = `If this machine may be a copy of another one, give it a system id of its own before a trial or license is taken:
  chr-agent license generate-new-id
`;

const MONTHS = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'];

/** `jan/10/2016 21:59:59`, UTC. */
export function formatDate(timeMs: number): string {
  const date = new Date(timeMs);
  const two = (value: number) => String(value).padStart(2, '0');
  const day = `${MONTHS[date.getUTCMonth()]}/${two(date.getUTCDate())}/${date.getUTCFullYear()}`;
  return `${day} ${two(date.getUTCHours())}:${two(date.getUTCMinutes())}:${two(date.getUTCSeconds())}`;
}

/** The console's names; what does not apply is null. */
export function licenseJson(report: LicenseReport): Record<string, unknown> {
  const iso = (timeMs: number | null) => (timeMs === null ? null : new Date(timeMs).toISOString());
  return {
    'system-id': report.systemId,
    level: report.level,
    state: report.state,
    'next-renewal-at': iso(report.nextRenewalAtMs),
    'deadline-at': iso(report.deadlineAtMs),
    'trial-ends-at': iso(report.trialEndsAtMs),
    'limited-upgrades': !upgradesAllowed(report),
    status: report.problem,
    account: report.accountHint,
    'can-generate-new-id': report.canHaveNewId,
  };
}
