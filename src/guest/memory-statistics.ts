/**
 * How memory is used and how busy paging, processors and disks are, as the kernel counts it: /proc/meminfo, zoneinfo, vmstat,
 * stat, diskstats; proc(5).
 */

import { readFileSync } from 'node:fs';
import { endianness } from 'node:os';
import { join } from 'node:path';
import { parseDiskStatistics } from './linux/diskstats.ts';
import { readKernelFile } from './linux/kernel-file.ts';
import { createBlockSysfs, VIRTUAL_DEVICES } from './linux/sysfs-block.ts';
import { SystemCallError } from './linux/system-call-error.ts';

/** null: this kernel does not tell. */
export interface MemoryStatistics {
  pageSizeBytes: number;
  /** Of all zones: what the kernel manages and its own parts. */
  presentKib: number | null;
  totalKib: number;
  freeKib: number | null;
  availableKib: number | null;
  activeFileKib: number | null;
  swapFreeKib: number | null;
  slabReclaimableKib: number | null;
  buffersKib: number | null;
  cachedKib: number | null;
  hugePageSizeKib: number | null;
  hugePagesTotal: number | null;
  /** Counted since boot, as are the next two. */
  pageIns: number | null;
  pageOuts: number | null;
  contextSwitches: number | null;
  /** Tasks that run or could, without the one that asks. */
  runQueue: number | null;
  /** Requests to the disks that are under way. */
  disksInFlight: number | null;
  /** How long all requests since boot have waited, added up. */
  disksWaitedMs: number | null;
}

const EIO = 5;
const PAGE_BYTES = 4096;
/** getauxval(3): the page size. */
const AT_PAGESZ = 6;

/** @throws {SystemCallError} if there is no meminfo. */
export function memoryStatistics(root = '/'): MemoryStatistics {
  const path = join(root, 'proc/meminfo');
  const meminfo = parseNumbers(readKernelFile(path));
  const totalKib = meminfo.get('MemTotal');
  if (totalKib === undefined) throw new SystemCallError('read', path, EIO);
  const kib = (name: string) => meminfo.get(name) ?? null;
  const vmstat = parseNumbers(readIfThere(join(root, 'proc/vmstat')));
  const stat = parseNumbers(readIfThere(join(root, 'proc/stat')));
  const pageSizeBytes = pageSize(root);
  const presentPages = parsePresentPages(readIfThere(join(root, 'proc/zoneinfo')));
  const running = stat.get('procs_running');
  return {
    pageSizeBytes,
    presentKib: presentPages === null ? null : (presentPages * pageSizeBytes) / 1024,
    totalKib,
    freeKib: kib('MemFree'),
    availableKib: kib('MemAvailable'),
    activeFileKib: kib('Active(file)'),
    swapFreeKib: kib('SwapFree'),
    slabReclaimableKib: kib('SReclaimable'),
    buffersKib: kib('Buffers'),
    cachedKib: kib('Cached'),
    hugePageSizeKib: kib('Hugepagesize'),
    hugePagesTotal: kib('HugePages_Total'),
    pageIns: vmstat.get('pgpgin') ?? null,
    pageOuts: vmstat.get('pgpgout') ?? null,
    contextSwitches: stat.get('ctxt') ?? null,
    runQueue: running === undefined ? null : Math.max(0, running - 1),
    ...diskQueues(root),
  };
}

/** `Name: 123 kB`, `name 123`: names and their first numbers. */
export function parseNumbers(text: string): Map<string, number> {
  const numbers = new Map<string, number>();
  for (const line of text.split('\n')) {
    const found = /^(\S+?):? +(\d+)(?: |$)/.exec(line);
    if (found?.[1] !== undefined) numbers.set(found[1], Number(found[2]));
  }
  return numbers;
}

/** null if this is no zoneinfo. */
export function parsePresentPages(zoneinfo: string): number | null {
  const counts = [...zoneinfo.matchAll(/^ +present +(\d+)$/gm)].map(([, pages]) => Number(pages));
  return counts.length === 0 ? null : counts.reduce((sum, pages) => sum + pages, 0);
}

/** Of the disks themselves: partitions are parts of them, and what is virtual lies on them. */
function diskQueues(root: string): Pick<MemoryStatistics, 'disksInFlight' | 'disksWaitedMs'> {
  const sysfs = createBlockSysfs(root);
  const isDisk = (name: string) => {
    const path = sysfs.resolve(`/sys/block/${name.replaceAll('/', '!')}`);
    return path !== null && !path.includes(VIRTUAL_DEVICES);
  };
  const disks = parseDiskStatistics(readIfThere(join(root, 'proc/diskstats'))).filter(({ name }) =>
    isDisk(name),
  );
  if (disks.length === 0) return { disksInFlight: null, disksWaitedMs: null };
  const sum = (key: 'inFlight' | 'weightedTicks') =>
    disks.reduce((total, { counters }) => total + Number(counters[key] ?? 0n), 0);
  return { disksInFlight: sum('inFlight'), disksWaitedMs: sum('weightedTicks') };
}

/** From the auxiliary vector: pairs of words. */
function pageSize(root: string): number {
  try {
    const vector = readFileSync(join(root, 'proc/self/auxv'));
    const word = (at: number) =>
      Number(endianness() === 'LE' ? vector.readBigUInt64LE(at) : vector.readBigUInt64BE(at));
    for (let at = 0; at + 16 <= vector.length; at += 16) if (word(at) === AT_PAGESZ) return word(at + 8);
  } catch {
    // a restricted /proc
  }
  return PAGE_BYTES;
}

function readIfThere(path: string): string {
  try {
    return readKernelFile(path);
  } catch {
    return '';
  }
}
