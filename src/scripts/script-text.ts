/**
 * Script texts on their way to the interpreter: each in a file that only its user can read, in a directory of the
 * runtime file system (memory, not disk) that only root can list, removed when its job has ended.
 */
import { chmodSync, constants, promises as fs, lstatSync, mkdirSync, readdirSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { uniqueName } from './unique-name.ts';

const NAME = /^script-[0-9a-f-]+$/;

export interface ScriptTexts {
  /** Writes a text to a new file of root's or of the owner's, and gives its path. @throws the errors of node:fs, e.g. ENOSPC. */
  write(text: Uint8Array, owner?: { readonly uid: number; readonly gid: number }): Promise<string>;
  /** Removes a file of {@link write}; one that is gone already is fine. */
  remove(path: string): Promise<void>;
}

/** Makes the directory (mode 0711) and removes what an earlier daemon left in it. */
export function openScriptTexts(directory: string): ScriptTexts {
  mkdirSync(directory, { recursive: true, mode: 0o711 });
  if (!lstatSync(directory).isDirectory()) throw new Error(`${directory} is not a directory`);
  chmodSync(directory, 0o711);
  for (const name of readdirSync(directory)) if (NAME.test(name)) unlinkSync(join(directory, name));

  async function remove(path: string): Promise<void> {
    await fs.unlink(path).catch(() => undefined);
  }

  return {
    async write(text, owner) {
      const path = join(directory, `script-${uniqueName()}`);
      const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
      const file = await fs.open(path, flags, 0o600);
      try {
        await file.writeFile(text);
        if (owner !== undefined) await file.chown(owner.uid, owner.gid);
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
