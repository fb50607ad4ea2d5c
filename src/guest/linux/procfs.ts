/** Parsers of /proc/stat and /proc/loadavg; proc_stat(5), proc_loadavg(5). Pure. */

/** A CPU's line of /proc/stat, in ticks of 1/{@link TICKS_PER_SECOND} s. Later fields are missing on old kernels. */
export interface CpuTicks {
  cpu: number;
  /** user, nice, system, idle, iowait, irq, softirq, steal, guest, guest_nice: at least the first four. */
  ticks: bigint[];
}

/** USER_HZ, what sysconf(_SC_CLK_TCK) gives: part of the ABI, the same whatever HZ the kernel was built with. */
export const TICKS_PER_SECOND = 100n;
const MIN_FIELDS = 4;
const MAX_FIELDS = 10;

/** The `cpuN` lines in their order, without the sum. A line that is cut off ends it. */
export function parseCpuTicks(stat: string): CpuTicks[] {
  const cpus: CpuTicks[] = [];
  for (const line of stat.split('\n')) {
    const match = /^cpu(\d+)(?=\s|$)/.exec(line);
    if (match === null) continue;
    const [name, number] = match;
    const fields = line.slice(name.length).trim().split(/\s+/).slice(0, MAX_FIELDS);
    const bad = fields.findIndex((field) => !/^\d+$/.test(field));
    const ticks = (bad < 0 ? fields : fields.slice(0, bad)).map(BigInt);
    if (ticks.length < MIN_FIELDS) break;
    cpus.push({ cpu: Number(number), ticks });
  }
  return cpus;
}

/** The averages over 1, 5 and 15 minutes, or null if this is no loadavg. */
export function parseLoadAverage(text: string): [number, number, number] | null {
  const [one, five, fifteen] = text.split(' ', 3).map(Number);
  if (one === undefined || five === undefined || fifteen === undefined) return null;
  return [one, five, fifteen].every(Number.isFinite) ? [one, five, fifteen] : null;
}
