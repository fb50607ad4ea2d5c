/** /proc/diskstats: the parser; the kernel's Documentation/admin-guide/iostats.rst. Pure. */

/** In the file's order. Sectors have 512 bytes, ticks are ms. */
const COUNTERS = [
  'reads',
  'readMerges',
  'readSectors',
  'readTicks',
  'writes',
  'writeMerges',
  'writeSectors',
  'writeTicks',
  'inFlight',
  'totalTicks',
  'weightedTicks',
  'discards',
  'discardMerges',
  'discardSectors',
  'discardTicks',
  'flushes',
  'flushTicks',
] as const;
/** How many of them a kernel may have: the first, Linux 4.18, Linux 5.5. */
const COMPLETE_SETS = [17, 15, 11];
/** Partitions before Linux 2.6.25. */
const SHORT_LINE = ['reads', 'readSectors', 'writes', 'writeSectors'] as const;

/** What the kernel counted since the device came; `inFlight` alone is how many requests are under way now. */
export type DiskCounters = Readonly<Partial<Record<(typeof COUNTERS)[number], bigint>>>;

export interface DiskStatistics {
  name: string;
  major: number;
  minor: number;
  counters: DiskCounters;
}

/** The file's order, with the devices that have no traffic. A line of an unknown form is left out. */
export function parseDiskStatistics(text: string): DiskStatistics[] {
  const disks: DiskStatistics[] = [];
  for (const line of text.split('\n')) {
    const found = /^ *(\d+) +(\d+) +(\S+)((?: +\d+)+) *$/.exec(line);
    if (found === null) continue;
    const [, major, minor, name = '', values = ''] = found;
    const counters = parseCounters(values.trim().split(/ +/).map(BigInt));
    if (counters !== null) disks.push({ name, major: Number(major), minor: Number(minor), counters });
  }
  return disks;
}

function parseCounters(values: readonly bigint[]): DiskCounters | null {
  if (values.length === SHORT_LINE.length) return named(SHORT_LINE, values);
  const count = COMPLETE_SETS.find((size) => size <= values.length);
  return count === undefined ? null : named(COUNTERS.slice(0, count), values);
}

function named(names: readonly (typeof COUNTERS)[number][], values: readonly bigint[]): DiskCounters {
  return Object.fromEntries(names.map((name, index) => [name, values[index]]));
}
