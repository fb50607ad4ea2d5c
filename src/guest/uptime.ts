/** How long the machine has been up: /proc/uptime, proc_uptime(5). */
import { join } from 'node:path';
import { readKernelFile } from './linux/kernel-file.ts';
import { SystemCallError } from './linux/system-call-error.ts';

const EIO = 5;

/** In hundredths of a second, time asleep included. @throws {SystemCallError} */
export function uptimeHundredths(root = '/'): number {
  const path = join(root, 'proc/uptime');
  const found = /^(\d+)\.(\d\d)/.exec(readKernelFile(path));
  if (found === null) throw new SystemCallError('read', path, EIO);
  return Number(`${found[1]}${found[2]}`);
}
