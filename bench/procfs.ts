/** What /proc tells of an agent's process: memory, wake-ups, CPU time, children. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';

export interface Memory {
  readonly residentBytes: number;
  /** Private_Dirty of smaps_rollup: what nobody else shares and no file backs, the process's real cost. */
  readonly privateDirtyBytes: number;
}

export function memoryOf(pid: number): Memory {
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  return { residentBytes: kilobytes(rollup, 'Rss'), privateDirtyBytes: kilobytes(rollup, 'Private_Dirty') };
}

/** Starts the measurement of {@link peakResidentBytes} anew. */
export function resetPeak(pid: number): void {
  writeFileSync(`/proc/${pid}/clear_refs`, '5');
}

/** VmHWM: the most that was resident since {@link resetPeak}; the kernel counts, nothing is missed between samples. */
export function peakResidentBytes(pid: number): number {
  return kilobytes(readFileSync(`/proc/${pid}/status`, 'utf8'), 'VmHWM');
}

/** How often threads of the process gave up the CPU to wait, in all: each was woken once for that. */
export function wakeupsOf(pid: number): number {
  let count = 0;
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    const status = readFileSync(`/proc/${pid}/task/${task}/status`, 'utf8');
    count += Number(/^voluntary_ctxt_switches:\s*(\d+)/m.exec(status)?.[1] ?? 0);
  }
  return count;
}

/** utime + stime in clock ticks (10 ms). */
export function cpuTicksOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // the fields behind the name, which may hold anything
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return Number(fields[11]) + Number(fields[12]);
}

export function childrenOf(pid: number): number {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).length;
}

function kilobytes(text: string, key: string): number {
  const found = new RegExp(`^${key}:\\s*(\\d+) kB`, 'm').exec(text);
  return Number(found?.[1] ?? 0) * 1024;
}
