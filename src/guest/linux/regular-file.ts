/** Small files that somebody else may have put there: never waits for a FIFO or a device, never takes more than allowed. */
import { constants, promises as fs, type Stats } from 'node:fs';
import { asSystemCallError, SystemCallError } from './system-call-error.ts';

const COMMON_FLAGS = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY;
const EINVAL = 22;
const EISDIR = 21;
const EFBIG = 27;

export interface RegularFileOptions {
  maxBytes: number;
  /** Added to the flags of open(2): O_NOFOLLOW. */
  flags?: number;
  /** What the errors call the file, when `path` goes through /proc/self/fd. */
  shownPath?: string;
  /** A positive errno refuses the file. */
  check?(stats: Stats): number;
}

/** The whole content. @throws {SystemCallError} EISDIR or EINVAL if it is no regular file, EFBIG if it is too long. */
export async function readRegularFile(path: string, options: RegularFileOptions): Promise<Buffer> {
  const { maxBytes, flags = 0, shownPath = path, check } = options;
  const refuse = (errno: number) => new SystemCallError('open', shownPath, errno);
  try {
    await using file = await fs.open(path, COMMON_FLAGS | flags);
    const stats = await file.stat();
    if (stats.isDirectory()) throw refuse(EISDIR);
    if (!stats.isFile()) throw refuse(EINVAL);
    const refusal = check?.(stats) ?? 0;
    if (refusal !== 0) throw refuse(refusal);
    // one byte more than allowed, since the file may grow meanwhile
    const buffer = Buffer.alloc(Math.min(stats.size, maxBytes) + 1);
    let length = 0;
    while (length < buffer.length) {
      const { bytesRead } = await file.read(buffer, length, buffer.length - length);
      if (bytesRead === 0) break;
      length += bytesRead;
    }
    if (length > maxBytes) throw refuse(EFBIG);
    return buffer.subarray(0, length);
  } catch (error) {
    throw asSystemCallError(error, shownPath);
  }
}
