/** Memory and load, type 8: which values, and how they are encoded (spec vmware.md section 6.8). Pure. */

/** Counters and sizes of one moment; null: this kernel does not tell. */
export interface StatisticsSource {
  /** On a clock that never jumps. */
  readonly atMs: number;
  readonly pageSizeBytes: number;
  /** Physical memory that the kernel manages. */
  readonly presentKib: number | null;
  readonly totalKib: number;
  readonly freeKib: number | null;
  readonly availableKib: number | null;
  readonly activeFileKib: number | null;
  readonly swapFreeKib: number | null;
  readonly slabReclaimableKib: number | null;
  readonly buffersKib: number | null;
  readonly cachedKib: number | null;
  readonly hugePageSizeKib: number | null;
  readonly hugePagesTotal: number | null;
  /** Counted since boot, as are the next two. */
  readonly pageIns: number | null;
  readonly pageOuts: number | null;
  readonly contextSwitches: number | null;
  /** Without the one that asks. */
  readonly runQueue: number | null;
  readonly disksInFlight: number | null;
  /** Milliseconds of waiting, added up over all requests since boot. */
  readonly disksWaitedMs: number | null;
}

interface Item {
  readonly id: number;
  readonly type: 'unsigned' | 'double';
  readonly unit: number;
  readonly value: number | null;
}

const LEGACY_BYTES = 112;
const LEGACY_VERSION = 5;
/** Memory total and huge pages total are valid. */
const LEGACY_FLAGS = 0x401;
const LEGACY_AT = { totalKib: 8, hugePagesTotal: 88 };
const FLAG = { nameSpace: 0x02, id: 0x04, type: 0x08, unit: 0x20, value: 0x80 };
const NAME_SPACE = Buffer.from('_tools/v1\0');
const TYPE = { unsigned: 9, double: 11 };
const UNIT = {
  bytes: 0x03,
  kib: 0x0803,
  hugePages: 0x8803,
  pagesPerSecond: 0x8043,
  perSecond: 0x42,
  number: 0x02,
};

/** The value of type 8. @param before the last ones, for rates; null: they are not known */
export function encodeStatistics(now: StatisticsSource, before: StatisticsSource | null): Buffer {
  const legacy = Buffer.alloc(LEGACY_BYTES);
  legacy.writeUInt32LE(LEGACY_VERSION, 0);
  legacy.writeUInt32LE(LEGACY_FLAGS, 4);
  legacy.writeBigUInt64LE(BigInt(usableKib(now)), LEGACY_AT.totalKib);
  legacy.writeBigUInt64LE(BigInt(now.hugePagesTotal ?? 0), LEGACY_AT.hugePagesTotal);
  return Buffer.concat([legacy, ...items(now, before).map((item, index) => encodeItem(item, index === 0))]);
}

function items(now: StatisticsSource, before: StatisticsSource | null): Item[] {
  const rate = (key: 'pageIns' | 'pageOuts' | 'contextSwitches' | 'disksWaitedMs', perMs: number) => {
    const last = before?.[key] ?? null;
    const current = now[key];
    const elapsedMs = before === null ? 0 : now.atMs - before.atMs;
    if (last === null || current === null || elapsedMs <= 0) return null;
    // a disk that has gone takes its counters with it
    return Math.max(0, ((current - last) * perMs) / elapsedMs);
  };
  const unsigned = (id: number, unit: number, value: number | null): Item => ({
    id,
    type: 'unsigned',
    unit,
    value,
  });
  const double = (id: number, unit: number, value: number | null): Item => ({
    id,
    type: 'double',
    unit,
    value,
  });
  const usable = usableKib(now);
  const reservation = Math.floor(usable / 20);
  const needed = now.availableKib === null ? null : usable - Math.max(0, now.availableKib - reservation);
  return [
    unsigned(11, UNIT.kib, now.hugePageSizeKib),
    unsigned(6, UNIT.kib, usable),
    unsigned(4, UNIT.kib, now.freeKib),
    unsigned(3, UNIT.kib, now.activeFileKib),
    unsigned(9, UNIT.kib, now.swapFreeKib),
    unsigned(12, UNIT.hugePages, now.hugePagesTotal),
    double(7, UNIT.pagesPerSecond, rate('pageIns', 1000)),
    double(8, UNIT.pagesPerSecond, rate('pageOuts', 1000)),
    double(2, UNIT.perSecond, rate('contextSwitches', 1000)),
    unsigned(10, UNIT.bytes, now.pageSizeBytes),
    unsigned(5, UNIT.kib, needed === null ? null : Math.max(0, needed)),
    unsigned(13, UNIT.kib, reservation),
    unsigned(25, UNIT.kib, now.availableKib),
    unsigned(34, UNIT.kib, now.slabReclaimableKib),
    unsigned(26, UNIT.kib, now.buffersKib),
    unsigned(27, UNIT.kib, now.cachedKib),
    unsigned(60, UNIT.kib, now.totalKib),
    unsigned(61, UNIT.number, now.runQueue),
    unsigned(62, UNIT.number, now.disksInFlight),
    double(63, UNIT.number, rate('disksWaitedMs', 1)),
  ];
}

function usableKib({ presentKib, totalKib }: StatisticsSource): number {
  return presentKib ?? totalKib;
}

/** The name space stands in the first item and holds for the others. */
function encodeItem({ id, type, unit, value }: Item, isFirst: boolean): Buffer {
  const flags =
    (isFirst ? FLAG.nameSpace : 0) | FLAG.id | FLAG.type | FLAG.unit | (value === null ? 0 : FLAG.value);
  const head = Buffer.alloc(4);
  head.writeUInt32LE(flags);
  const data = [...(isFirst ? [NAME_SPACE] : []), shortest(id), shortest(TYPE[type]), shortest(unit)];
  if (value !== null) data.push(type === 'double' ? encodeDouble(value) : shortest(value));
  return Buffer.concat([head, ...data.flatMap((datum) => [sizeOf(datum), datum])]);
}

function sizeOf(datum: Buffer): Buffer {
  const size = Buffer.alloc(2);
  size.writeUInt16LE(datum.length);
  return size;
}

/** In 0, 1, 2, 4 or 8 bytes. @param value a whole number below 2^53 */
export function shortest(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  const size = [0, 1, 2, 4].find((count) => value < 256 ** count) ?? 8;
  return bytes.subarray(0, size);
}

/** In no byte for 0, four if a float holds it exactly, else eight. */
export function encodeDouble(value: number): Buffer {
  if (value === 0) return Buffer.alloc(0);
  const isFloat = Math.fround(value) === value;
  const bytes = Buffer.alloc(isFloat ? 4 : 8);
  if (isFloat) bytes.writeFloatLE(value);
  else bytes.writeDoubleLE(value);
  return bytes;
}
