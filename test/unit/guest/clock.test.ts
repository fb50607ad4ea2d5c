import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createClock } from '../../../src/guest/clock.ts';
import { parsePosixTz, posixZoneAt } from '../../../src/guest/linux/posix-tz.ts';
import { parseTzif, zoneAt } from '../../../src/guest/linux/tzif.ts';

const seconds = (iso: string) => Date.parse(iso) / 1000;

interface BlockSpec {
  times: number[];
  indexes: number[];
  types: { offset: number; daylight: boolean; abbreviation: string }[];
}

function block(version: number, timeBytes: 4 | 8, { times, indexes, types }: BlockSpec): Buffer {
  const abbreviations = types.map((type) => `${type.abbreviation}\0`).join('');
  const header = Buffer.alloc(44);
  header.write('TZif');
  header.writeUInt8(version, 4);
  for (const [index, count] of [0, 0, 1, times.length, types.length, abbreviations.length].entries()) {
    header.writeUInt32BE(count, 20 + index * 4);
  }
  const time = (value: number) => {
    const bytes = Buffer.alloc(timeBytes);
    if (timeBytes === 8) bytes.writeBigInt64BE(BigInt(value));
    else bytes.writeInt32BE(value);
    return bytes;
  };
  let abbreviationAt = 0;
  const typeBytes = types.map((type) => {
    const bytes = Buffer.alloc(6);
    bytes.writeInt32BE(type.offset);
    bytes.writeUInt8(type.daylight ? 1 : 0, 4);
    bytes.writeUInt8(abbreviationAt, 5);
    abbreviationAt += type.abbreviation.length + 1;
    return bytes;
  });
  // one leap second record, which is to be skipped
  return Buffer.concat([
    header,
    ...times.map(time),
    Buffer.from(indexes),
    ...typeBytes,
    Buffer.from(abbreviations),
    Buffer.alloc(timeBytes + 4),
  ]);
}

const OLD: BlockSpec = {
  times: [],
  indexes: [],
  types: [{ offset: -300, daylight: false, abbreviation: 'OLD' }],
};
const NEW: BlockSpec = {
  times: [-5_000_000_000, 1000, 2000],
  indexes: [1, 2, 1],
  types: [
    { offset: 3208, daylight: false, abbreviation: 'LMT' },
    { offset: 3600, daylight: false, abbreviation: 'CET' },
    { offset: 7200, daylight: true, abbreviation: 'CEST' },
  ],
};
const v2 = (footer: string) =>
  Buffer.concat([block(0x32, 4, OLD), block(0x32, 8, NEW), Buffer.from(`\n${footer}\n`)]);

describe('TZif (RFC 9636)', () => {
  it.each([
    [-6_000_000_000, 'LMT', 3208],
    [-5_000_000_000, 'CET', 3600],
    [999, 'CET', 3600],
    [1000, 'CEST', 7200],
    [1999, 'CEST', 7200],
    [2000, 'CET', 3600],
    [seconds('2061-07-01T00:00:00Z'), 'CEST', 7200],
    [seconds('2061-12-01T00:00:00Z'), 'CET', 3600],
  ])('at %d: %s', (at, abbreviation, offsetSeconds) => {
    const zone = parseTzif(v2('CET-1CEST,M3.5.0,M10.5.0/3'));
    expect(zone && zoneAt(zone, at)).toMatchObject({ abbreviation, offsetSeconds });
  });

  it('without a footer the last transition goes on', () => {
    const zone = parseTzif(v2(''));
    expect(zone && zoneAt(zone, seconds('2061-07-01T00:00:00Z'))).toMatchObject({ abbreviation: 'CET' });
  });

  it('version 1', () => {
    const zone = parseTzif(block(0, 4, OLD));
    expect(zone && zoneAt(zone, 0)).toEqual({
      abbreviation: 'OLD',
      offsetSeconds: -300,
      daylightSaving: false,
    });
  });

  it('damaged files are null', () => {
    const whole = v2('CET-1');
    fc.assert(
      fc.property(fc.integer({ min: 0, max: whole.length - 8 }), (length) => {
        expect(parseTzif(whole.subarray(0, length))).toBeNull();
      }),
    );
    fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => void parseTzif(Buffer.from(bytes))));
    expect(parseTzif(block(0, 4, { ...OLD, times: [1], indexes: [5] }))).toBeNull();
  });
});

