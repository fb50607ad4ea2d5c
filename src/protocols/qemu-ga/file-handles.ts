/** The table of files that the host has open (spec qemu-ga.md section 5, Files): handles outlive connections. */

import { type GuestFile, type OpenMode, openGuestFile } from '../../guest/files.ts';
import type { FreezeGate } from '../../guest/freeze-gate.ts';
import type { NativeAddon } from '../../native/index.ts';
import { QapiError } from './errors.ts';
import type { HandleCounter } from './handle-counter.ts';
import type { Base64Data } from './json/writer.ts';

export interface OpenFile {
  /** Reads up to `wantedBytes`, while the reply is sent. */
  read(wantedBytes: number): FileRead;
  /** @throws {QapiError} */
  write(bytes: Buffer): Promise<void>;
  /** @throws {QapiError} */
  seek(offset: bigint, whence: number): number;
}

export interface FileRead extends Base64Data {
  readonly count: number;
  /** Whether the end of the file was met. */
  readonly metEnd: boolean;
}

export interface FileHandles {
  /** @throws {QapiError} */
  open(path: string, mode: string): Promise<bigint>;
  /** @throws {QapiError} if there is no such handle. */
  get(handle: bigint): OpenFile;
  /** @throws {QapiError} */
  close(handle: bigint): Promise<void>;
  closeAll(): Promise<void>;
}

export interface FileHandlesOptions {
  native: NativeAddon;
  /** Another protocol may freeze while a file is being opened or written here. */
  gate: FreezeGate;
  counter: HandleCounter;
  /** What a relative path means. @throws {Error} when it may not be opened. */
  resolvePath(path: string): string | Promise<string>;
}

const MODES = new Map<string, OpenMode>();
for (const [spellings, access, disposition] of [
  ['r rb', 'read', 'existing'],
  ['w wb', 'write', 'truncate'],
  ['a ab', 'write', 'append'],
  ['r+ rb+ r+b', 'read-write', 'existing'],
  ['w+ wb+ w+b', 'read-write', 'truncate'],
  ['a+ ab+ a+b', 'read-write', 'append'],
] as const) {
  for (const spelling of spellings.split(' ')) MODES.set(spelling, { access, disposition });
}

export function createFileHandles(options: FileHandlesOptions): FileHandles {
  const { native, gate, counter, resolvePath } = options;
  const files = new Map<bigint, GuestFile>();

  function find(handle: bigint): GuestFile {
    const file = files.get(handle);
    if (file === undefined) throw new QapiError(`handle '${handle}' has not been found`);
    return file;
  }

  async function open(path: string, modeText: string): Promise<bigint> {
    const mode = MODES.get(modeText);
    if (mode === undefined) throw new QapiError(`invalid file open mode '${modeText}'`);
    const failure = `failed to open file '${path}' (mode: '${modeText}')`;
    const file = await orFail(failure, native, async () =>
      openGuestFile(await resolvePath(path), mode, native),
    );
    try {
      const handle = counter.next();
      files.set(handle, file);
      return handle;
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  return {
    open: (path, modeText) => gate.pass(() => open(path, modeText)),

    get(handle) {
      const file = find(handle);
      return {
        read: (wantedBytes) => startRead(file, wantedBytes, native),
        write: (bytes) => gate.pass(() => orFail('failed to write to file', native, () => file.write(bytes))),
        seek(offset, whence) {
          try {
            return file.seek(offset, whence);
          } catch (error) {
            throw failed('failed to seek file', error, native);
          }
        },
      };
    },

    async close(handle) {
      const file = find(handle);
      files.delete(handle);
      await gate.pass(() => orFail('failed to close handle', native, () => file.close()));
    },

    async closeAll() {
      const all = [...files.values()];
      files.clear();
      await Promise.allSettled(all.map((file) => file.close()));
    },
  };
}

function startRead(file: GuestFile, wantedBytes: number, native: NativeAddon): FileRead {
  let count = 0;
  let hasEnded = wantedBytes === 0;
  let metEnd = false;
  return {
    kind: 'base64-data',
    get count() {
      return count;
    },
    get metEnd() {
      return metEnd;
    },
    async read(target, start, end) {
      const limit = Math.min(end, start + wantedBytes - count);
      let at = start;
      while (at < limit && !hasEnded) {
        try {
          const bytes = await file.read(target, at, limit);
          metEnd = bytes === 0;
          hasEnded = metEnd;
          at += bytes;
          count += bytes;
        } catch (error) {
          // what has been read is not lost: the next read will meet the error again
          if (count === 0) throw failed('failed to read file', error, native);
          hasEnded = true;
        }
      }
      return at - start;
    },
  };
}

async function orFail<T>(failure: string, native: NativeAddon, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (error) {
    throw failed(failure, error, native);
  }
}

/** Errors of the system, from Node.js or from us, carry an errno; their text is strerror's. */
function failed(failure: string, error: unknown, native: NativeAddon): unknown {
  if (!(error instanceof Error) || !('errno' in error) || typeof error.errno !== 'number') return error;
  return new QapiError(`${failure}: ${native.errorText(Math.abs(error.errno))}`);
}
