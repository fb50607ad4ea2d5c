/** Files without a name, which are gone when they are closed, or when the daemon is. */
import { constants, promises as fs } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { uniqueName } from './unique-name.ts';

/** Linux's O_TMPFILE, which node:fs does not have. */
const O_TMPFILE = 0o20000000 | constants.O_DIRECTORY;

/**
 * Makes one in `directory`; where the file system has no O_TMPFILE, with a name that is removed at once.
 * @throws the errors of node:fs.
 */
export async function openUnlinked(directory: string): Promise<FileHandle> {
  try {
    return await fs.open(directory, constants.O_RDWR | O_TMPFILE, 0o600);
  } catch {
    const path = join(directory, `output-${uniqueName()}`);
    const file = await fs.open(path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, 0o600);
    await fs.unlink(path);
    return file;
  }
}
