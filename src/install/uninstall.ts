/** Takes back what {@link install} did to an image: first what starts the service, then the files, last the record. */
import { ImageError, type ImageRoot } from './image-root.ts';
import { revertChange } from './init-system.ts';
import { describe } from './install.ts';
import { RECORD_PATH, readRecord } from './record.ts';

export interface UninstallOptions {
  readonly root: ImageRoot;
  /** The configuration and the state too: license, system id, scripts. */
  readonly purges: boolean;
  say(line: string): void;
}

const STATE = ['var/lib/chr-agent', 'etc/chr-agent', 'run/chr-agent'];

/** @throws {ImageError} if nothing was installed there in this way */
export function uninstall({ root, purges, say }: UninstallOptions): void {
  const record = readRecord(root);
  if (record === undefined)
    throw new ImageError(`nothing was installed here by chr-agent install: there is no /${RECORD_PATH}`);
  for (const change of record.changes.toReversed()) {
    if (revertChange(root, change)) say(`taken back: ${describe(change)}`);
  }
  const files = record.files.filter((path) => root.stat(path) !== undefined);
  for (const path of files) root.remove(path);
  say(`files: ${files.length} removed`);
  for (const path of STATE) {
    if (root.stat(path) === undefined) continue;
    if (purges) {
      root.removeTree(path);
      say(`removed: /${path}`);
    } else {
      say(`kept: /${path}`);
    }
  }
  root.remove(RECORD_PATH);
  for (const path of record.directories.toReversed()) root.removeEmptyDirectory(path);
}
