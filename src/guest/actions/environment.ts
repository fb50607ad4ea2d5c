/**
 * The facts that `policy` needs, read from the machine: the network namespace, whether a path lies
 * in the test root. What cannot be read is null or false, which the policy refuses.
 */
import { readlinkSync, realpathSync, statSync } from 'node:fs';
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

function namespaceLink(root: string, pid: string): string | null {
  try {
    return readlinkSync(join(root, 'proc', pid, 'ns/net'));
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
