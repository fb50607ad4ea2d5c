/**
 * The other network namespaces of the machine: those that are mounted somewhere (`ip netns`, container runtimes) and those
 * that processes live in. One that is held only by an open descriptor, or mounted where we cannot see it, is not found.
 */
import { closeSync, promises as fs, fstatSync, openSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { parseMountinfo } from '../guest/linux/mountinfo.ts';

export interface NetworkNamespace {
  /** `net:[inode]` */
  readonly identity: string;
  /** For people: its mount's last name, or `process 12`. */
  readonly label: string;
  readonly path: string;
}

/** Processes looked at before others get their turn. */
const PROCESSES_AT_ONCE = 200;

/** Each once, without the own one. @param root prefix of /proc */
export async function otherNetworkNamespaces(root = '/'): Promise<NetworkNamespace[]> {
  const found = new Map<string, NetworkNamespace>();
  const own = readLink(join(root, 'proc/self/ns/net'));
  const add = (identity: string | null, label: string, path: string) => {
    if (identity === null || identity === own || found.has(identity)) return;
    found.set(identity, { identity, label, path });
  };
  for (const mount of await namespaceMounts(root)) add(mount.identity, mount.label, mount.path);
  const pids = (await fs.readdir(join(root, 'proc'))).filter((name) => /^\d+$/.test(name));
  for (const [index, pid] of pids.entries()) {
    if (index % PROCESSES_AT_ONCE === PROCESSES_AT_ONCE - 1) await nextTurn();
    const path = join(root, 'proc', pid, 'ns/net');
    add(readLink(path), `process ${pid}`, path);
  }
  return [...found.values()];
}

async function namespaceMounts(root: string): Promise<NetworkNamespace[]> {
  const text = await fs.readFile(join(root, 'proc/self/mountinfo'), 'latin1');
  return parseMountinfo(text)
    .filter((mount) => mount.type === 'nsfs' && mount.root.startsWith('net:['))
    .map((mount) => ({
      identity: mount.root,
      label: mount.mountPoint.slice(mount.mountPoint.lastIndexOf('/') + 1),
      path: mount.mountPoint,
    }));
}

/** An open namespace: while it is open it lives on with all its interfaces, so close it at once. */
export function openNamespace(
  namespace: NetworkNamespace,
): { readonly fd: number; [Symbol.dispose](): void } | null {
  let fd: number;
  try {
    fd = openSync(namespace.path, 'r');
  } catch {
    return null;
  }
  // another process may have that number by now
  if (`net:[${fstatSync(fd).ino}]` !== namespace.identity) {
    closeSync(fd);
    return null;
  }
  return { fd, [Symbol.dispose]: () => closeSync(fd) };
}

/** null for a process that is gone, and for one that even root may not look at. */
function readLink(path: string): string | null {
  try {
    return readlinkSync(path);
  } catch {
    return null;
  }
}
