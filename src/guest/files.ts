/**
 * Files that a host opens, as fopen(3) means the modes but without stdio's buffer: what is written can be seen at once. One
 * position for reading and writing: the kernel's.
 */
import {
  constants,
  fchmod,
  close as fsClose,
  open as fsOpen,
  read as fsRead,
  write as fsWrite,
  type NoParamCallback,
} from 'node:fs';
import type { NativeAddon } from '../native/index.ts';

/** Negative in Node's errors, positive here. */
export class FileError extends Error {
  override name = 'FileError';
  readonly errno: number;
  constructor(errno: number, text: string) {
    super(text);
    this.errno = errno;
  }
}

export interface OpenMode {
  readonly access: 'read' | 'write' | 'read-write';
  /** What happens to an existing file, and whether a missing one is made. */
  readonly disposition: 'existing' | 'truncate' | 'append';
}

export interface GuestFile {
  /** Bytes read into target[start, end), 0 at the end. @throws {FileError} */
  read(target: Buffer, start: number, end: number): number | Promise<number>;
  /** Writes all of it. @throws {FileError} after part of it may have been written. */
  write(bytes: Buffer): Promise<void>;
  /** @param whence 0 start, 1 current position, 2 end. @returns the new position. @throws {FileError} */
  seek(offset: bigint, whence: number): number;
  /** @throws {FileError} */
  close(): Promise<void>;
}

/** Not waiting for a FIFO's other side, and no controlling terminal. */
const COMMON_FLAGS = constants.O_NONBLOCK | constants.O_NOCTTY;
const ACCESS_FLAGS = {
  read: constants.O_RDONLY,
  write: constants.O_WRONLY,
  'read-write': constants.O_RDWR,
};
const DISPOSITION_FLAGS = { existing: 0, truncate: constants.O_TRUNC, append: constants.O_APPEND };
/** New files are for everybody, whatever the umask: what qemu-ga's users are used to (spec qemu-ga.md section 5). */
const NEW_FILE_MODE = 0o666;
const ENOENT = 2;

/** @throws {FileError} */
export async function openGuestFile(path: string, mode: OpenMode, native: NativeAddon): Promise<GuestFile> {
  const flags = COMMON_FLAGS | ACCESS_FLAGS[mode.access] | DISPOSITION_FLAGS[mode.disposition];
  const fd = await openOrCreate(path, flags, mode.disposition !== 'existing', native);

  return {
    read(target, start, end) {
      // what is cached needs no trip to the thread pool, which costs more than the read
      const count = native.readNow(fd, target, start, end);
      if (count >= 0) return count;
      return call(native, (done: ResultCallback) => fsRead(fd, target, start, end - start, null, done));
    },
    write: async (bytes) => {
      let at = 0;
      while (at < bytes.length) {
        const from = at;
        at += await call(native, (done: ResultCallback) =>
          fsWrite(fd, bytes, from, bytes.length - from, null, done),
        );
      }
    },
    seek: (offset, whence) => {
      const position = native.seek(fd, offset, whence);
      if (position < 0) throw new FileError(-position, native.errorText(-position));
      return position;
    },
    close: () => callVoid(native, (done) => fsClose(fd, done)),
  };
}

/** Only a file that this call makes gets its mode set. */
async function openOrCreate(
  path: string,
  flags: number,
  mayCreate: boolean,
  native: NativeAddon,
): Promise<number> {
  const open = (openFlags: number) =>
    call(native, (done: ResultCallback) => fsOpen(path, openFlags, 0o600, done));
  try {
    return await open(flags);
  } catch (error) {
    if (!mayCreate || !(error instanceof FileError) || error.errno !== ENOENT) throw error;
  }
  const fd = await open(flags | constants.O_CREAT | constants.O_EXCL);
  try {
    await callVoid(native, (done) => fchmod(fd, NEW_FILE_MODE, done));
  } catch (error) {
    await callVoid(native, (done) => fsClose(fd, done));
    throw error;
  }
  return fd;
}

type ResultCallback = (error: NodeJS.ErrnoException | null, result: number) => void;

function call(native: NativeAddon, start: (done: ResultCallback) => void): Promise<number> {
  return new Promise((resolve, reject) => {
    start((error, result) => (error === null ? resolve(result) : reject(fileError(error, native))));
  });
}

function callVoid(native: NativeAddon, start: (done: NoParamCallback) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    start((error) => (error === null ? resolve() : reject(fileError(error, native))));
  });
}

function fileError(error: NodeJS.ErrnoException, native: NativeAddon): Error {
  const errno = -(error.errno ?? 0);
  return errno > 0 ? new FileError(errno, native.errorText(errno)) : error;
}
