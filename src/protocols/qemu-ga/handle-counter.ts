/**
 * The counter of file handles, kept in qemu-ga's own state file (spec qemu-ga.md section 4), so that a handle of an earlier run of the
 * agent never means another file.
 */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { QapiError } from './errors.ts';

const FIRST_HANDLE = 1000n;

export interface HandleCounter {
  /** @throws {QapiError} when the state cannot be written. */
  next(): bigint;
}

/** @param path of the state file; its directory exists. */
export function createHandleCounter(path: string): HandleCounter {
  let counter = readCounter(path);
  return {
    next() {
      const handle = counter;
      try {
        writeFileSync(`${path}.new`, `[global]\nfd_counter=${handle + 1n}\n`, { mode: 0o600 });
        renameSync(`${path}.new`, path);
      } catch {
        throw new QapiError('failed to commit persistent state to disk');
      }
      counter = handle + 1n;
      return handle;
    },
  };
}

/** A missing or damaged file starts the count anew, as qemu-ga does. */
function readCounter(path: string): bigint {
  try {
    const found = /^fd_counter=(\d{1,18})$/m.exec(readFileSync(path, 'utf8'));
    return found?.[1] === undefined ? FIRST_HANDLE : BigInt(found[1]);
  } catch {
    return FIRST_HANDLE;
  }
}
