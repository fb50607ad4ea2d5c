/**
 * Script texts on their way to the interpreter: each in a file that only root can read, in a directory of the runtime
 * file system (memory, not disk), removed when its job has ended.
 */
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { chmod, lstat, mkdir, open, readdir, unlink } from 'node:fs/promises';
import { join } from 'node:path';

const NAME = /^script-[0-9a-f]{32}$/;

export interface ScriptTexts {
  /** Writes a text to a new file and gives its path. @throws the errors of node:fs, e.g. ENOSPC. */
  write(text: Uint8Array): Promise<string>;
  /** Removes a file of {@link write}; one that is gone already is fine. */
  remove(path: string): Promise<void>;
}

/** Makes the directory (mode 0700) and removes what an earlier daemon left in it. */
export async function openScriptTexts(directory: string): Promise<ScriptTexts> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  if (!(await lstat(directory)).isDirectory()) throw new Error(`${directory} is not a directory`);
  await chmod(directory, 0o700);
  for (const name of await readdir(directory)) if (NAME.test(name)) await remove(join(directory, name));

  async function remove(path: string): Promise<void> {
    await unlink(path).catch(() => undefined);
  }

  return {
    async write(text) {
      const path = join(directory, `script-${randomBytes(16).toString('hex')}`);
      const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
      const file = await open(path, flags, 0o600);
      try {
        await file.writeFile(text);
      } catch (error) {
        await remove(path);
        throw error;
      } finally {
        await file.close();
      }
      return path;
    },
    remove,
  };
}
