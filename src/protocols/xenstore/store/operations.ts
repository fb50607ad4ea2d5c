/**
 * What requests do with nodes, for a domain with its rights and quotas, in the order of checks of C xenstored
 * (spec/xenstore.md sections 1 and 2). Every failure is a {@link XenstoreError}.
 */
import { XenstoreError } from '../xenstore.ts';
import { childOf, nameOf, parentOf } from './paths.ts';
import { OWN, type Permission, READ, rightsOf, WRITE } from './permissions.ts';
import type { NodeContent, TreeNode, View } from './tree.ts';

/** A guest's; domain 0 has none. */
const MAX_NODE_BYTES = 2048;
const MAX_NODES = 1000;
const MAX_PERMISSIONS = 5;

export interface Operations {
  read(path: string): TreeNode;
  write(path: string, value: Buffer): void;
  makeDirectory(path: string): void;
  remove(path: string): void;
  setPermissions(path: string, permissions: readonly Permission[]): void;
}

export function operationsFor(view: View, domain: number): Operations {
  return { read: (path) => find(path, READ), write, makeDirectory, remove, setPermissions };

  function find(path: string, needed: number): TreeNode {
    const node = view.get(path);
    if (node !== undefined && (rightsOf(domain, node.permissions) & needed) === needed) return node;
    throw failure(path, needed, node === undefined ? 'ENOENT' : 'EACCES');
  }

  /** What is below a node that the domain may not use is none of its business, not even whether it is there. */
  function failure(path: string, needed: number, code: string): XenstoreError {
    const { permissions } = nearestAncestor(path);
    return new XenstoreError((rightsOf(domain, permissions) & needed) !== 0 ? code : 'EACCES', path);
  }

  function nearestAncestor(path: string): TreeNode {
    let at = path;
    while (true) {
      at = parentOf(at) ?? '/';
      const node = view.get(at);
      if (node !== undefined) return node;
      if (at === '/') throw new XenstoreError('EIO', path);
    }
  }

  function findOrMissing(path: string): TreeNode | undefined {
    try {
      return find(path, WRITE);
    } catch (error) {
      if (error instanceof XenstoreError && error.code === 'ENOENT') return undefined;
      throw error;
    }
  }

  function write(path: string, value: Buffer): void {
    const node = findOrMissing(path);
    if (node === undefined) create(path, value);
    else put(path, { ...node, value });
    note(path);
  }

  function makeDirectory(path: string): void {
    if (findOrMissing(path) !== undefined) return;
    create(path, Buffer.alloc(0));
    note(path);
  }

  /** With the ancestors that are missing. All is checked before anything is changed. */
  function create(path: string, value: Buffer): void {
    if (domain !== 0 && view.countOwnedBy(domain) >= MAX_NODES) throw new XenstoreError('ENOSPC', path);
    const missing = [path];
    let at = path;
    let ancestor: TreeNode | undefined;
    while (ancestor === undefined) {
      at = parentOf(at) ?? '/';
      ancestor = view.get(at);
      if (ancestor === undefined) missing.unshift(at);
    }
    const [first] = ancestor.permissions;
    const letter = first?.letter ?? 'n';
    // a guest owns what it makes
    const permissions =
      domain === 0 ? ancestor.permissions : [{ letter, domain }, ...ancestor.permissions.slice(1)];
    const made: [string, NodeContent][] = missing.map((each, i) => {
      const next = missing[i + 1];
      return [
        each,
        {
          value: next === undefined ? value : Buffer.alloc(0),
          children: next === undefined ? [] : [nameOf(next)],
          permissions,
        },
      ];
    });
    const grown = { ...ancestor, children: [...ancestor.children, nameOf(missing[0] ?? path)] };
    for (const [each, content] of [[at, grown] as const, ...made]) checkSize(each, content);
    view.set(at, grown);
    for (const [each, content] of made) view.set(each, content);
  }

  function remove(path: string): void {
    const node = findOrMissing(path);
    const parentPath = parentOf(path);
    if (node === undefined) {
      if (parentPath !== undefined && view.get(parentPath) !== undefined) return;
      throw new XenstoreError('ENOENT', path);
    }
    if (parentPath === undefined) throw new XenstoreError('EINVAL', path);
    const parent = view.get(parentPath);
    // only in a transaction that will fail: it has seen the node before another one removed the parent
    if (parent === undefined) throw new XenstoreError('EINVAL', path);
    removeSubtree(path, false);
    const children = parent.children.filter((name) => name !== nameOf(path));
    view.set(parentPath, { ...parent, children });
  }

  function removeSubtree(path: string, isBelow: boolean): void {
    for (const name of view.get(path)?.children ?? []) removeSubtree(childOf(path, name), true);
    note(path, isBelow);
    view.delete(path);
  }

  function setPermissions(path: string, permissions: readonly Permission[]): void {
    if (domain !== 0 && permissions.length > MAX_PERMISSIONS) throw new XenstoreError('ENOSPC', path);
    const node = find(path, WRITE | OWN);
    if (domain !== 0 && permissions[0]?.domain !== node.permissions[0]?.domain)
      throw new XenstoreError('EPERM', path);
    put(path, { ...node, permissions });
    note(path, false, node.permissions);
  }

  function put(path: string, content: NodeContent): void {
    checkSize(path, content);
    view.set(path, content);
  }

  function checkSize(path: string, { value, children, permissions }: NodeContent): void {
    const childBytes = children.reduce((sum, name) => sum + name.length + 1, 0);
    const sizeBytes = 24 + 8 * permissions.length + value.length + childBytes;
    if (domain !== 0 && sizeBytes >= MAX_NODE_BYTES) throw new XenstoreError('ENOSPC', path);
  }

  /** A domain is told of nodes that it may read, or whose existence it can see in the parent. */
  function note(path: string, isExact = false, before: readonly Permission[] = []): void {
    const lists = [path, parentOf(path) ?? '/'].map((each) => view.peek(each)?.permissions ?? []);
    if (before.length > 0) lists.push(before);
    view.note({
      path,
      isExact,
      mayBeSeenBy: (other) => lists.some((list) => (rightsOf(other, list) & READ) !== 0),
    });
  }
}
