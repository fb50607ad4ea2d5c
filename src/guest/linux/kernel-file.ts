/** Files and directories of /proc and /sys: they are small, never block, and are read synchronously (also with a starved thread pool). */
import { closeSync, constants, opendirSync, openSync, readFileSync } from 'node:fs';
import { asSystemCallError } from './system-call-error.ts';

/** @throws {SystemCallError} */
export function readKernelFile(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch (error) {
    throw asSystemCallError(error, path);
  }
}

/** Names in the kernel's order (node's readdir sorts them). @throws {SystemCallError} */
export function listKernelDirectory(path: string): string[] {
  try {
    const directory = opendirSync(path);
    try {
      const names: string[] = [];
      for (let entry = directory.readSync(); entry !== null; entry = directory.readSync()) {
        names.push(entry.name);
      }
      return names;
    } finally {
      directory.closeSync();
    }
  } catch (error) {
    throw asSystemCallError(error, path);
  }
}

/** Opens a file or directory. @throws {SystemCallError} */
export function openKernelFile(path: string, flags: number): number {
  try {
    return openSync(path, flags);
  } catch (error) {
    throw asSystemCallError(error, path);
  }
}

/** @throws {SystemCallError} if there is no such directory. */
export function checkDirectory(path: string): void {
  closeSync(openKernelFile(path, constants.O_RDONLY | constants.O_DIRECTORY));
}