describe('POSIX TZ strings', () => {
  it.each([
    ['UTC0', '2026-07-01T00:00:00Z', 'UTC', 0],
    ['<+0545>-5:45', '2026-07-01T00:00:00Z', '+0545', 20_700],
    ['CET-1CEST,M3.5.0,M10.5.0/3', '2026-03-29T00:59:59Z', 'CET', 3600],
    ['CET-1CEST,M3.5.0,M10.5.0/3', '2026-03-29T01:00:00Z', 'CEST', 7200],
    ['CET-1CEST,M3.5.0,M10.5.0/3', '2026-10-25T00:59:59Z', 'CEST', 7200],
    ['CET-1CEST,M3.5.0,M10.5.0/3', '2026-10-25T01:00:00Z', 'CET', 3600],
    // southern half: summer spans the new year
    ['NZST-12NZDT,M9.5.0,M4.1.0/3', '2026-01-01T00:00:00Z', 'NZDT', 46_800],
    ['NZST-12NZDT,M9.5.0,M4.1.0/3', '2026-07-01T00:00:00Z', 'NZST', 43_200],
    ['EST5EDT', '2026-07-01T00:00:00Z', 'EDT', -14_400],
    // hours beyond the day and before it
    ['<-02>2<-01>,M3.5.0/-1,M10.5.0/0', '2026-03-29T00:59:59Z', '-02', -7200],
    ['<-02>2<-01>,M3.5.0/-1,M10.5.0/0', '2026-03-29T01:00:00Z', '-01', -3600],
    ['IST-2IDT,M3.4.4/26,M10.5.0', '2026-03-27T00:00:00Z', 'IDT', 10_800],
    ['IST-2IDT,M3.4.4/26,M10.5.0', '2026-03-26T23:59:59Z', 'IST', 7200],
    ['AAA0BBB,J60,J300', '2024-03-01T01:59:59Z', 'AAA', 0],
    ['AAA0BBB,J60,J300', '2024-03-01T02:00:00Z', 'BBB', 3600],
    ['AAA0BBB,59,300', '2024-02-29T02:00:00Z', 'BBB', 3600],
    // daylight saving the whole year
    ['XXX3EDT4,0/0,J365/23', '2026-06-01T00:00:00Z', 'EDT', -14_400],
  ])('%s at %s: %s', (text, at, abbreviation, offsetSeconds) => {
    const zone = parsePosixTz(text);
    expect(zone && posixZoneAt(zone, seconds(at))).toMatchObject({ abbreviation, offsetSeconds });
  });

  it.each(['', 'Europe/Berlin', 'CE-1', 'CET', 'CET-1CEST,M3.5.0', 'CET-1CEST,M13.5.0,M10.5.0', 'CET-1 '])(
    '%j is none',
    (text) => {
      expect(parsePosixTz(text)).toBeNull();
    },
  );
});

describe('clock', () => {
  let root: string;
  let status = 0x40;
  const native = {
    realTimeClock: () => 1_782_864_000_123_456_789n,
    adjustClock: (modes: number): [number, number, number] => [modes, 9_990, status],
  };
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'chr-agent-clock-'));
    mkdirSync(join(root, 'etc'));
    mkdirSync(join(root, 'usr/share/zoneinfo/Europe'), { recursive: true });
  });
  afterEach(() => rmSync(root, { recursive: true }));

  it('tells its rate', () => {
    const clock = createClock({ native, root });
    expect(clock.rate()).toEqual({ tick: 9_990, isDisciplined: false });
    status = 0x2001;
    expect(clock.rate()).toEqual({ tick: 9_990, isDisciplined: true });
  });

  it('follows a changed /etc/localtime', () => {
    const clock = createClock({ native, root });
    expect(clock.now()).toBe(1_782_864_000_123_456_789n);
    expect(clock.timeZone()).toEqual({ abbreviation: 'UTC', offsetSeconds: 0, daylightSaving: false });
    writeFileSync(join(root, 'etc/localtime'), v2('CET-1CEST,M3.5.0,M10.5.0/3'));
    expect(clock.timeZone()).toEqual({ abbreviation: 'CEST', offsetSeconds: 7200, daylightSaving: true });
    writeFileSync(join(root, 'etc/localtime'), 'rubbish');
    expect(clock.timeZone()).toMatchObject({ abbreviation: 'UTC' });
  });

  it.each([
    ['Europe/Berlin', 'CEST'],
    [':Europe/Berlin', 'CEST'],
    ['EST5EDT', 'EDT'],
    ['', 'UTC'],
    ['Nowhere/Else', 'UTC'],
  ])('TZ=%j', (tzVariable, abbreviation) => {
    writeFileSync(join(root, 'usr/share/zoneinfo/Europe/Berlin'), v2('CET-1CEST,M3.5.0,M10.5.0/3'));
    expect(createClock({ native, root, tzVariable }).timeZone()).toMatchObject({ abbreviation });
  });
});
