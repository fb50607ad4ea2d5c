/** How much memory the machine has and has left: /proc/meminfo, proc_meminfo(5). */
import { join } from 'node:path';
import { readKernelFile } from './linux/kernel-file.ts';
import { SystemCallError } from './linux/system-call-error.ts';

export interface MemoryUsage {
  totalBytes: number;
  /** What programs can still get without swapping; on kernels before 3.14 only what is not used for anything. */
  availableBytes: number;
}

const EIO = 5;

/** @throws {SystemCallError} */
export function memoryUsage(root = '/'): MemoryUsage {
  const path = join(root, 'proc/meminfo');
  const usage = parseMemoryUsage(readKernelFile(path));
  if (usage === null) throw new SystemCallError('read', path, EIO);
  return usage;
}

/** null if this is no meminfo. */
export function parseMemoryUsage(meminfo: string): MemoryUsage | null {
  const bytesOf = (name: string): number | null => {
    const kibibytes = new RegExp(`^${name}:\\s*(\\d+) kB$`, 'm').exec(meminfo)?.[1];
    return kibibytes === undefined ? null : Number(kibibytes) * 1024;
  };
  const totalBytes = bytesOf('MemTotal');
  const availableBytes = bytesOf('MemAvailable') ?? bytesOf('MemFree');
  return totalBytes === null || availableBytes === null ? null : { totalBytes, availableBytes };
}
