/**
 * Compiled time zone files (/etc/localtime): RFC 9636. The 64-bit block and its footer if there is one (version 2 and later),
 * else the 32-bit block. Leap second records are skipped. Pure.
 */
import { type PosixZone, parsePosixTz, posixZoneAt, type ZoneAt } from './posix-tz.ts';

export interface TimeZone {
  /** Ascending, seconds since 1970 UTC, each with what holds from then on. */
  transitions: { atSeconds: number; zone: ZoneAt }[];
  /** Before the first transition. */
  initial: ZoneAt;
  /** After the last transition; null: what the last one says goes on. */
  footer: PosixZone | null;
}

const HEADER_BYTES = 44;

/** Null if the file is damaged or not TZif. */
export function parseTzif(file: Buffer): TimeZone | null {
  try {
    const version = file.readUInt8(4);
    const first = parseBlock(file, 0, 4);
    if (version === 0) return finish(first, null);
    const second = parseBlock(file, first.end, 8);
    const footer = /^\n([^\n]*)\n/.exec(file.toString('latin1', second.end))?.[1] ?? '';
    return finish(second, parsePosixTz(footer));
  } catch (error) {
    if (error instanceof RangeError) return null;
    throw error;
  }
}

/** What holds at a time, seconds since 1970 UTC. */
export function zoneAt(timeZone: TimeZone, unixSeconds: number): ZoneAt {
  const { transitions, initial, footer } = timeZone;
  const last = transitions.at(-1);
  if (last === undefined || unixSeconds >= last.atSeconds) {
    return footer ? posixZoneAt(footer, unixSeconds) : (last?.zone ?? initial);
  }
  return transitions.findLast(({ atSeconds }) => atSeconds <= unixSeconds)?.zone ?? initial;
}

interface Block {
  times: number[];
  typeIndexes: number[];
  types: ZoneAt[];
  end: number;
}

/** One header with its data block. @throws {RangeError} if the file is too short or not TZif. */
function parseBlock(file: Buffer, start: number, timeBytes: 4 | 8): Block {
  if (file.toString('latin1', start, start + 4) !== 'TZif') throw new RangeError('not a TZif block');
  const count = (index: number) => file.readUInt32BE(start + 20 + index * 4);
  const [utCount, standardCount, leapCount] = [count(0), count(1), count(2)];
  const [timeCount, typeCount, abbreviationBytes] = [count(3), count(4), count(5)];
  const timesAt = start + HEADER_BYTES;
  const indexesAt = timesAt + timeCount * timeBytes;
  const typesAt = indexesAt + timeCount;
  const abbreviationsAt = typesAt + typeCount * 6;
  const leapsAt = abbreviationsAt + abbreviationBytes;
  const end = leapsAt + leapCount * (timeBytes + 4) + standardCount + utCount;
  if (end > file.length || typeCount === 0) throw new RangeError('a TZif block is cut off');

  const abbreviations = file.toString('latin1', abbreviationsAt, leapsAt);
  const types = Array.from({ length: typeCount }, (_, index): ZoneAt => {
    const at = typesAt + index * 6;
    return {
      offsetSeconds: file.readInt32BE(at),
      daylightSaving: file.readUInt8(at + 4) !== 0,
      abbreviation: abbreviations.slice(file.readUInt8(at + 5)).split('\0', 1)[0] ?? '',
    };
  });
  const times = Array.from({ length: timeCount }, (_, index) =>
    timeBytes === 4
      ? file.readInt32BE(timesAt + index * 4)
      : Number(file.readBigInt64BE(timesAt + index * 8)),
  );
  const typeIndexes = [...file.subarray(indexesAt, typesAt)];
  return { times, typeIndexes, types, end };
}

function finish({ times, typeIndexes, types }: Block, footer: PosixZone | null): TimeZone {
  const type = (index: number | undefined): ZoneAt => {
    const zone = types[index ?? 0];
    if (zone === undefined) throw new RangeError('a TZif transition has no type');
    return zone;
  };
  return {
    transitions: times.map((atSeconds, index) => ({ atSeconds, zone: type(typeIndexes[index]) })),
    initial: type(0),
    footer,
  };
}
