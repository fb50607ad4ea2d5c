/**
 * Script files: relative paths resolve in the files directory (the router's "file" root) and may not leave it, also not
 * through a symbolic link; absolute ones are taken as they are. design.md "Script semantics".
 */
import { constants, promises as fs } from 'node:fs';
import { constants as osConstants } from 'node:os';
import { basename, dirname, isAbsolute, join, sep } from 'node:path';
import { HEAD_BYTES } from './interpreter.ts';

const { EACCES, EISDIR, EINVAL, ENOENT } = osConstants.errno;

/** Why a path cannot be used, as an errno. */
export class FileRefusedError extends Error {
  override name = 'FileRefusedError';
  readonly errno: number;
  constructor(errno: number, why: string) {
    super(why);
    this.errno = errno;
  }
}

/** The positive errno of an error of node:fs or of {@link FileRefusedError}, or null for any other error. */
export function errnoOf(error: unknown): number | null {
  if (!(error instanceof Error) || !('errno' in error) || typeof error.errno !== 'number') return null;
  return Math.abs(error.errno);
}

/**
 * Where `path` leads, without symbolic links if it is relative. The last component may be missing (a file that is to be made).
 * @throws {FileRefusedError} EACCES if it leaves the files directory, ENOENT or EINVAL for what is no path.
 * @throws the errors of node:fs, e.g. for a missing directory.
 */
export async function resolveInFilesDir(filesDir: string, path: string): Promise<string> {
  if (path === '') throw new FileRefusedError(ENOENT, 'empty path');
  if (path.includes('\0')) throw new FileRefusedError(EINVAL, 'path holds a NUL');
  if (isAbsolute(path)) return path;
  const root = await fs.realpath(filesDir);
  const wanted = join(root, path);
  const inside = (place: string): string => {
    if (place === root || place.startsWith(root + sep)) return place;
    throw new FileRefusedError(EACCES, 'path leaves the files directory');
  };
  inside(wanted);
  try {
    return inside(await fs.realpath(wanted));
  } catch (error) {
    if (errnoOf(error) !== ENOENT) throw error;
  }
  // a link to nowhere could be made to lead anywhere by who opens it for writing
  const place = inside(join(await fs.realpath(dirname(wanted)), basename(wanted)));
  const link = await fs.lstat(place).catch(() => null);
  if (link !== null) throw new FileRefusedError(EACCES, 'dangling symbolic link');
  return place;
}

export interface ScriptFile {
  path: string;
  /** The first {@link HEAD_BYTES}, or all of it. */
  head: Buffer;
  executable: boolean;
}

/**
 * Looks at a script file before anything is started.
 * @throws errors with an `errno` ({@link errnoOf}): ENOENT, EACCES (also for what is no regular file), EISDIR …
 */
export async function inspectScript(filesDir: string, path: string): Promise<ScriptFile> {
  const resolved = await resolveInFilesDir(filesDir, path);
  // fs.access(2) knows about file systems that are mounted noexec
  const executable = fs.access(resolved, constants.X_OK).then(
    () => true,
    () => false,
  );
  // non-blocking, since opening a FIFO waits for its writer
  await using file = await fs.open(resolved, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  const stat = await file.stat();
  if (stat.isDirectory()) throw new FileRefusedError(EISDIR, 'a directory');
  if (!stat.isFile()) throw new FileRefusedError(EACCES, 'not a regular file');
  const { buffer, bytesRead } = await file.read(Buffer.alloc(HEAD_BYTES), 0, HEAD_BYTES, 0);
  return { path: resolved, head: buffer.subarray(0, bytesRead), executable: await executable };
}
