/** Block devices in sysfs, and what udev knows of them. All of it lives in memory: reading it can't hang on a disk. */
import { readdirSync, readFileSync, readlinkSync, realpathSync } from 'node:fs';
import { basename, join } from 'node:path';

/** Below this are the block devices that are no hardware: device mapper, RAID, loop, zram. */
export const VIRTUAL_DEVICES = '/devices/virtual/block/';

/**
 * sysfs and udev's database below `root`. Paths that these functions take and give are without that prefix
 * (`/sys/devices/…/block/vda`). What can't be read is null or empty: devices come and go.
 */
export interface BlockSysfs {
  /** Where the path leads with all symbolic links followed. */
  resolve(path: string): string | null;
  /** Names in a directory, sorted; null if there is none. */
  list(path: string): string[] | null;
  read(path: string): string | null;
  /** Name of the driver bound to a device. */
  driver(devicePath: string): string | null;
  /** Path of the device's node. */
  node(devicePath: string): string | null;
  /** A property as udev's rules have set it, for instance ID_SERIAL. */
  udevProperty(devicePath: string, name: string): string | null;
}

export function createBlockSysfs(root = '/'): BlockSysfs {
  const realRoot = attempt(() => realpathSync(root)) ?? root;

  function read(path: string): string | null {
    return attempt(() => readFileSync(join(root, path), 'utf8'));
  }
  function uevent(devicePath: string, name: string): string | null {
    return lineValue(read(join(devicePath, 'uevent')), `${name}=`);
  }

  return {
    resolve(path) {
      const real = attempt(() => realpathSync(join(root, path)));
      return real && join('/', real.slice(realRoot === '/' ? 0 : realRoot.length));
    },
    list: (path) => attempt(() => readdirSync(join(root, path)).sort()),
    read,
    driver: (devicePath) => attempt(() => basename(readlinkSync(join(root, devicePath, 'driver')))),
    node(devicePath) {
      const name = uevent(devicePath, 'DEVNAME');
      return name && join('/dev', name);
    },
    udevProperty(devicePath, name) {
      const number = read(join(devicePath, 'dev'))?.trim();
      return number === undefined ? null : lineValue(read(`/run/udev/data/b${number}`), `E:${name}=`);
    },
  };
}

/** What follows `prefix` on the first line that begins with it; null if there is none, or nothing. */
function lineValue(text: string | null, prefix: string): string | null {
  const line = text?.split('\n').find((each) => each.startsWith(prefix));
  return line?.slice(prefix.length) || null;
}

function attempt<T>(action: () => T): T | null {
  try {
    return action();
  } catch {
    return null;
  }
}
