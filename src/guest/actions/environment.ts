/**
 * The facts that `policy` needs, read from the machine: the network namespace, whether a path lies
 * in the test root. What cannot be read is null or false, which the policy refuses.
 */
import { fstatSync, readdirSync, readlinkSync, realpathSync, statSync } from 'node:fs';
import { join, sep } from 'node:path';
import { isOwnNamespace } from './policy.ts';

/**
 * Whether this process is surely not in the network namespace of process 1. `/proc/1/ns/net` may be forbidden even for
 * root; the inode of `/proc/PID/net/dev`, which is one per namespace, tells the same and is open to all.
 */
export function inOwnNetworkNamespace(root: string): boolean {
  return (
    isOwnNamespace(namespaceLink(root, 'self'), namespaceLink(root, '1')) ||
    (namespaceLink(root, '1') === null && isOwnNamespace(netInode(root, 'self'), netInode(root, '1')))
  );
}

/** Whether an open network namespace is surely not that of process 1. */
export function isOutsideInitialNamespace(root: string, namespaceFd: number): boolean {
  return isOwnNamespace(`net:[${fstatSync(namespaceFd).ino}]`, initialNamespace(root));
}

/** Of process 1, or where that is forbidden of a process that surely shares its namespace. */
function initialNamespace(root: string): string | null {
  const known = namespaceLink(root, '1');
  const inode = known === null ? netInode(root, '1') : null;
  if (inode === null) return known;
  for (const pid of readdirSync(join(root, 'proc'))) {
    if (!/^\d+$/.test(pid) || netInode(root, pid) !== inode) continue;
    const link = namespaceLink(root, pid);
    if (link !== null) return link;
  }
  return null;
}

function namespaceLink(root: string, pid: string): string | null {
  return readLink(join(root, 'proc', pid, 'ns/net'));
}

function readLink(path: string): string | null {
  try {
    return readlinkSync(path);
  } catch {
    return null;
  }
}

function netInode(root: string, pid: string): string | null {
  try {
    const { dev, ino } = statSync(join(root, 'proc', pid, 'net/dev'), { bigint: true });
    return `${dev}:${ino}`;
  } catch {
    return null;
  }
}

/** Whether `path` exists and lies below `testRoot`, with all symbolic links followed. */
export function isInside(path: string, testRoot: string | null): boolean {
  if (testRoot === null) return false;
  try {
    const root = realpathSync(testRoot);
    return root !== sep && realpathSync(path).startsWith(root + sep);
  } catch {
    return false;
  }
}
