/** Type 8, memory and load, as the host reads it; vmware.md section 6.8. */

export interface StatisticsItem {
  readonly id: number;
  /** 9 unsigned integer, 11 double. */
  readonly valueType: number;
  readonly unit: number;
  /** undefined: not known. */
  readonly value: number | undefined;
}

export interface Statistics {
  readonly legacy: { readonly memTotalKib: bigint; readonly hugePagesTotal: bigint };
  readonly nameSpace: string;
  readonly items: readonly StatisticsItem[];
}

const LEGACY_BYTES = 112;
const LEGACY = { version: 5, flags: 0x401 };
const DATUM = { nameSpace: 0x02, id: 0x04, valueType: 0x08, unit: 0x20, value: 0x80 } as const;
const KNOWN = Object.values(DATUM).reduce((all, bit) => all | bit, 0);
const UNSIGNED = 9;
const DOUBLE = 11;

/** Bytes of an integer: none for 0, else the smallest that holds it (seen with open-vm-tools 12.2: never 3, 5, 6 or 7). */
const INTEGER_BYTES = [0, 1, 2, 4, 8];

function unsigned(datum: Buffer): number {
  const size = INTEGER_BYTES.indexOf(datum.length);
  if (size < 0) throw new Error(`statistics: ${datum.length} bytes for an integer`);
  const value = datum.reduceRight((sum, byte) => sum * 256n + BigInt(byte), 0n);
  const smaller = INTEGER_BYTES[size - 1];
  if (smaller !== undefined && value < 256n ** BigInt(smaller))
    throw new Error('statistics: an integer of more bytes than needed');
  return Number(value);
}

function double(datum: Buffer): number {
  if (datum.length === 0) return 0;
  if (datum.length === 4) return datum.readFloatLE();
  if (datum.length === 8) return datum.readDoubleLE();
  throw new Error(`statistics: ${datum.length} bytes for a double`);
}

export function decodeStatistics(bytes: Buffer): Statistics {
  if (bytes.readUInt32LE(0) !== LEGACY.version || bytes.readUInt32LE(4) !== LEGACY.flags)
    throw new Error('statistics: another legacy block');
  const items: StatisticsItem[] = [];
  let nameSpace = '';
  let at = LEGACY_BYTES;
  while (at < bytes.length) {
    const flags = bytes.readUInt32LE(at);
    at += 4;
    if ((flags & ~KNOWN) !== 0) throw new Error(`statistics: flags 0x${flags.toString(16)}`);
    const datum = (flag: number): Buffer | undefined => {
      if ((flags & flag) === 0) return undefined;
      const size = bytes.readUInt16LE(at);
      at += 2 + size;
      if (at > bytes.length) throw new Error('statistics: an item runs past the end');
      return bytes.subarray(at - size, at);
    };
    // in ascending order of the bits
    const space = datum(DATUM.nameSpace);
    const id = datum(DATUM.id);
    const valueType = datum(DATUM.valueType);
    const unit = datum(DATUM.unit);
    const value = datum(DATUM.value);
    if (space !== undefined) nameSpace = space.toString('utf8').replace(/\0$/, '');
    if (id === undefined || valueType === undefined || unit === undefined)
      throw new Error('statistics: an item without id, type or unit');
    const type = unsigned(valueType);
    if (type !== UNSIGNED && type !== DOUBLE) throw new Error(`statistics: value type ${type}`);
    items.push({
      id: unsigned(id),
      valueType: type,
      unit: unit.readUIntLE(0, unit.length),
      value: value === undefined ? undefined : type === DOUBLE ? double(value) : unsigned(value),
    });
  }
  return {
    legacy: { memTotalKib: bytes.readBigUInt64LE(8), hugePagesTotal: bytes.readBigUInt64LE(88) },
    nameSpace,
    items,
  };
}
