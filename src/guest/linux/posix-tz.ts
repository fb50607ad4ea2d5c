/**
 * The POSIX TZ string, `CET-1CEST,M3.5.0,M10.5.0/3`: the rule for times after the last transition of a TZif file, and a value
 * of the variable TZ. tzset(3), RFC 9636 section 3.3.1 (hours up to 167). Pure.
 */

export interface ZoneAt {
  abbreviation: string;
  /** East of Greenwich is positive. */
  offsetSeconds: number;
  daylightSaving: boolean;
}

export interface PosixZone {
  standard: ZoneAt;
  daylight: { zone: ZoneAt; start: YearlyRule; end: YearlyRule } | null;
}

/** A moment of each year, local wall clock. */
interface YearlyRule {
  day:
    | { kind: 'month-week-day'; month: number; week: number; weekday: number }
    /** 1-365, 29 February is never counted. */
    | { kind: 'julian'; day: number }
    /** 0-365. */
    | { kind: 'day-of-year'; day: number };
  secondOfDay: number;
}

const DAY_SECONDS = 86_400;
const DEFAULT_RULE_SECONDS = 2 * 3600;

/** Null if the text is not a TZ string. */
export function parsePosixTz(text: string): PosixZone | null {
  const name = /^(?:<([A-Za-z0-9+-]+)>|([A-Za-z]{3,}))/;
  const time = /^([+-]?)(\d{1,3})(?::(\d{1,2}))?(?::(\d{1,2}))?/;
  let rest = text;
  const take = (pattern: RegExp): RegExpExecArray | null => {
    const match = pattern.exec(rest);
    if (match) rest = rest.slice(match[0].length);
    return match;
  };
  const takeName = (): string | null => {
    const match = take(name);
    return match ? (match[1] ?? match[2] ?? null) : null;
  };
  const takeSeconds = (): number | null => {
    const match = take(time);
    if (!match) return null;
    const [hours, minutes, seconds] = [match[2], match[3], match[4]].map((part) => Number(part ?? 0));
    const total = (hours ?? 0) * 3600 + (minutes ?? 0) * 60 + (seconds ?? 0);
    return match[1] === '-' ? -total : total;
  };
  const takeRule = (): YearlyRule | null => {
    const match = take(/^,(?:M(\d{1,2})\.(\d)\.(\d)|J(\d{1,3})|(\d{1,3}))/);
    if (!match) return null;
    const day = ruleDay(match);
    const secondOfDay = take(/^\//) ? takeSeconds() : DEFAULT_RULE_SECONDS;
    return day === null || secondOfDay === null ? null : { day, secondOfDay };
  };

  const standardName = takeName();
  const west = takeSeconds();
  if (standardName === null || west === null) return null;
  // "0 - x" rather than "-x": no negative zero
  const standard: ZoneAt = { abbreviation: standardName, offsetSeconds: 0 - west, daylightSaving: false };
  if (rest === '') return { standard, daylight: null };
  const daylightName = takeName();
  if (daylightName === null) return null;
  const daylightWest = /^[+\-\d]/.test(rest) ? takeSeconds() : west - 3600;
  if (daylightWest === null) return null;
  // without rules the United States' apply, as glibc has it
  if (rest === '') rest = ',M3.2.0,M11.1.0';
  const start = takeRule();
  const end = takeRule();
  if (start === null || end === null || rest !== '') return null;
  const zone: ZoneAt = { abbreviation: daylightName, offsetSeconds: 0 - daylightWest, daylightSaving: true };
  return { standard, daylight: { zone, start, end } };
}

function ruleDay(match: RegExpExecArray): YearlyRule['day'] | null {
  const [, month, week, weekday, julian, dayOfYear] = match;
  if (julian !== undefined) {
    const day = Number(julian);
    return day >= 1 && day <= 365 ? { kind: 'julian', day } : null;
  }
  if (dayOfYear !== undefined) {
    const day = Number(dayOfYear);
    return day <= 365 ? { kind: 'day-of-year', day } : null;
  }
  const rule = { month: Number(month), week: Number(week), weekday: Number(weekday) };
  const valid = rule.month >= 1 && rule.month <= 12 && rule.week >= 1 && rule.week <= 5 && rule.weekday <= 6;
  return valid ? { kind: 'month-week-day', ...rule } : null;
}

/** What holds at a time, seconds since 1970 UTC. */
export function posixZoneAt(zone: PosixZone, unixSeconds: number): ZoneAt {
  const { standard, daylight } = zone;
  if (daylight === null) return standard;
  const year = new Date((unixSeconds + standard.offsetSeconds) * 1000).getUTCFullYear();
  const start = ruleSeconds(daylight.start, year) - standard.offsetSeconds;
  const end = ruleSeconds(daylight.end, year) - daylight.zone.offsetSeconds;
  const inDaylight =
    start < end ? unixSeconds >= start && unixSeconds < end : unixSeconds >= start || unixSeconds < end;
  return inDaylight ? daylight.zone : standard;
}

/** The rule's wall clock in a year, as if it were UTC. */
function ruleSeconds({ day, secondOfDay }: YearlyRule, year: number): number {
  const yearStart = Date.UTC(year, 0, 1) / 1000;
  switch (day.kind) {
    case 'julian': {
      const afterFebruary = day.day >= 60 && isLeap(year) ? 1 : 0;
      return yearStart + (day.day - 1 + afterFebruary) * DAY_SECONDS + secondOfDay;
    }
    case 'day-of-year':
      return yearStart + day.day * DAY_SECONDS + secondOfDay;
    case 'month-week-day': {
      const first = new Date(Date.UTC(year, day.month - 1, 1));
      const daysInMonth = new Date(Date.UTC(year, day.month, 0)).getUTCDate();
      let date = 1 + ((day.weekday - first.getUTCDay() + 7) % 7) + (day.week - 1) * 7;
      while (date > daysInMonth) date -= 7;
      return first.getTime() / 1000 + (date - 1) * DAY_SECONDS + secondOfDay;
    }
    default:
      return day satisfies never;
  }
}

const isLeap = (year: number) => year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);
