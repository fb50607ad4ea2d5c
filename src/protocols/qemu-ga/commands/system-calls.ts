/** Facts that the kernel refused to give, as error replies in qemu-ga's wording: `open("/proc/stat"): No such file or directory`. */
import { SystemCallError } from '../../../guest/linux/system-call-error.ts';
import type { NativeAddon } from '../../../native/index.ts';
import { QapiError } from '../errors.ts';

/** How qemu-ga calls them. */
const CALL_NAMES: Record<string, string> = { read: 'pread', write: 'pwrite' };

export function systemCallText(error: SystemCallError, native: NativeAddon): string {
  const { call, path } = error;
  return `${CALL_NAMES[call] ?? call}("${path}"): ${reasonText(error, native)}`;
}

/** Why alone. */
export function reasonText({ errno }: SystemCallError, native: NativeAddon): string {
  return errno === 0 ? 'unexpected EOF' : native.errorText(errno);
}

/** Runs what reads a fact; a system call that fails becomes an error reply. */
export async function readFact<T>(read: () => T | Promise<T>, native: NativeAddon): Promise<T> {
  try {
    return await read();
  } catch (error) {
    throw error instanceof SystemCallError ? new QapiError(systemCallText(error, native)) : error;
  }
}
