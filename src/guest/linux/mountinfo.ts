/** /proc/PID/mountinfo: the parser; proc_pid_mountinfo(5). Pure. */

/** One line of mountinfo. */
export interface MountinfoEntry {
  id: number;
  /** Id of the mount that this one lies on. */
  parentId: number;
  /** Of the file system's device; 0 where it has none (network, tmpfs, overlay, and also btrfs). */
  major: number;
  minor: number;
  /** What of the file system is mounted: `/`, or a directory of it for a bind mount or a subvolume. */
  root: string;
  mountPoint: string;
  type: string;
  /** The device's node, or whatever else was given to mount(2). */
  source: string;
  /** Options of this mount: `rw`, `noatime` … */
  options: string[];
  /** Options of the file system, whichever mount one looks through. */
  superOptions: string[];
}

/**
 * Lines in their order. A line that is no mount is left out.
 *
 * @param text one character a byte (latin1): escapes stand for bytes, and only after they are gone it is UTF-8.
 */
export function parseMountinfo(text: string): MountinfoEntry[] {
  const entries: MountinfoEntry[] = [];
  for (const line of text.split('\n')) {
    const entry = parseLine(line);
    if (entry !== null) entries.push(entry);
  }
  return entries;
}

/** `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue` */
function parseLine(line: string): MountinfoEntry | null {
  // between the options and the dash are as many optional fields as the kernel likes
  const dash = line.indexOf(' - ');
  if (dash < 0) return null;
  const [id, parentId, device, root, mountPoint, options] = line.slice(0, dash).split(' ');
  const [type, source, superOptions] = line.slice(dash + 3).split(' ');
  const numbers = /^(\d+):(\d+)$/.exec(device ?? '');
  if (numbers === null || root === undefined || mountPoint === undefined || options === undefined)
    return null;
  return {
    id: Number(id),
    parentId: Number(parentId),
    major: Number(numbers[1]),
    minor: Number(numbers[2]),
    root: decode(root),
    mountPoint: decode(mountPoint),
    type: decode(type ?? ''),
    source: decode(source ?? ''),
    options: list(options),
    superOptions: list(superOptions ?? ''),
  };
}

function list(field: string): string[] {
  return field === '' ? [] : field.split(',').map(decode);
}

/** Space, tab, newline, backslash and `#` come as a backslash and three octal digits. */
function decode(field: string): string {
  if (!/[\\\x80-\xff]/.test(field)) return field;
  const bytes = field.replace(/\\([0-3][0-7]{2})/g, (_, octal: string) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  );
  return Buffer.from(bytes, 'latin1').toString();
}
