/** When the machine was started, and which start this is: /proc/stat, and random(4)'s boot_id. */
import { join } from 'node:path';
import { readKernelFile } from './linux/kernel-file.ts';
import { SystemCallError } from './linux/system-call-error.ts';

const EIO = 5;

/** Another one after every boot; a suspend or a migration keeps it. @throws {SystemCallError} */
export function bootId(root = '/'): string {
  return readKernelFile(join(root, 'proc/sys/kernel/random/boot_id')).trim();
}

/** In seconds since 1970, by the clock as it is set now: it stays the same while nobody sets that. @throws {SystemCallError} */
export function bootTimeSeconds(root = '/'): number {
  const path = join(root, 'proc/stat');
  const seconds = /^btime (\d+)$/m.exec(readKernelFile(path))?.[1];
  if (seconds === undefined) throw new SystemCallError('read', path, EIO);
  return Number(seconds);
}
