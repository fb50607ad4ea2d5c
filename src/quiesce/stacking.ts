/**
 * Which block devices lie below which, from /sys/dev/block: a partition on its disk, a device-mapper or md device on its
 * slaves, a loop device on the file system that holds its image. What lies above has to be frozen first.
 * Everything here is synchronous: never call it while file systems are frozen.
 */
import { existsSync, readdirSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { splitDeviceNumber } from '../guest/linux/device-number.ts';

/** `major:minor` of all devices below one, at any depth. */
export type DevicesBelow = (number: string) => ReadonlySet<string>;

/** @param root prefix of /sys, for tests */
export function devicesBelow(number: string, root = '/'): ReadonlySet<string> {
  const found = new Set<string>();
  const visit = (each: string): void => {
    for (const below of directlyBelow(each, root)) {
      if (found.has(below)) continue;
      found.add(below);
      visit(below);
    }
  };
  visit(number);
  return found;
}

function directlyBelow(number: string, root: string): string[] {
  const directory = join(root, 'sys/dev/block', number);
  return [
    ...orNone(() => {
      const real = realpathSync(directory);
      return existsSync(join(real, 'partition')) ? [readWord(join(dirname(real), 'dev'))] : [];
    }),
    ...orNone(() =>
      readdirSync(join(directory, 'slaves')).map((name) => readWord(join(directory, 'slaves', name, 'dev'))),
    ),
    ...orNone(() => {
      const image = readFileSync(join(directory, 'loop/backing_file'), 'utf8').replace(/\n$/, '');
      const { major, minor } = splitDeviceNumber(statSync(image, { bigint: true }).dev);
      return [`${major}:${minor}`];
    }),
  ];
}

const readWord = (path: string): string => readFileSync(path, 'utf8').trim();

/** What cannot be read counts as not there: then the mount order alone decides. */
function orNone(read: () => string[]): string[] {
  try {
    return read();
  } catch {
    return [];
  }
}
