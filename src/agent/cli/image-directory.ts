/** `--root DIR` of `chr-agent install` and `uninstall`: where a mounted image is. */
import { realpathSync, statSync } from 'node:fs';
import { type ImageRoot, openImageRoot } from '../../install/image-root.ts';
import { UsageError } from './command.ts';

/**
 * @param mayBeOwn whether the running system itself is meant
 * @throws {UsageError} without a directory, and for `/` unless that is meant
 */
export function openImage(directory: string | undefined, mayBeOwn: boolean): ImageRoot {
  if (directory === undefined || directory === '') throw new UsageError("'--root DIR' is missing");
  const place = realpathSync(directory);
  const stat = statSync(place);
  if (!stat.isDirectory()) throw new Error(`${directory} is no directory`);
  const own = statSync('/');
  const isOwn = stat.dev === own.dev && stat.ino === own.ino;
  if (isOwn && !mayBeOwn)
    throw new UsageError(`${directory} is this running system: if you mean that add --yes`);
  return openImageRoot(place);
}
