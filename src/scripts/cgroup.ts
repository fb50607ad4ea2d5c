/**
 * Finds the daemon's own cgroup2 directory, where the helper makes one sub-group a script (cgroups(7); under systemd the
 * unit says Delegate=yes).
 */
import { accessSync, constants, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** The directory, or null where there is no cgroup2 or it is not writable. `root` is where /proc and the mounts are seen. */
export function findOwnCgroup(root = '/'): string | null {
  try {
    const own = /^0::(\/.*)$/m.exec(readFileSync(join(root, 'proc/self/cgroup'), 'utf8'))?.[1];
    // fields: id parent major:minor root mount-point options… - type source super-options
    const mount = /^\d+ \d+ \S+ (\S+) (\S+) .* - cgroup2 /m.exec(
      readFileSync(join(root, 'proc/self/mountinfo'), 'utf8'),
    );
    if (own === undefined || mount?.[1] === undefined || mount[2] === undefined) return null;
    // a mount of a part of the hierarchy shows it from that part on
    const shown = mount[1] === '/' ? own : own.startsWith(`${mount[1]}/`) ? own.slice(mount[1].length) : '/';
    const directory = join(root, mount[2], shown);
    accessSync(join(directory, 'cgroup.procs'), constants.W_OK);
    accessSync(directory, constants.W_OK);
    return directory;
  } catch {
    return null;
  }
}
