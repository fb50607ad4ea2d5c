/** Our reader of time zone files against glibc's, by date(1), with the zones of this machine. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parseTzif, zoneAt } from '../../../src/guest/linux/tzif.ts';

const ZONES = [
  'UTC',
  'Europe/Berlin',
  'Europe/Dublin',
  'Europe/London',
  'America/New_York',
  'America/St_Johns',
  'America/Sao_Paulo',
  'America/Nuuk',
  'America/Godthab',
  'Africa/Casablanca',
  'Africa/Cairo',
  'Asia/Kathmandu',
  'Asia/Gaza',
  'Asia/Tokyo',
  'Asia/Jerusalem',
  'Australia/Lord_Howe',
  'Australia/Sydney',
  'Pacific/Auckland',
  'Pacific/Apia',
  'Pacific/Chatham',
  'Antarctica/Troll',
];
const file = (zone: string) => `/usr/share/zoneinfo/${zone}`;

/** Every 9 days and a bit from 1971 to 2090, and each transition with the second before it. */
function moments(zone: NonNullable<ReturnType<typeof parseTzif>>): number[] {
  const regular = Array.from({ length: 4700 }, (_, index) => 40_000_000 + index * 800_003);
  return [...regular, ...zone.transitions.flatMap(({ atSeconds }) => [atSeconds - 1, atSeconds])].filter(
    (at) => at > -2_000_000_000,
  );
}

describe.each(ZONES.filter((zone) => existsSync(file(zone))))('%s', (name) => {
  it('says what date(1) says', () => {
    const zone = parseTzif(readFileSync(file(name)));
    if (zone === null) throw new Error('not a TZif file');
    const times = moments(zone);
    const input = times.map((at) => `@${at}\n`).join('');
    const output = execFileSync('date', ['-f', '-', '+%z %Z'], {
      input,
      encoding: 'utf8',
      env: { TZ: name, LC_ALL: 'C', PATH: '/usr/bin:/bin' },
    });
    const hhmm = (seconds: number) => {
      const minutes = Math.trunc(Math.abs(seconds) / 60);
      const digits = `${Math.trunc(minutes / 60)}`.padStart(2, '0') + `${minutes % 60}`.padStart(2, '0');
      return (seconds < 0 ? '-' : '+') + digits;
    };
    const ours = times.map((at) => {
      const { offsetSeconds, abbreviation } = zoneAt(zone, at);
      return `${at}: ${hhmm(offsetSeconds)} ${abbreviation}`;
    });
    // date writes a zone called "-00" as west of Greenwich
    const theirs = output.replaceAll('-0000', '+0000').trim().split('\n');
    const different = ours.flatMap((line, index) => {
      const expected = `${times[index]}: ${theirs[index]}`;
      return line === expected ? [] : [{ ours: line, theirs: expected }];
    });
    expect(different.slice(0, 5)).toEqual([]);
  });
});
