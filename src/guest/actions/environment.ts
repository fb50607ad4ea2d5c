/**
 * The facts that `policy` needs, read from the machine: the device of a mount, the network namespace, whether a path lies
 * in the test root. What cannot be read is null or false, which the policy refuses.
 */
import { fstatSync, readlinkSync, realpathSync, statSync } from 'node:fs';
import { join, sep } from 'node:path';
import { isOwnNamespace } from './policy.ts';

/** Major number of the device below an open directory, null if unknown (Linux' dev_t as stat(2) gives it). */
export function deviceMajor(fd: number): number | null {
  try {
    const device = fstatSync(fd, { bigint: true }).dev;
    // makedev(3): the major's bits are 8-19 and 44-63
    return Number(((device >> 8n) & 0xfffn) | ((device >> 32n) & 0xfffff000n));
  } catch {
    return null;
  }
}

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
