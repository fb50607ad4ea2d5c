/**
 * The guest's wall clock and time zone. The zone is read anew at each call (TZ, else /etc/localtime), since Node.js and libc
 * keep the one they started with.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { NativeAddon } from '../native/addon.ts';
import { parsePosixTz, posixZoneAt, type ZoneAt } from './linux/posix-tz.ts';
import { parseTzif, zoneAt } from './linux/tzif.ts';

export type { ZoneAt } from './linux/posix-tz.ts';

export interface Clock {
  /** ns since 1970 UTC. */
  now(): bigint;
  /** How fast it runs. */
  rate(): ClockRate;
  /** The time zone that holds now; UTC if the machine has none or a damaged one. */
  timeZone(): ZoneAt;
}

export interface ClockRate {
  /** Microseconds that it goes on in 1/100 s: 10,000 unless somebody has changed that. */
  tick: number;
  /** Something keeps it with a better one: an NTP daemon, a reference clock. */
  isDisciplined: boolean;
}

export interface ClockOptions {
  native: Pick<NativeAddon, 'realTimeClock' | 'adjustClock'>;
  root?: string;
  /** The environment's TZ: a zone's name, `:file`, or a POSIX TZ string. */
  tzVariable?: string | undefined;
}

/** adjtimex(2): the clock is unsynchronised. */
const STA_UNSYNC = 0x40;
const UTC: ZoneAt = { abbreviation: 'UTC', offsetSeconds: 0, daylightSaving: false };

export function createClock({ native, root = '/', tzVariable }: ClockOptions): Clock {
  const now = () => native.realTimeClock();
  return {
    now,
    rate() {
      const [, tick, status] = native.adjustClock(0, 0, 0);
      return { tick, isDisciplined: (status & STA_UNSYNC) === 0 };
    },
    timeZone() {
      const unixSeconds = Number(now() / 1_000_000_000n);
      if (tzVariable === undefined) return zoneOfFile(join(root, 'etc/localtime'), unixSeconds) ?? UTC;
      const name = tzVariable.replace(/^:/, '');
      const file = name.startsWith('/') ? name : join(root, 'usr/share/zoneinfo', name);
      return (name && zoneOfFile(file, unixSeconds)) || zoneOfRule(name, unixSeconds) || UTC;
    },
  };
}

function zoneOfFile(path: string, unixSeconds: number): ZoneAt | null {
  try {
    const timeZone = parseTzif(readFileSync(path));
    return timeZone && zoneAt(timeZone, unixSeconds);
  } catch {
    // no such file: a machine without a time zone
    return null;
  }
}

function zoneOfRule(text: string, unixSeconds: number): ZoneAt | null {
  const rule = parsePosixTz(text);
  return rule && posixZoneAt(rule, unixSeconds);
}
