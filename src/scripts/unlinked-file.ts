/** Files without a name, which are gone when they are closed, or when the daemon is. */
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open, unlink } from 'node:fs/promises';
import { join } from 'node:path';

/** Linux's O_TMPFILE, which node:fs does not have. */
const O_TMPFILE = 0o20000000 | constants.O_DIRECTORY;

/**
 * Makes one in `directory`; where the file system has no O_TMPFILE, with a name that is removed at once.
 * @throws the errors of node:fs.
 */
export async function openUnlinked(directory: string): Promise<FileHandle> {
  try {
    return await open(directory, constants.O_RDWR | O_TMPFILE, 0o600);
  } catch {
    const path = join(directory, `output-${randomBytes(16).toString('hex')}`);
    const file = await open(path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, 0o600);
    await unlink(path);
    return file;
  }
}
