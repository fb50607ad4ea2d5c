/** How many tasks ran or waited on average: /proc/loadavg, proc_loadavg(5). */
import { join } from 'node:path';
import { readKernelFile } from './linux/kernel-file.ts';
import { parseLoadAverage } from './linux/procfs.ts';
import { SystemCallError } from './linux/system-call-error.ts';

export interface LoadAverage {
  oneMinute: number;
  fiveMinutes: number;
  fifteenMinutes: number;
}

/** @throws {SystemCallError} */
export function loadAverage(root = '/'): LoadAverage {
  const path = join(root, 'proc/loadavg');
  const averages = parseLoadAverage(readKernelFile(path));
  if (averages === null) throw new SystemCallError('read', path, 0);
  const [oneMinute, fiveMinutes, fifteenMinutes] = averages;
  return { oneMinute, fiveMinutes, fifteenMinutes };
}
